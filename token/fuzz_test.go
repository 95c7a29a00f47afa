package token

import (
	"encoding/base64"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// FuzzVerify: what Verify accepts has exactly one spelling, and what it
// refuses has a code.
func FuzzVerify(f *testing.F) {
	h := newHMAC(f)
	for _, seed := range []string{vector, vector + "=", vector + "\n", "", ".", "..", "a.b", vector[:len(vector)-1] + "p"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, tok string) {
		grant, err := h.Verify(tok, now)
		if err != nil {
			var refusal Error
			if !errors.As(err, &refusal) || texts[refusal.Code] == "" {
				t.Fatalf("no code: %v", err)
			}
			return
		}
		first := tok[:len(tok)-1-base64.RawURLEncoding.EncodedLen(32)]
		payload, err := base64.RawURLEncoding.DecodeString(first)
		if err != nil || h.sign(payload) != tok {
			t.Fatalf("a second spelling is accepted: %q", tok)
		}
		if grant.Title() != grant.Hash || !grant.Allows(ScopeKey, false) {
			t.Fatal("the grant does not open its own title")
		}
	})
}

// FuzzVerifyPayload signs any payload. What Verify accepts can be minted again,
// and the minted token grants the same until the same time.
func FuzzVerifyPayload(f *testing.F) {
	h := newHMAC(f)
	for _, more := range []string{
		"", `,"nbf":1`, `,"iat":0,"jti":"j"`, `,"tags":["a",""],"cust":"c"`, `,"x":{"y":[1,{"z":null}]}`,
		`,"tags":[]`, `,"uid":"\ud83d\ude00"`, `,"uid":"\ud800"`, `,"Exp":1`, `,"exp":1`, `}{`,
	} {
		f.Add([]byte(payload(more)))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		tok := h.sign(payload)
		grant, err := h.Verify(tok, now)
		if err != nil {
			return
		}
		if !grant.ExpiresAt.After(now) || grant.ExpiresAt.After(now.Add(MaxTTL)) {
			t.Fatalf("accepted with exp %v", grant.ExpiresAt)
		}
		again, err := h.Mint(grant.Claims)
		if err != nil {
			t.Fatalf("%s: cannot be minted again: %v", payload, err)
		}
		second, err := h.Verify(again, now)
		if err != nil {
			t.Fatalf("%s: minted again as %s: %v", payload, again, err)
		}
		if diff := cmp.Diff(grant.Claims, second.Claims); diff != "" {
			t.Fatal(diff)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	h := newHMAC(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Verify(vector, now); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerifyForged(b *testing.B) {
	h := newHMAC(b)
	forged := vector[:len(vector)-2] + "AA"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Verify(forged, now); err == nil {
			b.Fatal("accepted")
		}
	}
}

func BenchmarkMint(b *testing.B) {
	h := newHMAC(b)
	claims := Claims{Hash: hash, ExpiresAt: now.Add(5 * time.Minute)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Mint(claims); err != nil {
			b.Fatal(err)
		}
	}
}
