package keystoretest

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
)

func issueMakesAPendingKey(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	r := second(request(1))
	key := issue(t, s, r)
	if key.KID.IsZero() || key.Content.IsZero() {
		t.Error("zero KID or key")
	}
	want := keystore.Key{
		KID: key.KID, Content: key.Content,
		Hash: r.Hash, JobID: r.JobID, Attempt: 1, Track: "ts", Scheme: cenc.SchemeAES128, KEKVersion: 1,
		KeyURI: keyURI + asset(1) + "?kid=" + key.KID.String(), Default: false, State: keystore.StatePending,
	}
	same(t, key, want)
	got, err := s.Get(t.Context(), r.Hash, key.KID)
	if err != nil {
		t.Fatal(err)
	}
	same(t, got, want)
}

func issueIsIdempotent(t *testing.T, h Harness) {
	r := request(1)
	first := issue(t, h.Open(t, h.ring(t, 1)), r)
	same(t, issue(t, h.Open(t, h.ring(t, 1)), r), first)
	s := h.Open(t, h.ring(t, 1))
	publish(t, h, s, r.JobID, r.Attempt)
	same(t, issue(t, s, r), active(first))

	r.Attempt = 2
	r.Default = false
	if next := issue(t, s, r); next.KID == first.KID || bytes.Equal(next.Content.Bytes(), first.Content.Bytes()) {
		t.Error("the next attempt has the key of the one before")
	}
}

func issueIsInsertOnly(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	r := second(request(1))
	first := issue(t, s, r)
	for name, change := range map[string]func(*keystore.Request){
		"hash":    func(r *keystore.Request) { r.Hash = asset(2) },
		"scheme":  func(r *keystore.Request) { r.Scheme = cenc.SchemeCBCS },
		"key uri": func(r *keystore.Request) { r.KeyURI += "&x=1" },
		"default": func(r *keystore.Request) { r.Default = true },
	} {
		other := r
		change(&other)
		if key, err := s.Issue(t.Context(), other); !errors.Is(err, keystore.ErrConflict) || !key.Content.IsZero() {
			t.Errorf("another %s: %v, want ErrConflict and no key", name, err)
		}
	}
	same(t, issue(t, s, r), first)

	exec(t, h, `UPDATE content_keys SET wrapped_key = NULL, wrap_nonce = NULL, state = 'shredded'`)
	if key, err := s.Issue(t.Context(), r); !errors.Is(err, keystore.ErrConflict) || !key.Content.IsZero() {
		t.Errorf("shredded: %v, want ErrConflict: a shredded key does not come back as another", err)
	}
}

func issueAtOnce(t *testing.T, h Harness) {
	const callers = 12
	r := request(1)
	stores := []keystore.Store{h.Open(t, h.ring(t, 1)), h.Open(t, h.ring(t, 1))}
	keys := make([]keystore.Key, callers)
	errs := make([]error, callers)
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() { keys[i], errs[i] = stores[i%len(stores)].Issue(t.Context(), r) })
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys[1:] {
		same(t, key, keys[0])
	}
	var rows int
	if err := h.Pool.QueryRow(t.Context(), `SELECT count(*) FROM content_keys`).Scan(&rows); err != nil || rows != 1 {
		t.Errorf("%d rows, %v", rows, err)
	}
}

func issueRefusesMalformed(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	for name, change := range map[string]func(*keystore.Request){
		"no hash":           func(r *keystore.Request) { r.Hash = "" },
		"upper-case hash":   func(r *keystore.Request) { r.Hash = strings.Repeat("A", 64) },
		"hash and newline":  func(r *keystore.Request) { r.Hash += "\n" },
		"no job":            func(r *keystore.Request) { r.JobID = "" },
		"attempt 0":         func(r *keystore.Request) { r.Attempt = 0 },
		"no track":          func(r *keystore.Request) { r.Track = "" },
		"track with slash":  func(r *keystore.Request) { r.Track = "a/b" },
		"no scheme":         func(r *keystore.Request) { r.Scheme = "" },
		"unknown scheme":    func(r *keystore.Request) { r.Scheme = "cbc1" },
		"no key uri":        func(r *keystore.Request) { r.KeyURI = "" },
		"key uri, quote":    func(r *keystore.Request) { r.KeyURI += `"` },
		"key uri, new line": func(r *keystore.Request) { r.KeyURI += "\n#EXT-X-KEY:METHOD=NONE" },
		"key uri, too long": func(r *keystore.Request) { r.KeyURI += strings.Repeat("a", 2048) },
	} {
		r := request(1)
		change(&r)
		if _, err := s.Issue(t.Context(), r); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func oneKeyOneScheme(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	kids := map[cenc.KID]bool{}
	secrets := map[string]cenc.Scheme{}
	for n, scheme := range []cenc.Scheme{cenc.SchemeCBCS, cenc.SchemeCENC, cenc.SchemeAES128} {
		r := second(request(1))
		r.Track, r.Scheme = []string{"cmaf", "cmaf-cenc", "ts"}[n], scheme
		key := issue(t, s, r)
		kids[key.KID] = true
		secrets[string(key.Content.Bytes())] = key.Scheme
		for _, other := range []cenc.Scheme{cenc.SchemeCBCS, cenc.SchemeCENC, cenc.SchemeAES128} {
			r.Scheme = other
			if _, err := s.Issue(t.Context(), r); (other == scheme) != (err == nil) {
				t.Errorf("key of %s asked for as %s: %v", scheme, other, err)
			}
		}
	}
	if len(kids) != 3 || len(secrets) != 3 {
		t.Errorf("%d KIDs and %d keys for 3 outputs", len(kids), len(secrets))
	}
}

func cancelled(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, issueErr := s.Issue(ctx, request(1))
	_, servedErr := s.Served(ctx, asset(1), nil)
	_, getErr := s.Get(ctx, asset(1), cenc.NewKID())
	for name, err := range map[string]error{"issue": issueErr, "served": servedErr, "get": getErr} {
		if !errors.Is(err, context.Canceled) || errors.Is(err, keystore.ErrUnavailable) {
			t.Errorf("%s: %v, want context.Canceled", name, err)
		}
	}
}
