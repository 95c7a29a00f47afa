package access

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/token"
)

func TestSigningKeysOfEachKind(t *testing.T) {
	t.Parallel()
	pool := database(t)
	g, other := node(t, pool), node(t, pool)
	for _, alg := range []string{token.RS256, token.ES256, token.EdDSA, token.HS256} {
		s := signingKey(t, g, SigningKey{Algorithm: alg, KID: "k-" + alg, Issuer: "app"})
		other.mustRefresh(t)
		wantCode(t, other, ask(mint(t, s, token.Claims{Subject: hashA, Issuer: "app"}), hashA), "")
		wantCode(t, other, ask(mint(t, s, token.Claims{Subject: hashA}), hashA), token.CodeIssuer)
		wantCode(t, other, ask(mint(t, s, token.Claims{Subject: hashA, Issuer: "app", ExpiresAt: time.Now().Add(25 * time.Hour)}), hashA), token.CodeTTLExceeded)
	}
	// What is stored opens nothing.
	rows, err := pool.Query(t.Context(), `SELECT to_jsonb(k)::text FROM signing_keys k`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(text, "PRIVATE") {
			t.Errorf("a private key is stored: %s", text)
		}
	}
}

func TestOwnPublicKey(t *testing.T) {
	t.Parallel()
	g := node(t, database(t))
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := publicPEM(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	made, err := g.CreateSigningKey(t.Context(), SigningKey{KID: "theirs", PublicKey: text, Environment: EnvironmentAll}, admin)
	if err != nil || made.Algorithm != token.ES256 || made.PrivateKey != "" || made.Secret != nil {
		t.Fatalf("%+v, %v", made.SigningKey, err)
	}
	g.mustRefresh(t)
	s, err := token.NewSigner("theirs", private)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, g, ask(mint(t, s, token.Claims{Subject: hashA}), hashA), "")
	for name, k := range map[string]SigningKey{
		"not PEM":           {PublicKey: "x"},
		"another algorithm": {PublicKey: text, Algorithm: token.RS256},
		"symmetric":         {PublicKey: text, Algorithm: token.HS256},
		"both":              {PublicKey: text, JWKSURL: "https://x"},
		"unknown algorithm": {Algorithm: "none"},
		"our own kid":       {Algorithm: token.ES256, KID: OwnKey},
		"the shared kid":    {Algorithm: token.ES256, KID: SharedKey},
		"kid":               {Algorithm: token.ES256, KID: "a/b"},
		"ttl":               {Algorithm: token.ES256, MaxTTL: 366 * 24 * time.Hour},
	} {
		k.Environment = EnvironmentAll
		if _, err := g.CreateSigningKey(t.Context(), k, admin); !errors.As(err, new(InvalidError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// keySet writes the public halves as a JSON Web Key Set, between keys that are
// no use.
func keySet(t *testing.T, keys map[string]*ecdsa.PrivateKey) string {
	t.Helper()
	list := []map[string]any{
		{"kty": "oct", "kid": "secret", "k": base64.RawURLEncoding.EncodeToString(make([]byte, 32))},
		{"kty": "EC", "crv": "P-256", "kid": "broken", "x": "AA", "y": "AA"},
		{"kty": "what"},
	}
	for kid, k := range keys {
		raw, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, map[string]any{
			"kty": "EC", "crv": "P-256", "kid": kid, "use": "sig", "alg": "ES256", "x5u": "https://evil.example/",
			"x": base64.RawURLEncoding.EncodeToString(raw[1:33]), "y": base64.RawURLEncoding.EncodeToString(raw[33:]),
		})
	}
	out, err := json.Marshal(map[string]any{"keys": list})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestKeySets(t *testing.T) {
	t.Parallel()
	pool := database(t)
	g := node(t, pool)
	first, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	next, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	var body string
	var failure error
	g.fetch = func(_ context.Context, url string) ([]byte, error) {
		if url != "https://keys.example/" {
			t.Errorf("fetched %s", url)
		}
		return []byte(body), failure
	}
	create := func(k SigningKey) error {
		k.JWKSURL, k.Environment = "https://keys.example/", EnvironmentAll
		_, err := g.CreateSigningKey(t.Context(), k, admin)
		g.mustRefresh(t)
		return err
	}
	for name, bad := range map[string]string{"not JSON": "x", "no keys": `{}`, "only a symmetric one": `{"keys":[{"kty":"oct","kid":"abc","k":"AAAA"}]}`, "large": strings.Repeat(" ", jwksMost+1)} {
		if body = bad; !errors.As(create(SigningKey{}), new(InvalidError)) {
			t.Errorf("%s: taken", name)
		}
	}
	body = keySet(t, map[string]*ecdsa.PrivateKey{"a1": first, OwnKey: first, SharedKey: first})
	if err := create(SigningKey{KID: "set", Issuer: "idp"}); err != nil {
		t.Fatal(err)
	}
	tok := func(kid string, k *ecdsa.PrivateKey) string {
		s, err := token.NewSigner(kid, k)
		if err != nil {
			t.Fatal(err)
		}
		return mint(t, s, token.Claims{Subject: hashA, Issuer: "idp"})
	}
	old := tok("a1", first)
	wantCode(t, g, ask(old, hashA), "")
	wantCode(t, g, ask(tok(OwnKey, first), hashA), token.CodeInvalid)
	wantCode(t, g, ask(tok(SharedKey, first), hashA), token.CodeInvalid)
	// Another set does not take the kid over.
	body = keySet(t, map[string]*ecdsa.PrivateKey{"a1": next})
	if err := create(SigningKey{KID: "thief"}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, g, ask(old, hashA), "")
	if err := g.RevokeSigningKey(t.Context(), "thief", admin); err != nil {
		t.Fatal(err)
	}

	// Nor does one that was there before, when it changes.
	body = keySet(t, map[string]*ecdsa.PrivateKey{"b1": next})
	if err := create(SigningKey{KID: "younger", Issuer: "idp"}); err != nil {
		t.Fatal(err)
	}
	younger := tok("b1", next)
	wantCode(t, g, ask(younger, hashA), "")
	body = keySet(t, map[string]*ecdsa.PrivateKey{"b1": first, "a1": first, "c1": next})
	refresh := func() {
		t.Helper()
		if _, err := pool.Exec(t.Context(), `UPDATE signing_keys SET jwks_next_at = now() WHERE source = 'jwks'`); err != nil {
			t.Fatal(err)
		}
		if err := g.refreshDue(t.Context(), slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		g.mustRefresh(t)
	}
	refresh() // of both
	for kid, not := range map[string]string{"set": `"b1"`, "younger": `"a1"`} {
		if k, err := g.SigningKey(t.Context(), kid); err != nil || strings.Contains(k.jwks, not) || k.JWKSError == "" {
			t.Errorf("%s has %s, says %q, %v", kid, k.jwks, k.JWKSError, err)
		}
	}
	wantCode(t, g, ask(old, hashA), "")
	wantCode(t, g, ask(younger, hashA), token.CodeInvalid) // what changed counts
	wantCode(t, g, ask(tok("b1", first), hashA), "")
	wantCode(t, g, ask(tok("c1", next), hashA), "") // and what else is new
	if err := g.RevokeSigningKey(t.Context(), "younger", admin); err != nil {
		t.Fatal(err)
	}
	failure = errors.New("away")
	refresh()
	wantCode(t, g, ask(old, hashA), "") // the last set stays
	if k, err := g.SigningKey(t.Context(), "set"); err != nil || k.JWKSError == "" || strings.Contains(k.JWKSError, "away") {
		t.Errorf("%q, %v", k.JWKSError, err)
	}
	failure, body = nil, keySet(t, map[string]*ecdsa.PrivateKey{"a2": next})
	refresh()
	wantCode(t, g, ask(old, hashA), token.CodeInvalid)
	wantCode(t, g, ask(tok("a2", next), hashA), "")
	body = `{"error":"busy"}` // no set
	refresh()
	wantCode(t, g, ask(tok("a2", next), hashA), "")
	body = `{"keys":[]}` // the last key was taken out
	refresh()
	wantCode(t, g, ask(tok("a2", next), hashA), token.CodeInvalid)
	if err := g.RevokeSigningKey(t.Context(), "set", admin); err != nil {
		t.Fatal(err)
	}
	g.mustRefresh(t)
	wantCode(t, g, ask(tok("a2", next), hashA), token.CodeInvalid)
}

// TestSessionsEndWithTheirSigningKey: a session does not come back when another
// record's key has the kid of the one that signed it.
func TestSessionsEndWithTheirSigningKey(t *testing.T) {
	t.Parallel()
	pool := database(t)
	g := node(t, pool)
	theirs, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	body := keySet(t, map[string]*ecdsa.PrivateKey{"in-set": theirs})
	g.fetch = func(context.Context, string) ([]byte, error) { return []byte(body), nil }
	create := func(kid string) {
		t.Helper()
		if _, err := g.CreateSigningKey(t.Context(), SigningKey{KID: kid, JWKSURL: "https://keys.example/", Environment: EnvironmentAll}, admin); err != nil {
			t.Fatal(err)
		}
		g.mustRefresh(t)
	}
	revoke := func(kid string) {
		t.Helper()
		if err := g.RevokeSigningKey(t.Context(), kid, admin); err != nil {
			t.Fatal(err)
		}
		g.mustRefresh(t)
	}
	session := func(tok string) string {
		t.Helper()
		grant, err := g.Authorize(t.Context(), ask(tok, hashA))
		if err != nil {
			t.Fatal(err)
		}
		s, err := g.Session(grant)
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, g, ask(s, hashA), "")
		return s
	}
	create("set1")
	if _, err := g.CreateSigningKey(t.Context(), SigningKey{KID: "in-set", Algorithm: token.EdDSA, Environment: EnvironmentAll}, admin); !errors.Is(err, ErrExists) {
		t.Errorf("a kid of a live set is given away: %v", err)
	}
	signs, err := token.NewSigner("in-set", theirs)
	if err != nil {
		t.Fatal(err)
	}
	tok := mint(t, signs, token.Claims{Subject: hashA})
	old := session(tok)
	revoke("set1")
	wantCode(t, g, ask(old, hashA), token.CodeRevoked)
	create("set2") // the same URL again
	wantCode(t, g, ask(tok, hashA), "")
	wantCode(t, g, ask(old, hashA), token.CodeRevoked)
	revoke("set2")

	// A record's kid comes up in a set afterwards.
	own := signingKey(t, g, SigningKey{KID: "ours", AllowWildcard: true})
	wide := session(mint(t, own, token.Claims{Subject: token.Wildcard}))
	body = keySet(t, map[string]*ecdsa.PrivateKey{"ours": theirs})
	create("set3")
	wantCode(t, g, ask(wide, hashA), "")
	revoke("ours")
	wantCode(t, g, ask(wide, hashA), token.CodeRevoked)
}

func TestMintedTokens(t *testing.T) {
	t.Parallel()
	pool := database(t)
	g := node(t, pool)
	playbackKey(t, g, PlaybackKey{ID: "film", Policy: Policy{Private: true, MaxTTL: time.Hour}})
	playbackKey(t, g, PlaybackKey{ID: "other", Hash: hashB, Policy: Policy{Private: true}})
	m, tok, err := g.Mint(t.Context(), MintRequest{PlaybackKey: "film", Tag: "promo", Scope: []string{"k", "t"}}, admin)
	if err != nil {
		t.Fatal(err)
	}
	if ttl := m.ExpiresAt.Sub(m.CreatedAt); ttl > DefaultMintTTL || ttl < DefaultMintTTL-2*time.Second {
		t.Errorf("lives %s", ttl)
	}
	wantCode(t, g, ask(tok, "film"), "")
	wantCode(t, g, ask(tok, "other"), token.CodeMismatch)
	_, wide, err := g.Mint(t.Context(), MintRequest{TTL: token.MaxKeyTTL}, admin)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, g, ask(wide, "other"), "")
	wantCode(t, g, ask(wide, "film"), token.CodeTTLExceeded) // the policy of that one
	g.used.flush(t.Context(), g.Store, g.log)
	list, err := g.MintedTokens(t.Context(), MintedFilter{Limit: 10})
	if err != nil || len(list) != 2 || list[1].ID != m.ID || list[1].LastUsedAt == nil || list[1].Tag != "promo" || list[0].PlaybackKey != "" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, _, err := g.Inspect(t.Context(), ask(tok, "film")); err != nil {
		t.Error(err)
	}
	if len(g.used.last) != 0 {
		t.Error("inspecting counts as a use")
	}
	revoke(t, g, Revocation{Kind: RevokeToken, Value: m.ID})
	wantCode(t, g, ask(tok, "film"), token.CodeRevoked)
	if list, err = g.MintedTokens(t.Context(), MintedFilter{Limit: 10, Tag: "promo"}); err != nil || len(list) != 1 || !list[0].Revoked {
		t.Errorf("%+v, %v", list, err)
	}
	for name, req := range map[string]MintRequest{
		"longer than a year":       {TTL: token.MaxKeyTTL + time.Second},
		"longer than the policy's": {PlaybackKey: "film", TTL: 2 * time.Hour},
		"downloads":                {PlaybackKey: "film", Scope: []string{"d"}},
		"scope":                    {PlaybackKey: "film", Scope: []string{"x"}},
		"environment":              {PlaybackKey: "film", Environment: "staging"},
		"tag":                      {PlaybackKey: "film", Tag: strings.Repeat("x", 65)},
	} {
		if _, _, err := g.Mint(t.Context(), req, admin); !errors.As(err, new(InvalidError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := g.Mint(t.Context(), MintRequest{PlaybackKey: "none"}, admin); !errors.Is(err, ErrNotFound) {
		t.Errorf("of a playback key that is none: %v", err)
	}
	var found int
	if err := pool.QueryRow(t.Context(), `SELECT (SELECT count(*) FROM minted_tokens m WHERE to_jsonb(m)::text LIKE '%' || $1 || '%')
		+ (SELECT count(*) FROM audit_log a WHERE to_jsonb(a)::text LIKE '%' || $1 || '%')`, tok[len(tok)-20:]).Scan(&found); err != nil || found != 0 {
		t.Errorf("the token is stored: %d, %v", found, err)
	}
}

func TestAPIKeys(t *testing.T) {
	t.Parallel()
	pool := database(t)
	g := node(t, pool)
	k, secret, err := g.CreateAPIKey(t.Context(), APIKey{Label: "ci", Scopes: []string{"jobs:write", "tokens:read"}, Environment: EnvironmentAll}, admin)
	if err != nil {
		t.Fatal(err)
	}
	found, err := g.CheckAPIKey(t.Context(), secret)
	if err != nil || found.ID != k.ID {
		t.Fatalf("%+v, %v", found, err)
	}
	for scope, want := range map[string]bool{
		"jobs:read": true, "jobs:write": true, "tokens:read": true, "tokens:write": false, "media:read": false, "api-keys:write": false, "*": false, "": false,
	} {
		if found.Allows(scope) != want {
			t.Errorf("%q: %v", scope, !want)
		}
	}
	for _, none := range []string{"", secret + "a", secret[:len(secret)-1], strings.ToUpper(secret), "sck_" + strings.Repeat("A", 43), k.ID} {
		if _, err := g.CheckAPIKey(t.Context(), none); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", none, err)
		}
	}
	var text string
	if err := pool.QueryRow(t.Context(), `SELECT to_jsonb(k)::text FROM api_keys k`).Scan(&text); err != nil || strings.Contains(text, secret[4:]) {
		t.Errorf("stored as %s, %v", text, err)
	}
	if err := g.RevokeAPIKey(t.Context(), k.ID, admin); err != nil {
		t.Fatal(err)
	}
	if _, err := g.CheckAPIKey(t.Context(), secret); !errors.Is(err, ErrNotFound) {
		t.Errorf("revoked: %v", err)
	}
	past := time.Now().Add(-time.Second)
	for name, k := range map[string]APIKey{
		"no scope": {}, "unknown scope": {Scopes: []string{"jobs"}}, "unknown resource": {Scopes: []string{"x:read"}},
		"expired": {Scopes: []string{"*"}, ExpiresAt: &past}, "environment": {Scopes: []string{"*"}, Environment: "x"},
	} {
		if k.Environment == "" {
			k.Environment = EnvironmentAll
		}
		if _, _, err := g.CreateAPIKey(t.Context(), k, admin); !errors.As(err, new(InvalidError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWithoutTheSecretItIsAnotherKey(t *testing.T) {
	t.Parallel()
	pool := database(t)
	g := node(t, pool)
	s := signingKey(t, g, SigningKey{Algorithm: token.HS256, KID: "sym"})
	tok := mint(t, s, token.Claims{Subject: hashA})
	other, err := Open(t.Context(), Config{Pool: pool, Secret: []byte(strings.Repeat("x", 32)), Environment: "production", Audit: auditLog, Log: g.log})
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, g, ask(tok, hashA), "")
	wantCode(t, other, ask(tok, hashA), token.CodeInvalid)
}
