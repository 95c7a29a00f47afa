package api

import (
	"net/http"
	"testing"
	"time"

	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/keystore/keystoretest"
)

// TestKeyWhilePostgresIsStuck: the routes of keys have no timeout of their own.
// Whatever they wait for has one, so that a Postgres that takes questions and
// does not answer is a 503 long before the server cuts the connection.
func TestKeyWhilePostgresIsStuck(t *testing.T) {
	t.Parallel()
	for name, tables := range map[string]string{"the key store": "content_keys", "the gate": "asset_policies, playback_keys"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool := accessDatabase(t)
			store, err := keystore.Open(t.Context(), pool, keystoretest.Keyring(t, 1), nil)
			if err != nil {
				t.Fatal(err)
			}
			g := newGateRig(t, pool, func(cfg *Config) { cfg.Keys = store })
			tx, err := pool.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = tx.Rollback(t.Context()) })
			if _, err := tx.Exec(t.Context(), `LOCK TABLE `+tables+` IN ACCESS EXCLUSIVE MODE`); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			got := g.do("GET", "/api/key/"+hashA, "", "Authorization: Bearer "+g.token(hashA))
			if got.StatusCode != http.StatusServiceUnavailable || time.Since(began) > serverTimeout/2 {
				t.Errorf("%d %s after %s", got.StatusCode, got.body, time.Since(began))
			}
		})
	}
}
