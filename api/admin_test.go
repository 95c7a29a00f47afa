package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/token"
)

const (
	withAPIKey = "X-API-Key: " + testAPIKey
	asJSON     = "Content-Type: application/json"
)

// gateRig is a rig whose gate and administration are the real ones, on Postgres.
type gateRig struct {
	*rig
	gate *access.Gate
	pool *pgxpool.Pool
}

func accessDatabase(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool := localstacktest.Pool(t)
	for _, hash := range []string{hashA, hashB} {
		if _, err := pool.Exec(t.Context(), `INSERT INTO assets (hash, encrypted, generation) VALUES ($1, true, 1)`, hash); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

func newGateRig(t testing.TB, pool *pgxpool.Pool, change ...func(*Config)) *gateRig {
	t.Helper()
	gate, err := access.Open(t.Context(), access.Config{
		Pool: pool, Secret: []byte(testSecret), Environment: "production", Log: slog.New(slog.DiscardHandler),
		Audit: func(ctx context.Context, tx pgx.Tx, actor, action, subject string, details map[string]any) error {
			_, err := tx.Exec(ctx, `INSERT INTO audit_log (actor, action, subject, details) VALUES ($1, $2, $3, $4)`, actor, action, subject, details)
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, append([]func(*Config){func(cfg *Config) { cfg.Gate, cfg.Admin = gate, gate }}, change...)...)
	return &gateRig{rig: r, gate: gate, pool: pool}
}

// call makes a request with an API key and reads the answer into a map.
func (g *gateRig) call(apiKey, method, path string, body any, status int) map[string]any {
	g.t.Helper()
	headers, text := []string{"X-API-Key: " + apiKey}, ""
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			g.t.Fatal(err)
		}
		headers, text = append(headers, asJSON), string(raw)
	}
	a := g.do(method, path, text, headers...)
	if a.StatusCode != status {
		g.t.Fatalf("%s %s: %d %s, want %d", method, path, a.StatusCode, a.body, status)
	}
	if a.Header.Get("Cache-Control") != "no-store" {
		g.t.Errorf("%s %s may be kept: %q", method, path, a.Header.Get("Cache-Control"))
	}
	var out map[string]any
	if len(a.body) > 0 {
		if err := json.Unmarshal(a.body, &out); err != nil {
			g.t.Fatal(err)
		}
	}
	if method != "GET" && status < 300 {
		if err := g.gate.Refresh(context.Background()); err != nil {
			g.t.Fatal(err)
		}
	}
	return out
}

func (g *gateRig) admin(method, path string, body any, status int) map[string]any {
	g.t.Helper()
	return g.call(testAPIKey, method, path, body, status)
}

// key asks for a content key with a token.
func (g *gateRig) key(tok, hash string, headers ...string) answer {
	g.t.Helper()
	return g.do("GET", "/api/key/"+hash, "", append(headers, "Authorization: Bearer "+tok)...)
}

func (g *gateRig) wantKey(what, tok, hash string, status int, code string, headers ...string) {
	g.t.Helper()
	if a := g.key(tok, hash, headers...); a.StatusCode != status || a.code() != code {
		g.t.Errorf("%s: %d %q, want %d %q", what, a.StatusCode, a.code(), status, code)
	}
}

// newSigner makes a signing key by the API and a signer for what it showed.
func (g *gateRig) newSigner(body map[string]any) *token.Signer {
	g.t.Helper()
	made := g.admin("POST", "/api/signing-keys", body, 201)
	private, err := token.ParsePrivateKey([]byte(made["private_key"].(string)))
	if err != nil {
		g.t.Fatal(err)
	}
	s, err := token.NewSigner(made["kid"].(string), private)
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

func mintJ(t testing.TB, s *token.Signer, c token.Claims) string {
	t.Helper()
	if c.Audience == nil {
		c.Audience = []string{"v"}
	}
	if c.ExpiresAt.IsZero() {
		c.ExpiresAt = time.Now().Add(5 * time.Minute)
	}
	tok, err := s.Mint(c)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestPlaybackKeysAndTokens(t *testing.T) {
	t.Parallel()
	g := newGateRig(t, accessDatabase(t))
	made := g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-1", "label": "Film", "hosts": []string{"WWW.example.com"}, "allow_no_referer": true}, 201)
	if made["private"] != true || made["status"] != "active" || made["environment"] != "production" || made["hosts"].([]any)[0] != "www.example.com" {
		t.Errorf("made %v", made)
	}
	second := g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA}, 201)["id"].(string)
	g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-1"}, 409)
	g.admin("POST", "/api/playback-keys", map[string]any{"hash": strings.Repeat("0", 64)}, 404)
	for _, bad := range []map[string]any{
		{},
		{"hash": "x"},
		{"hash": hashA, "id": "v"},
		{"hash": hashA, "id": "ab"},
		{"hash": hashA, "id": "*"},
		{"hash": hashA, "id": hashB},
		{"hash": hashA, "ips": []string{"10.0.0.0/33"}},
		{"hash": hashA, "hosts": []string{"https://x"}},
		{"hash": hashA, "max_ttl": 0},
		{"hash": hashA, "not_before": "tomorrow"},
		{"hash": hashA, "Private": false},
		{"hash": hashA, "private": "no"},
		{"hash": hashA, "status": "active"},
	} {
		g.admin("POST", "/api/playback-keys", bad, 400)
	}

	minted := g.admin("POST", "/api/playback-keys/film-1/tokens", map[string]any{"tag": "promo", "ip": []string{"127.0.0.1"}}, 201)
	tok := minted["token"].(string)
	urls := minted["urls"].(map[string]any)
	for name, want := range map[string]string{
		"playlist": "https://video.example.com/v1/p/film-1/t/" + tok + "/master.m3u8", "player": "https://video.example.com/watch/film-1#token=" + tok,
	} {
		if urls[name] != want {
			t.Errorf("%s: %v", name, urls[name])
		}
	}
	if embed := urls["embed"].(string); !strings.Contains(embed, `<iframe src="https://video.example.com/embed/film-1#token=`+tok+`"`) {
		t.Errorf("embed: %s", embed)
	}
	g.wantKey("minted", tok, hashA, 200, "")
	g.wantKey("minted, from a page", tok, hashA, 200, "", "Origin: https://www.example.com")
	g.wantKey("minted, from another page", tok, hashA, 403, "referer_denied", "Origin: https://evil.io")
	g.wantKey("minted, for another title", tok, hashB, 403, "token_mismatch")
	elsewhere := g.admin("POST", "/api/playback-keys/film-1/tokens", map[string]any{"ip": []string{"192.0.2.1"}}, 201)["token"].(string)
	g.wantKey("of another address", elsewhere, hashA, 403, "ip_denied")
	g.wantKey("of another address, spoofed", elsewhere, hashA, 403, "ip_denied", "X-Forwarded-For: 192.0.2.1")
	wide := g.admin("POST", "/api/playback-keys/film-1/tokens", map[string]any{"orgawide": true, "expires_in": 31536000}, 201)["token"].(string)
	g.wantKey("organisation-wide", wide, hashB, 200, "")
	poster := g.admin("POST", "/api/playback-keys/"+second+"/tokens", map[string]any{"scope": []string{"t"}}, 201)["token"].(string)
	g.wantKey("for posters", poster, hashA, 403, "insufficient_scope")
	if a := g.do("GET", "/stream/"+hashA+"/poster.jpg", "", "Authorization: Bearer "+poster); a.StatusCode != 200 {
		t.Errorf("for posters, at the poster: %d %s", a.StatusCode, a.body)
	}
	for _, bad := range []map[string]any{
		{"expires_in": 31536001},
		{"expires_in": 0},
		{"expires_in": 5, "expires_at": "2027-01-01T00:00:00Z"},
		{"expires_at": "2001-01-01T00:00:00Z"},
		{"scope": []string{"x"}},
		{"scope": "v"},
		{"tag": strings.Repeat("x", 65)},
		{"ip": []string{"x"}},
		{"referer": []string{"*"}},
		{"scope": []string{"d"}},
		{"environment": "staging"},
	} {
		g.admin("POST", "/api/playback-keys/film-1/tokens", bad, 400)
	}
	g.admin("POST", "/api/playback-keys/none/tokens", nil, 404)

	list := g.admin("GET", "/api/tokens?limit=1", nil, 200)
	if len(list["tokens"].([]any)) != 1 || list["next_cursor"] == nil {
		t.Errorf("a page of one: %v", list)
	}
	rest := g.admin("GET", "/api/tokens?limit=50&cursor="+list["next_cursor"].(string), nil, 200)
	if len(rest["tokens"].([]any)) != 3 || rest["next_cursor"] != nil {
		t.Errorf("the rest: %v", rest)
	}
	raw := g.do("GET", "/api/tokens", "", withAPIKey)
	if strings.Contains(string(raw.body), tok) || strings.Contains(string(raw.body), strings.Split(tok, ".")[2]) {
		t.Error("the list has a token in it")
	}
	tagged := g.admin("GET", "/api/tokens?tag=promo&playback_key=film-1", nil, 200)["tokens"].([]any)
	if len(tagged) != 1 || tagged[0].(map[string]any)["id"] != minted["id"] {
		t.Errorf("by tag: %v", tagged)
	}

	// Policy changes one at a time, and revoking one leaves its sibling alone.
	g.admin("PATCH", "/api/playback-keys/film-1", map[string]any{"status": "disabled"}, 200)
	g.wantKey("disabled", tok, hashA, 403, "playback_key_inactive")
	again := g.admin("PATCH", "/api/playback-keys/film-1", map[string]any{"status": "active", "max_ttl": 60}, 200)
	if again["label"] != "Film" || again["max_ttl"] != 60.0 || len(again["hosts"].([]any)) != 1 {
		t.Errorf("what was not sent has changed: %v", again)
	}
	g.wantKey("lives longer than the policy allows", tok, hashA, 403, "token_ttl_exceeded")
	g.admin("PATCH", "/api/playback-keys/film-1", map[string]any{"max_ttl": nil}, 200)
	g.wantKey("allowed again", tok, hashA, 200, "")
	for _, bad := range []map[string]any{{"status": "revoked"}, {"hash": hashB}, {"id": "x"}, {"hosts": "x"}, {"environment": "staging"}} {
		g.admin("PATCH", "/api/playback-keys/film-1", bad, 400)
	}
	sibling := g.admin("POST", "/api/playback-keys/"+second+"/tokens", nil, 201)["token"].(string)
	g.admin("DELETE", "/api/playback-keys/film-1", nil, 204)
	g.admin("DELETE", "/api/playback-keys/film-1", nil, 404)
	g.admin("PATCH", "/api/playback-keys/film-1", map[string]any{"label": "x"}, 404)
	g.admin("POST", "/api/playback-keys/film-1/tokens", nil, 404)
	g.wantKey("revoked", tok, hashA, 403, "playback_key_revoked")
	g.wantKey("its sibling", sibling, hashA, 200, "")
	if k := g.admin("GET", "/api/playback-keys/film-1", nil, 200); k["status"] != "revoked" || k["revoked_at"] == nil {
		t.Errorf("%v", k)
	}
	if keys := g.admin("GET", "/api/playback-keys?hash="+hashA, nil, 200)["playback_keys"].([]any); len(keys) != 2 {
		t.Errorf("list: %v", keys)
	}
	if keys := g.admin("GET", "/api/playback-keys?hash="+hashB, nil, 200)["playback_keys"].([]any); len(keys) != 0 {
		t.Errorf("list: %v", keys)
	}
	g.admin("GET", "/api/playback-keys?hash=x", nil, 400)
	g.admin("GET", "/api/playback-keys?what=x", nil, 400)
}

func TestInspectIsTheSameDecision(t *testing.T) {
	t.Parallel()
	g := newGateRig(t, accessDatabase(t))
	g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-1", "ips": []string{"127.0.0.1"}}, 201)
	s := g.newSigner(map[string]any{"kid": "app"})
	inspect := func(body map[string]any) map[string]any {
		return g.admin("POST", "/api/tokens/inspect", body, 200)
	}
	good := mintJ(t, s, token.Claims{Subject: "film-1", UID: "u", Tag: "t"})
	forged := good[:len(good)-6] + "AAAAAA"
	for name, tok := range map[string]string{
		"good": good, "forged": forged, "garbage": "x",
		"expired":   mintJ(t, s, token.Claims{Subject: "film-1", ExpiresAt: time.Now().Add(-time.Second)}),
		"another":   mintJ(t, s, token.Claims{Subject: "film-2"}),
		"scope":     mintJ(t, s, token.Claims{Subject: "film-1", Audience: []string{"t"}}),
		"wildcard":  mintJ(t, s, token.Claims{Subject: "*"}),
		"of a page": mintJ(t, s, token.Claims{Subject: "film-1", Ref: []string{"www.example.com"}}),
		"too large": strings.Repeat("a", 4097),
	} {
		seen := inspect(map[string]any{"token": tok, "for": hashA, "scope": "k", "ip": "127.0.0.1"})
		real := g.key(tok, hashA)
		code, _ := seen["code"].(string)
		if (real.StatusCode == 200) != (seen["valid"] == true) || real.code() != code {
			t.Errorf("%s: inspected %v %q, at the key route %d %q", name, seen["valid"], code, real.StatusCode, real.code())
		}
		failed := 0
		for _, c := range seen["checks"].([]any) {
			if c := c.(map[string]any); c["outcome"] == "failed" {
				failed++
				if c["code"] != code {
					t.Errorf("%s: the check %s says %v", name, c["name"], c["code"])
				}
			}
		}
		if (failed == 1) == (seen["valid"] == true) {
			t.Errorf("%s: %d checks failed: %v", name, failed, seen["checks"])
		}
		if says := seen["token"]; (name == "forged" || name == "garbage") && says != nil {
			t.Errorf("%s: a forged token speaks: %v", name, says)
		}
	}
	says := inspect(map[string]any{"token": good, "ip": "127.0.0.1"})
	claims := says["token"].(map[string]any)
	if says["valid"] != true || claims["uid"] != "u" || claims["playback_key"] != "film-1" || claims["hash"] != hashA || claims["kid"] != "app" || claims["form"] != "J" {
		t.Errorf("%v", says)
	}
	if says = inspect(map[string]any{"token": good}); says["valid"] != false || says["code"] != "ip_denied" {
		t.Errorf("without an address: %v", says["code"])
	}
	for _, bad := range []map[string]any{{}, {"token": ""}, {"token": good, "scope": "vk"}, {"token": good, "ip": "x"}, {"token": good, "carrier": "post"}} {
		g.admin("POST", "/api/tokens/inspect", bad, 400)
	}
	if strings.Contains(g.log.String(), good) || strings.Contains(g.log.String(), strings.Split(good, ".")[2]) {
		t.Error("the token stands in the log")
	}
}

func TestSigningKeysOverHTTP(t *testing.T) {
	t.Parallel()
	g := newGateRig(t, accessDatabase(t))
	for _, alg := range []string{"RS256", "ES256", "EdDSA"} {
		made := g.admin("POST", "/api/signing-keys", map[string]any{"algorithm": alg, "issuer": "app", "max_ttl": 60}, 201)
		kid := made["kid"].(string)
		if made["private_key_base64"] == nil || made["secret_base64"] != nil || made["environment"] != "all" || made["allow_wildcard"] != false {
			t.Errorf("%s: %v", alg, made)
		}
		private, err := token.ParsePrivateKey([]byte(made["private_key"].(string)))
		if err != nil {
			t.Fatal(err)
		}
		s, err := token.NewSigner(kid, private)
		if err != nil {
			t.Fatal(err)
		}
		short := token.Claims{Subject: hashA, Issuer: "app", ExpiresAt: time.Now().Add(30 * time.Second)}
		tok := mintJ(t, s, short)
		g.wantKey(alg, tok, hashA, 200, "")
		short.ExpiresAt = time.Now().Add(2 * time.Minute)
		g.wantKey(alg+", too long", mintJ(t, s, short), hashA, 403, "token_ttl_exceeded")
		shown := g.do("GET", "/api/signing-keys/"+kid, "", withAPIKey)
		if shown.StatusCode != 200 || strings.Contains(string(shown.body), "PRIVATE") {
			t.Errorf("%s: %d %s", alg, shown.StatusCode, shown.body)
		}
		g.admin("DELETE", "/api/signing-keys/"+kid, nil, 204)
		g.admin("DELETE", "/api/signing-keys/"+kid, nil, 404)
		g.wantKey(alg+", revoked", tok, hashA, 403, "invalid_token")
	}
	sym := g.admin("POST", "/api/signing-keys", map[string]any{"algorithm": "HS256", "kid": "sym-1"}, 201)
	if sym["secret_base64"] == nil || sym["private_key"] != nil || sym["public_key"] != nil {
		t.Errorf("%v", sym)
	}
	all := g.do("GET", "/api/signing-keys", "", withAPIKey)
	if strings.Contains(string(all.body), sym["secret_base64"].(string)) || strings.Contains(string(all.body), "secret") {
		t.Errorf("%s", all.body)
	}
	g.admin("POST", "/api/signing-keys", map[string]any{"kid": "sym-1"}, 409)
	g.admin("GET", "/api/signing-keys/none", nil, 404)
	for _, bad := range []map[string]any{
		{"algorithm": "none"},
		{"algorithm": "HS384"},
		{"public_key": "x"},
		{"jwks_url": "https://127.0.0.1/"},
		{"environment": "x"},
		{"max_ttl": 31536001},
		{"kid": "sealcast"},
		{"kid": "shared"},
		{"kid": "../x"},
		{"secret": "x"},
	} {
		g.admin("POST", "/api/signing-keys", bad, 400)
	}
}

func TestAPIKeyScopes(t *testing.T) {
	t.Parallel()
	g := newGateRig(t, accessDatabase(t))
	create := func(by string, body map[string]any, status int) (id, secret string) {
		out := g.call(by, "POST", "/api/api-keys", body, status)
		if status != 201 {
			return "", ""
		}
		return out["id"].(string), out["api_key"].(string)
	}
	_, reader := create(testAPIKey, map[string]any{"scopes": []string{"jobs:read", "playback-keys:read"}}, 201)
	minterID, minter := create(testAPIKey, map[string]any{"scopes": []string{"tokens:write", "playback-keys:write", "api-keys:write"}}, 201)
	_, staging := create(testAPIKey, map[string]any{"scopes": []string{"*"}, "environment": "staging"}, 201)

	g.call(reader, "GET", "/api/jobs", nil, 200)
	g.call(reader, "GET", "/api/playback-keys", nil, 200)
	for path, body := range map[string]map[string]any{
		"/api/playback-keys": {"hash": hashA}, "/api/api-keys": {"scopes": []string{"jobs:read"}}, "/api/revocations": {"kind": "all"}, "/api/jobs": {"type": "x"},
		"/api/tokens/inspect": {"token": "x"}, "/api/signing-keys": {},
	} {
		g.call(reader, "POST", path, body, 403)
	}
	g.call(reader, "DELETE", "/api/media/"+hashA, nil, 403)
	g.call(minter, "POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-1"}, 201)
	g.call(minter, "POST", "/api/playback-keys/film-1/tokens", nil, 201)
	g.call(minter, "GET", "/api/signing-keys", nil, 403)
	// It gives nobody more than it has.
	create(minter, map[string]any{"scopes": []string{"tokens:read"}}, 201)
	create(minter, map[string]any{"scopes": []string{"*"}}, 403)
	create(minter, map[string]any{"scopes": []string{"jobs:read"}}, 403)
	create(testAPIKey, map[string]any{"scopes": []string{"jobs"}}, 400)

	// Nor for longer than it has it.
	inAnHour := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	_, short := create(testAPIKey, map[string]any{"scopes": []string{"*"}, "expires_at": inAnHour}, 201)
	create(short, map[string]any{"scopes": []string{"jobs:read"}}, 403)
	create(short, map[string]any{"scopes": []string{"jobs:read"}, "expires_at": time.Now().Add(2 * time.Hour).UTC().Format(time.RFC3339)}, 403)
	create(short, map[string]any{"scopes": []string{"jobs:read"}, "expires_at": inAnHour}, 201)

	// Another environment.
	g.call(staging, "POST", "/api/playback-keys", map[string]any{"hash": hashA}, 403)
	g.call(staging, "POST", "/api/playback-keys", map[string]any{"hash": hashA, "environment": "staging", "id": "film-s"}, 403)
	g.call(staging, "POST", "/api/playback-keys", map[string]any{"hash": hashA, "environment": "staging", "private": false}, 403)
	g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "environment": "staging", "id": "film-s"}, 201)
	g.call(staging, "GET", "/api/playback-keys/film-1", nil, 404)
	g.call(staging, "DELETE", "/api/playback-keys/film-1", nil, 404)
	g.call(staging, "POST", "/api/playback-keys/film-1/tokens", nil, 404)
	g.call(staging, "GET", "/api/jobs", nil, 403)
	g.call(staging, "DELETE", "/api/media/"+hashA, nil, 403)
	g.call(staging, "POST", "/api/revocations", map[string]any{"kind": "all"}, 403)
	g.call(staging, "GET", "/api/revocations", nil, 403)
	g.call(staging, "POST", "/api/signing-keys", map[string]any{"environment": "all"}, 403)
	g.call(staging, "DELETE", "/api/api-keys/"+minterID, nil, 404)
	create(staging, map[string]any{"scopes": []string{"*"}, "environment": "all"}, 403)
	if keys := g.call(staging, "GET", "/api/playback-keys", nil, 200)["playback_keys"].([]any); len(keys) != 1 {
		t.Errorf("sees %v", keys)
	}
	wide := g.call(staging, "POST", "/api/playback-keys/film-s/tokens", map[string]any{"orgawide": true}, 201)["token"].(string)
	g.wantKey("a wildcard of another environment", wide, hashA, 403, "scope_not_allowed")
	bound := g.call(staging, "POST", "/api/signing-keys", map[string]any{"allow_wildcard": true, "kid": "stg"}, 201)
	private, err := token.ParsePrivateKey([]byte(bound["private_key"].(string)))
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSigner("stg", private)
	if err != nil {
		t.Fatal(err)
	}
	g.wantKey("a signing key of another environment", mintJ(t, s, token.Claims{Subject: hashA}), hashA, 403, "scope_not_allowed")

	// Revoked, it is so for the next request; an API key is no token, and a token no API key.
	g.admin("DELETE", "/api/api-keys/"+minterID, nil, 204)
	g.call(minter, "GET", "/api/playback-keys", nil, 401)
	g.wantKey("an API key as a token", reader, hashA, 403, "invalid_token")
	g.call(wide, "GET", "/api/jobs", nil, 401)
	listed := g.do("GET", "/api/api-keys", "", withAPIKey)
	for _, secret := range []string{reader, minter, staging} {
		if strings.Contains(string(listed.body), secret[4:]) || strings.Contains(g.log.String(), secret[4:]) {
			t.Error("an API key is shown again, or stands in the log")
		}
	}
	var actors int
	if err := g.pool.QueryRow(t.Context(), `SELECT count(*) FROM audit_log WHERE actor = $1 AND action = 'playback_key.create'`, minterID).Scan(&actors); err != nil || actors != 1 {
		t.Errorf("the audit names %d times who it was, %v", actors, err)
	}
}

