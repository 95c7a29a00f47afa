package api

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/keystore/keystoretest"
)

// TestKeyWhilePostgresIsStuck: the quick routes have no timeout of their own.
// Whatever they wait for has one, so that a Postgres that takes questions and
// does not answer is a 503 before the server cuts the connection.
func TestKeyWhilePostgresIsStuck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ table, path string }{
		"the key store":           {"content_keys", "/api/key/" + hashA},
		"private titles":          {"asset_policies", "/api/key/" + hashA},
		"playback keys":           {"playback_keys", "/v1/p/film-1/key"},
		"a playback key's keys":   {"content_keys", "/v1/p/film-1/key"},
		"a path token's playback": {"playback_keys", "/v1/p/film-1/t/{token}/key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := accessDatabase(t)
			store, err := keystore.Open(t.Context(), pool, keystoretest.Keyring(t, 1), nil)
			if err != nil {
				t.Fatal(err)
			}
			g := newGateRig(t, pool, func(cfg *Config) { cfg.Keys = store })
			g.admin("POST", "/api/playback-keys", map[string]any{"hash": hashA, "id": "film-1"}, 201)
			tok := g.token(hashA)
			if c.path != "/api/key/"+hashA {
				minted := g.admin("POST", "/api/playback-keys/film-1/tokens", map[string]any{}, 201)
				tok = minted["token"].(string)
			}
			ctx := context.WithoutCancel(t.Context())
			tx, err := pool.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = tx.Rollback(ctx) })
			if _, err := tx.Exec(ctx, `LOCK TABLE `+c.table+` IN ACCESS EXCLUSIVE MODE`); err != nil {
				t.Fatal(err)
			}
			var headers []string
			path := strings.ReplaceAll(c.path, "{token}", tok)
			if path == c.path {
				headers = []string{"Authorization: Bearer " + tok}
			}
			if got := g.do("GET", path, "", headers...); got.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
		})
	}
}

// A quick route has neither the body nor the timeout that its deadlines leave out.
func TestQuickRoutes(t *testing.T) {
	quick := 0
	for _, rt := range (&server{}).routes() {
		if rt.quick {
			quick++
			if rt.timeout != 0 || rt.limit != 0 {
				t.Errorf("%s %s is quick and has a timeout or a body", rt.method, rt.path)
			}
		}
	}
	if quick != 3 {
		t.Errorf("%d routes are quick, TestKeyWhilePostgresIsStuck knows 3", quick)
	}
}
