package api

import (
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/token"
)

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
