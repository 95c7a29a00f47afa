package access

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealcast/sealcast/token"
)

func revoke(t *testing.T, g *Gate, r Revocation) Revocation {
	t.Helper()
	r, err := g.Revoke(t.Context(), r, admin)
	if err != nil {
		t.Fatal(err)
	}
	g.mustRefresh(t)
	return r
}

func TestRevocations(t *testing.T) {
	t.Parallel()
	g := node(t, database(t))
	playbackKey(t, g, PlaybackKey{ID: "film", Policy: Policy{Private: true}})
	signs := signingKey(t, g, SigningKey{KID: "app"})
	other := signingKey(t, g, SigningKey{KID: "app2"})
	before := time.Now().Add(-time.Minute)
	claims := token.Claims{Subject: "film", JTI: "jti", SID: "sid", UID: "uid", Tag: "tag", Tags: []string{"one", "two"}, IssuedAt: before}
	tok := mint(t, signs, claims)
	grant, err := g.Authorize(t.Context(), ask(tok, "film"))
	if err != nil {
		t.Fatal(err)
	}
	session, err := g.Session(grant)
	if err != nil {
		t.Fatal(err)
	}
	plain := mint(t, other, token.Claims{Subject: "film", IssuedAt: time.Now()})
	silent := mint(t, other, token.Claims{Subject: "film"}) // says no iat
	at := func(d time.Duration) *time.Time { v := before.Add(d); return &v }
	for name, tt := range map[string]struct {
		r                     Revocation
		tok, untimed, another string // what becomes of the token and its session, of one without iat, of an unconcerned one
	}{
		"token by jti":         {Revocation{Kind: RevokeToken, Value: "jti"}, token.CodeRevoked, "", ""},
		"token by its id":      {Revocation{Kind: RevokeToken, Value: grant.ID}, token.CodeRevoked, "", ""},
		"session":              {Revocation{Kind: RevokeSession, Value: "sid"}, token.CodeRevoked, "", ""},
		"user":                 {Revocation{Kind: RevokeUser, Value: "uid"}, token.CodeRevoked, "", ""},
		"another user":         {Revocation{Kind: RevokeUser, Value: "uid2"}, "", "", ""},
		"tag":                  {Revocation{Kind: RevokeTag, Value: "tag"}, token.CodeRevoked, "", ""},
		"one of tags":          {Revocation{Kind: RevokeTag, Value: "two"}, token.CodeRevoked, "", ""},
		"uid is no tag":        {Revocation{Kind: RevokeTag, Value: "uid"}, "", "", ""},
		"user, before it":      {Revocation{Kind: RevokeUser, Value: "uid", IssuedBefore: at(-time.Second)}, "", "", ""},
		"user, after it":       {Revocation{Kind: RevokeUser, Value: "uid", IssuedBefore: at(time.Second)}, token.CodeRevoked, "", ""},
		"signing key":          {Revocation{Kind: RevokeSigningKey, Value: "app"}, token.CodeRevoked, "", ""},
		"playback key":         {Revocation{Kind: RevokePlaybackKey, Value: "film", IssuedBefore: at(time.Second)}, token.CodeRevoked, token.CodeRevoked, ""},
		"all, before it":       {Revocation{Kind: RevokeAll, IssuedBefore: at(-48 * time.Hour)}, "", "", ""},
		"all, after it":        {Revocation{Kind: RevokeAll, IssuedBefore: at(time.Second)}, token.CodeRevoked, token.CodeRevoked, ""},
		"shared secret's only": {Revocation{Kind: RevokeSigningKey, Value: SharedKey}, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := revoke(t, g, tt.r)
			wantCode(t, g, ask(tok, "film"), tt.tok)
			wantCode(t, g, ask(session, "film"), tt.tok)
			wantCode(t, g, ask(tok, hashA), tt.tok)
			wantCode(t, g, ask(silent, "film"), tt.untimed)
			wantCode(t, g, ask(plain, "film"), tt.another)
			if err := g.Lift(t.Context(), r.ID, admin); err != nil {
				t.Fatal(err)
			}
			g.mustRefresh(t)
			wantCode(t, g, ask(tok, "film"), "")
		})
	}
	t.Run("public playback key", func(t *testing.T) {
		playbackKey(t, g, PlaybackKey{ID: "open"})
		wantCode(t, g, ask("", "open"), "")
		revoke(t, g, Revocation{Kind: RevokePlaybackKey, Value: "open", IssuedBefore: &before}) // of tokens, and there is none
		wantCode(t, g, ask("", "open"), "")
		r := revoke(t, g, Revocation{Kind: RevokePlaybackKey, Value: "open"})
		wantCode(t, g, ask("", "open"), token.CodeKeyRevoked)
		if err := g.Lift(t.Context(), r.ID, admin); err != nil {
			t.Fatal(err)
		}
		g.mustRefresh(t)
		wantCode(t, g, ask("", "open"), "")
	})
	t.Run("shared secret", func(t *testing.T) {
		h := mintH(t, token.Claims{Hash: hashA})
		r := revoke(t, g, Revocation{Kind: RevokeSigningKey, Value: SharedKey})
		wantCode(t, g, ask(h, hashA), token.CodeRevoked)
		wantCode(t, g, ask(tok, "film"), "")
		if err := g.Lift(t.Context(), r.ID, admin); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("expires", func(t *testing.T) {
		soon := time.Now().Add(time.Hour)
		revoke(t, g, Revocation{Kind: RevokeUser, Value: "uid", ExpiresAt: &soon})
		wantCode(t, g, ask(tok, "film"), token.CodeRevoked)
		g.view.revoked.mu.RLock()
		defer g.view.revoked.mu.RUnlock()
		if g.view.revoked.names(RevokeUser, before, soon, "uid") {
			t.Error("still revoked when it has expired")
		}
	})
	t.Run("signing key for ever", func(t *testing.T) {
		s := signingKey(t, g, SigningKey{KID: "app3"})
		tok := mint(t, s, token.Claims{Subject: "film"})
		grant, err := g.Authorize(t.Context(), ask(tok, "film"))
		if err != nil {
			t.Fatal(err)
		}
		session, err := g.Session(grant)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.RevokeSigningKey(t.Context(), "app3", admin); err != nil {
			t.Fatal(err)
		}
		g.mustRefresh(t)
		wantCode(t, g, ask(tok, "film"), token.CodeInvalid) // its kid is not known any more
		wantCode(t, g, ask(session, "film"), token.CodeRevoked)
		if err := g.RevokeSigningKey(t.Context(), "app3", admin); !errors.Is(err, ErrNotFound) {
			t.Errorf("twice: %v", err)
		}
		if _, err := g.CreateSigningKey(t.Context(), SigningKey{KID: "app3", Algorithm: token.HS256, Environment: "all"}, admin); !errors.Is(err, ErrExists) {
			t.Errorf("its kid is given again: %v", err)
		}
	})
	for name, r := range map[string]Revocation{
		"kind": {Kind: "x", Value: "v"}, "no value": {Kind: RevokeUser}, "all of a value": {Kind: RevokeAll, Value: "v", IssuedBefore: &before},
		"all and no time": {Kind: RevokeAll}, "expired": {Kind: RevokeUser, Value: "v", ExpiresAt: &before},
	} {
		if _, err := g.Revoke(t.Context(), r, admin); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestRevokeAPastedToken: a token in place of its id is taken for its id, and
// what cannot be one that is believed here is refused. Neither is stored.
func TestRevokeAPastedToken(t *testing.T) {
	t.Parallel()
	pool := database(t)
	g := node(t, pool)
	signs := signingKey(t, g, SigningKey{KID: "app"})
	unknown := signingKey(t, node(t, database(t)), SigningKey{KID: "elsewhere"})
	m, minted, err := g.Mint(t.Context(), MintRequest{}, admin)
	if err != nil {
		t.Fatal(err)
	}
	if r := revoke(t, g, Revocation{Kind: RevokeToken, Value: minted}); r.Value != m.ID {
		t.Error("a minted token is not revoked by its jti")
	}
	wantCode(t, g, ask(minted, hashA), token.CodeRevoked)
	j, h := mint(t, signs, token.Claims{Subject: hashA, UID: "j"}), mintH(t, token.Claims{Hash: hashA, UID: "h"})
	grant, err := g.Authorize(t.Context(), ask(mint(t, signs, token.Claims{Subject: hashA, UID: "s"}), hashA))
	if err != nil {
		t.Fatal(err)
	}
	s, err := g.Session(grant)
	if err != nil {
		t.Fatal(err)
	}
	for pasted, tok := range map[string]string{j: j, " Bearer " + h + "\n": h, s: s} {
		wantCode(t, g, ask(tok, hashA), "")
		revoke(t, g, Revocation{Kind: RevokeToken, Value: pasted})
		wantCode(t, g, ask(tok, hashA), token.CodeRevoked)
	}
	foreign := mint(t, unknown, token.Claims{Subject: hashA})
	for _, r := range []Revocation{
		{Kind: RevokeToken, Value: foreign},
		{Kind: RevokeToken, Value: j[:len(j)-3]},
		{Kind: RevokeToken, Value: h + "x"},
		{Kind: RevokeToken, Value: s[:len(s)-2]},
		{Kind: RevokeSession, Value: s},
		{Kind: RevokeTag, Value: h},
	} {
		_, err := g.Revoke(t.Context(), r, admin)
		if !errors.As(err, new(InvalidError)) || strings.Contains(err.Error(), r.Value) {
			t.Errorf("%s: %v", r.Kind, err)
		}
	}
	for _, id := range []string{"order.17", "ey.J", "eyes-only.3", "st_17", "extra.long.id"} {
		revoke(t, g, Revocation{Kind: RevokeToken, Value: id})
	}
	for _, tok := range []string{minted, j, h, s, foreign} {
		var found int
		if err := pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM revocations r WHERE strpos(to_jsonb(r)::text, $1) > 0)
			+ (SELECT count(*) FROM audit_log a WHERE strpos(to_jsonb(a)::text, $1) > 0)`, tok[:20]).Scan(&found); err != nil || found != 0 {
			t.Errorf("a token is stored: %d, %v", found, err)
		}
	}
}

// TestNodesAgree: what one node is told, another knows without being asked, by
// notice and, when no notice comes, by looking.
func TestNodesAgree(t *testing.T) {
	t.Parallel()
	pool := database(t)
	a, b := node(t, pool), node(t, pool)
	ctx, stop := context.WithCancel(t.Context())
	var nodes sync.WaitGroup
	nodes.Go(func() { _ = b.Run(ctx) })
	defer nodes.Wait()
	defer stop()
	playbackKey(t, a, PlaybackKey{ID: "film", Policy: Policy{Private: true}})
	signs := signingKey(t, a, SigningKey{KID: "app"})
	tok := mint(t, signs, token.Claims{Subject: "film", UID: "u", IssuedAt: time.Now()})
	await := func(what, code string) {
		t.Helper()
		var got string
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			_, err := b.Authorize(ctx, ask(tok, "film"))
			if got = codeOf(err); got == code {
				return
			}
		}
		t.Fatalf("%s: the other node still answers %q, want %q", what, got, code)
	}
	await("a new signing key and playback key", "")
	r := revoke(t, a, Revocation{Kind: RevokeUser, Value: "u"})
	await("a revocation", token.CodeRevoked)
	if err := a.Lift(ctx, r.ID, admin); err != nil {
		t.Fatal(err)
	}
	await("a revocation that was lifted", "")
	// Nobody notifies: the look each second finds it.
	if _, err := pool.Exec(ctx, `ALTER TABLE playback_keys DISABLE TRIGGER access_row_changed;
		UPDATE playback_keys SET status = 'disabled';
		INSERT INTO access_changes (kind, subject) VALUES ('playback_keys', 'film')`); err != nil {
		t.Fatal(err)
	}
	await("a change without a notice", token.CodeKeyNotActive)
	if _, err := pool.Exec(ctx, `ALTER TABLE playback_keys ENABLE TRIGGER access_row_changed`); err != nil {
		t.Fatal(err)
	}
	// The listening connection is cut: it comes back, and nothing is missed.
	if _, err := pool.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND application_name = 'sealcast access listener'`); err != nil {
		t.Fatal(err)
	}
	if err := a.RevokePlaybackKey(ctx, "film", admin); err != nil {
		t.Fatal(err)
	}
	await("a playback key that was revoked", token.CodeKeyRevoked)
}

// TestStaleViewIsNotBelieved: a node that cannot look serves for 30 s, then
// nobody; it comes back whole, whatever was swept away meanwhile.
func TestStaleViewIsNotBelieved(t *testing.T) {
	t.Parallel()
	pool := database(t)
	a, b := node(t, pool), node(t, pool)
	tok := mintH(t, token.Claims{Hash: hashA, UID: "u"})
	wantCode(t, b, ask(tok, hashA), "")
	revoke(t, a, Revocation{Kind: RevokeUser, Value: "u"})
	if _, err := pool.Exec(t.Context(), `DELETE FROM access_changes`); err != nil { // as swept after an hour
		t.Fatal(err)
	}
	at := time.Now().Add(viewMaxAge - time.Second)
	b.now = func() time.Time { return at }
	wantCode(t, b, ask(tok, hashA), "")
	at = at.Add(2 * time.Second)
	_, err := b.Authorize(t.Context(), ask(tok, hashA))
	if !errors.Is(err, ErrUnavailable) {
		t.Errorf("a view of 31 s is believed: %v", err)
	}
	long := time.Now().Add(-time.Hour)
	b.view.seen.Store(&long)
	b.now = time.Now
	b.mustRefresh(t)
	wantCode(t, b, ask(tok, hashA), token.CodeRevoked)
}

func TestPostgresAway(t *testing.T) {
	t.Parallel()
	pool := database(t)
	g := node(t, pool)
	signs := signingKey(t, g, SigningKey{})
	tok := mint(t, signs, token.Claims{Subject: "film-1"})
	h := mintH(t, token.Claims{Hash: hashA})
	wantCode(t, g, ask(h, hashA), "")
	pool.Close()
	wantCode(t, g, ask(h, hashA), "")                                              // all of it is known here
	wantCode(t, g, ask(mintH(t, token.Claims{Hash: hashB}), hashB), "unavailable") // it could be private
	for _, id := range []string{"film-1", hashA} {
		if _, err := g.Authorize(t.Context(), ask(tok, id)); !errors.Is(err, ErrUnavailable) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if err := g.view.refresh(t.Context()); !errors.Is(err, ErrUnavailable) {
		t.Errorf("refresh: %v", err)
	}
	if _, err := g.Revoke(t.Context(), Revocation{Kind: RevokeUser, Value: "u"}, admin); !errors.Is(err, ErrUnavailable) {
		t.Errorf("revoke: %v", err)
	}
}

// TestWhatIsReadDuringAChangeIsNotKept: a playback key that is read before a
// change and arrives after it must not stay.
func TestWhatIsReadDuringAChangeIsNotKept(t *testing.T) {
	t.Parallel()
	g := node(t, database(t))
	playbackKey(t, g, PlaybackKey{ID: "film", Policy: Policy{Private: true}})
	c := newTitleCache(g.Store)
	c.mu.Lock()
	epoch := c.epoch
	c.mu.Unlock()
	k, err := g.title(t.Context(), "film")
	if err != nil {
		t.Fatal(err)
	}
	c.forget("film") // the change is seen between the reading and the keeping
	if c.keep("film", k, epoch); len(c.now) != 0 {
		t.Error("it was kept")
	}
}

func TestCacheIsBounded(t *testing.T) {
	t.Parallel()
	c := newTitleCache(nil)
	for i := range 5 * titlesMost {
		c.put(newIDFor(i), title{})
	}
	if n := len(c.now) + len(c.old); n > 2*titlesMost {
		t.Errorf("%d entries", n)
	}
}

func newIDFor(i int) string { return time.Unix(int64(i), 0).UTC().Format("20060102150405") }
