package keystore_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/keystore"
)

// Keys whose time is over are revoked, once, on record, and no others.
func TestRevokeRetired(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Pool(t)
	reg := prometheus.NewRegistry()
	s, err := keystore.Open(t.Context(), pool, keyring(t, 1), reg)
	if err != nil {
		t.Fatal(err)
	}
	keys := issueMany(t, pool, s, 4)
	retire := func(key keystore.Key, after time.Duration) {
		t.Helper()
		err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
			_, err := s.RetireOthers(t.Context(), tx, key.Hash, "job-next", after)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	retire(keys[0], -time.Second)
	retire(keys[1], -time.Second)
	retire(keys[2], time.Hour)

	var revokers sync.WaitGroup
	for range 3 {
		revokers.Go(func() {
			if _, err := s.RevokeRetired(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	revokers.Wait()
	for i, want := range []keystore.State{keystore.StateRevoked, keystore.StateRevoked, keystore.StateRetiring, keystore.StateActive} {
		got, err := s.Get(t.Context(), keys[i].Hash, keys[i].KID)
		if err != nil || got.State != want || !got.Content.Equal(keys[i].Content) {
			t.Errorf("key %d: %s, %v, want %s", i, got.State, err, want)
		}
		_, err = s.Served(t.Context(), keys[i].Hash, nil)
		if gone := errors.Is(err, keystore.ErrNotFound); gone != (want == keystore.StateRevoked) {
			t.Errorf("key %d served: %v", i, err)
		}
	}
	for i := range 2 {
		if n := one[int](t, pool, `SELECT count(*) FROM audit_entries WHERE action = 'key.revoke' AND subject = $1 AND details->>'keys' = '1'`, keys[i].Hash); n != 1 {
			t.Errorf("%d entries of key %d", n, i)
		}
	}
	if n, err := s.RevokeRetired(t.Context()); n != 0 || err != nil {
		t.Errorf("again: %d, %v", n, err)
	}
	want := "# HELP sealcast_keystore_revoked_total Content keys that this process has moved from retiring to revoked, their time being over.\n" +
		"# TYPE sealcast_keystore_revoked_total counter\nsealcast_keystore_revoked_total 2\n"
	if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "sealcast_keystore_revoked_total"); err != nil {
		t.Error(err)
	}
	if n := one[int](t, pool, `SELECT count(*) FROM audit_entries WHERE action = 'key.revoke'`); n != 2 {
		t.Errorf("%d entries in all", n)
	}
}
