package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/token"
)

// TestTwoNodes: what is revoked at one API is refused there at once, and within
// two seconds by the other, which nobody tells; all five levels.
func TestTwoNodes(t *testing.T) {
	t.Parallel()
	a, b := twoNodes(t)
	a.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-1"}, 201)
	s := a.newSigner(map[string]any{"kid": "app"})
	fresh := func(c token.Claims) string {
		c.Subject, c.IssuedAt = "film-1", time.Now().Add(-10*time.Second)
		return mintJ(t, s, c)
	}
	await := func(what, tok string, status int, code string) {
		t.Helper()
		var got answer
		for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
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
		if got := a.key(tok, hashA); got.code() != token.CodeRevoked {
			t.Errorf("%v: the node that was told so answers %d %s", tt.revoke, got.StatusCode, got.body)
		}
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