// TestTwoNodes: what is revoked at one API is refused by the other, which
// nobody tells; all five levels.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	pool := accessDatabase(t)
	a, b := newGateRig(t, pool), newGateRig(t, pool)
	ctx, stop := context.WithCancel(t.Context())
	var nodes sync.WaitGroup
	nodes.Go(func() { _ = b.gate.Run(ctx) })
	defer nodes.Wait()
	defer stop()
	a.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-1"}, 201)
	s := a.newSigner(map[string]any{"kid": "app"})
	fresh := func(c token.Claims) string {
		c.Subject, c.IssuedAt = "film-1", time.Now().Add(-10*time.Second)
		return mintJ(t, s, c)
	}
	await := func(what, tok string, status int, code string) {
		t.Helper()
		var got answer
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
			if got = b.key(tok, hashA); got.StatusCode == status && got.code() == code {
				return
			}
		}
		t.Errorf("%s: the other node answers %d %s", what, got.StatusCode, got.body)
	}
	bystander := fresh(token.Claims{UID: "somebody else"})
	await("new", bystander, 200, "")
	for _, tt := range []struct {
		claims token.Claims
		revoke map[string]any
	}{
		{token.Claims{JTI: "j1"}, map[string]any{"kind": "token", "value": "j1"}},
		{token.Claims{SID: "s1"}, map[string]any{"kind": "session", "value": "s1"}},
		{token.Claims{UID: "u1"}, map[string]any{"kind": "user", "value": "u1", "reason": "account shared"}},
		{token.Claims{Tags: []string{"t1"}}, map[string]any{"kind": "tag", "value": "t1"}},
	} {
		tok := fresh(tt.claims)
		await("before", tok, 200, "")
		r := a.admin("POST", "/api/revocations", tt.revoke, 201)
		await("revoked", tok, 403, "token_revoked")
		if got := b.key(bystander, hashA); got.StatusCode != http.StatusOK {
			t.Errorf("%v: it hits others: %s", tt.revoke, got.body)
		}
		if listed := a.admin("GET", "/api/revocations?limit=1", nil, 200)["revocations"].([]any); listed[0].(map[string]any)["id"] != r["id"] {
			t.Errorf("list: %v", listed)
		}
	}
	r := a.admin("POST", "/api/revocations", map[string]any{"kind": "all"}, 201)
	await("all before now", bystander, 403, "token_revoked")
	after := mintJ(t, s, token.Claims{Subject: "film-1", IssuedAt: time.Now().Add(2 * time.Second)})
	await("issued after it", after, 200, "")
	id := r["id"].(float64)
	a.admin("DELETE", "/api/revocations/"+jsonNumber(id), nil, 204)
	a.admin("DELETE", "/api/revocations/"+jsonNumber(id), nil, 404)
	a.admin("DELETE", "/api/revocations/x", nil, 404)
	await("lifted", bystander, 200, "")
	a.admin("DELETE", "/api/signing-keys/app", nil, 204)
	await("signing key", bystander, 403, "invalid_token")
	minted := a.admin("POST", "/api/playback-keys/film-1/tokens", nil, 201)["token"].(string)
	await("minted", minted, 200, "")
	a.admin("DELETE", "/api/playback-keys/film-1", nil, 204)
	await("playback key", minted, 403, "playback_key_revoked")
	for _, bad := range []map[string]any{{}, {"kind": "x", "value": "v"}, {"kind": "user"}, {"kind": "all", "value": "v"}, {"kind": "user", "value": "u", "expires_at": "2001-01-01T00:00:00Z"}} {
		a.admin("POST", "/api/revocations", bad, 400)
	}
}

func jsonNumber(f float64) string { raw, _ := json.Marshal(f); return string(raw) }

func TestPostgresAwayForAdministrators(t *testing.T) {
	t.Parallel()
	pool := accessDatabase(t)
	g := newGateRig(t, pool)
	pool.Close()
	for _, path := range []string{"/api/playback-keys", "/api/tokens", "/api/signing-keys", "/api/api-keys", "/api/revocations"} {
		a := g.do("GET", path, "", withAPIKey)
		if a.StatusCode != 503 || a.code() != "unavailable" || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	if a := g.do("GET", "/api/jobs", "", "X-API-Key: sck_"+strings.Repeat("A", 43)); a.StatusCode != 503 {
		t.Errorf("an API key that cannot be looked up: %d", a.StatusCode)
	}
	if a := g.do("GET", "/api/jobs", "", "X-API-Key: wrong"); a.StatusCode != 401 {
		t.Errorf("what cannot be an API key: %d", a.StatusCode)
	}
}
