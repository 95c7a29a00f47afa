package token

import (
	"bytes"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// memoRig has a verifier that remembers and one that does not, with the same
// keys, which may be exchanged.
type memoRig struct {
	with, without *Verifier
	keys          map[string]*Key
}

func newMemoRig(t *testing.T) (*memoRig, map[string]string) {
	t.Helper()
	secret := bytes.Repeat([]byte{7}, 32)
	shared, err := NewHMAC(secret)
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := NewSealer(secret)
	if err != nil {
		t.Fatal(err)
	}
	r := &memoRig{keys: map[string]*Key{"k1": memoKey(t, 1, Rules{})}}
	find := func(kid string) *Key { return r.keys[kid] }
	r.without = &Verifier{Secret: shared, Sessions: sealer, Key: find}
	r.with = &Verifier{Secret: shared, Sessions: sealer, Key: find, Memo: NewMemo(100)}
	signer, err := NewSymmetricSigner("k1", bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(5 * time.Minute).Truncate(time.Second)
	tokens := map[string]string{}
	mint := func(name string, f func() (string, error)) {
		t.Helper()
		if tokens[name], err = f(); err != nil {
			t.Fatal(err)
		}
	}
	prefix, err := ParsePrefix("192.0.2.0/24")
	if err != nil {
		t.Fatal(err)
	}
	claims := Claims{ExpiresAt: until, UID: "u", Tags: []string{"a", "b"}, Ref: []string{"www.good.com"}}
	claims.IP = append(claims.IP, prefix)
	h, j := claims, claims
	h.Hash, j.Subject, j.Audience = strings.Repeat("ab", 32), "film-1", []string{"v"}
	mint("H", func() (string, error) { return shared.Mint(h) })
	mint("J", func() (string, error) { return signer.Mint(j) })
	mint("S", func() (string, error) {
		grant, err := r.without.Verify(tokens["J"], time.Now())
		if err != nil {
			return "", err
		}
		return sealer.Seal(grant)
	})
	return r, tokens
}

func memoKey(t *testing.T, b byte, rules Rules) *Key {
	t.Helper()
	k, err := NewSymmetricKey("k1", bytes.Repeat([]byte{b}, 32), rules)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// inspect is Inspect with a list of what it told.
func inspect(v *Verifier, tok string, now time.Time) (g Grant, checks []Check, err error) {
	g, err = v.Inspect(tok, now, func(c Check) { checks = append(checks, c) })
	return g, checks, err
}

// same holds the two against each other, twice: fresh and remembered.
func (r *memoRig) same(t *testing.T, what, tok string, now time.Time) error {
	t.Helper()
	want, wantChecks, wantErr := inspect(r.without, tok, now)
	for range 2 {
		got, checks, err := inspect(r.with, tok, now)
		if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) }), cmp.Comparer(func(a, b Claims) bool { return cmp.Equal(a.wire(), b.wire()) })); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
		if !errors.Is(err, wantErr) || len(checks) != len(wantChecks) {
			t.Errorf("%s: %v after %v, want %v after %v", what, err, checks, wantErr, wantChecks)
		}
		for i := range checks {
			if checks[i] != wantChecks[i] {
				t.Errorf("%s: check %v, want %v", what, checks[i], wantChecks[i])
			}
		}
	}
	return wantErr
}

func TestRememberedTokensAreCheckedAllTheSame(t *testing.T) {
	r, tokens := newMemoRig(t)
	now := time.Now()
	for name, tok := range tokens {
		if err := r.same(t, name, tok, now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := r.same(t, name+", an hour later", tok, now.Add(time.Hour)); !errors.Is(err, Error{CodeExpired}) {
			t.Errorf("%s: an hour later: %v", name, err)
		}
		for _, bad := range []string{tok + "A", tok[:len(tok)-1], tok + "=", " " + tok, strings.ToUpper(tok)} {
			if err := r.same(t, name+", spoiled", bad, now); err == nil {
				t.Errorf("%s: %q passes", name, bad)
			}
		}
		if err := r.same(t, name+", good again", tok, now); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	j := tokens["J"]
	for what, key := range map[string]*Key{
		"another key under the kid": memoKey(t, 2, Rules{}),
		"no key":                    nil,
		"the key, for less":         memoKey(t, 1, Rules{MaxTTL: time.Minute}),
		"the key, of an issuer":     memoKey(t, 1, Rules{Issuer: "somebody"}),
	} {
		r.keys["k1"] = key
		if err := r.same(t, what, j, now); err == nil {
			t.Errorf("%s: remembered for ever", what)
		}
	}
	r.keys["k1"] = memoKey(t, 1, Rules{})
	if err := r.same(t, "the key is back", j, now); err != nil {
		t.Error(err)
	}
}

func TestRememberedClaimsAreNobodysToChange(t *testing.T) {
	r, tokens := newMemoRig(t)
	for range 2 {
		g, err := r.with.Verify(tokens["J"], time.Now())
		if err != nil || g.Tags[0] != "a" || g.Audience[0] != "v" || g.Ref[0] != "www.good.com" {
			t.Fatalf("%+v, %v", g, err)
		}
		g.Tags[0], g.Audience[0], g.Ref[0], g.IP[0] = "x", "x", "x", g.IP[0].Masked()
	}
}

func TestMemoIsBounded(t *testing.T) {
	m := NewMemo(10)
	for i := range 1000 {
		m.keep([32]byte{byte(i), byte(i >> 8)}, &remembered{opened: opened{id: strconv.Itoa(i)}})
		if r, ok := m.get([32]byte{0, 0}); i == 0 && (!ok || r.opened.id != "0") {
			t.Error("not kept")
		}
	}
	if n := len(m.now) + len(m.old); n > 20 {
		t.Errorf("%d are remembered", n)
	}
	if _, ok := m.get([32]byte{0, 0}); !ok {
		t.Error("the one in use was dropped")
	}
}
