package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/keystore/audit"
)

// issueMany makes active keys, one for each of n titles.
func issueMany(t testing.TB, pool *pgxpool.Pool, s *keystore.Postgres, n int) []keystore.Key {
	t.Helper()
	keys := make([]keystore.Key, n)
	for i := range keys {
		r := request(1)
		r.Hash, r.JobID = fmt.Sprintf("%064x", i), fmt.Sprint("job-", i)
		var err error
		if keys[i], err = s.Issue(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	exec(t, pool, `UPDATE content_keys SET state = 'active', activated_at = now() WHERE state = 'pending'`)
	return keys
}

func under(t testing.TB, pool *pgxpool.Pool, version int) int {
	t.Helper()
	return one[int](t, pool, `SELECT count(*) FROM content_keys WHERE kek_version = $1 AND wrapped_key IS NOT NULL`, version)
}

// Two rewraps at once move every key, each key once, while readers read.
func TestRewrapWhileOthersReadAndRewrap(t *testing.T) {
	dsn := localstacktest.DSN(t)
	pool := localstacktest.Connect(t, dsn)
	const n = 120
	keys := issueMany(t, pool, open(t, pool, keyring(t, 1)), n)
	reader := open(t, pool, keyring(t, 1, 2)) // a process that knows both, and still seals under the old one

	var stop atomic.Bool
	var reads atomic.Int64
	var readers sync.WaitGroup
	for g := range 3 {
		readers.Go(func() {
			for i := g; !stop.Load(); i++ {
				want := keys[i%n]
				got, err := reader.Served(t.Context(), want.Hash, nil)
				if err != nil || !got.Content.Equal(want.Content) || got.KID != want.KID {
					t.Errorf("read during the rewrap: %v", err)
					return
				}
				reads.Add(1)
			}
		})
	}
	var moved, calls atomic.Int64
	var group sync.WaitGroup
	for range 2 {
		s := open(t, localstacktest.Connect(t, dsn), keyring(t, 2, 1))
		group.Go(func() {
			sum, err := s.Rewrap(t.Context(), keystore.RewrapOptions{Batch: 7, Progress: func(_, all int64) {
				calls.Add(1)
				if all > n {
					t.Errorf("%d keys of %d", all, n)
				}
			}})
			if err != nil || len(sum.Damaged) > 0 {
				t.Errorf("rewrap: %+v, %v", sum, err)
			}
			moved.Add(sum.Keys)
		})
	}
	group.Wait()
	stop.Store(true)
	readers.Wait()
	if moved.Load() != n || under(t, pool, 2) != n || calls.Load() == 0 {
		t.Errorf("%d keys moved, %d lie under version 2; want %d", moved.Load(), under(t, pool, 2), n)
	}
	if reads.Load() == 0 {
		t.Error("nobody read")
	}
	if wraps := one[int](t, pool, `SELECT wraps FROM kek_versions WHERE version = 2`); wraps != n+1 {
		t.Errorf("%d seals are counted, want %d and the check value's", wraps, n)
	}
	if sum := one[int](t, pool, `SELECT sum((details ->> 'keys')::int) FROM audit_entries WHERE action = 'key.rewrap'`); sum != n {
		t.Errorf("%d keys on record, want %d", sum, n)
	}
	if rep, err := audit.Verify(t.Context(), pool, nil, nil); err != nil || rep.Bad != nil {
		t.Errorf("audit trail: %v %v", rep.Bad, err)
	}
	alone := open(t, pool, keyring(t, 2)) // without the old KEK
	for _, want := range keys {
		if got, err := alone.Get(t.Context(), want.Hash, want.KID); err != nil || !got.Content.Equal(want.Content) {
			t.Fatalf("key %s after the rewrap: %v", want.KID, err)
		}
	}
}

func TestRewrapPassesOverDamage(t *testing.T) {
	pool := localstacktest.Pool(t)
	keys := issueMany(t, pool, open(t, pool, keyring(t, 1)), 9)
	exec(t, pool, `UPDATE content_keys SET wrapped_key = decode(repeat('00', 32), 'hex') WHERE kid = $1`, keys[4].KID[:])
	s := open(t, pool, keyring(t, 2, 1))
	dry, err := s.Rewrap(t.Context(), keystore.RewrapOptions{DryRun: true, Batch: 2})
	if err != nil || dry.Keys != 8 || dry.Left != 9 || len(dry.Damaged) != 1 || dry.From[1] != 9 || under(t, pool, 2) != 0 {
		t.Errorf("dry run: %+v, %v", dry, err)
	}
	for _, left := range []int64{8, 0} { // the second run has nothing left to do
		sum, err := s.Rewrap(t.Context(), keystore.RewrapOptions{Batch: 2})
		if err != nil || sum.Keys != left || sum.Left != 1 || len(sum.Damaged) != 1 || sum.Damaged[0].KID != keys[4].KID ||
			!errors.Is(sum.Damaged[0].Err, keystore.ErrIntegrity) {
			t.Errorf("%+v, %v; want %d keys and one damaged", sum, err, left)
		}
	}
}

func TestRetireKEK(t *testing.T) {
	pool := localstacktest.Pool(t)
	issueMany(t, pool, open(t, pool, keyring(t, 1)), 3)
	s := open(t, pool, keyring(t, 2, 1))
	var left *keystore.RemainError
	if err := keystore.Retire(t.Context(), pool, 1, false); !errors.As(err, &left) || left.Keys != 3 || left.Version != 1 {
		t.Errorf("with keys left: %v", err)
	}
	if err := keystore.Retire(t.Context(), pool, 2, false); !errors.Is(err, keystore.ErrKEKPrimary) {
		t.Errorf("the primary: %v", err)
	}
	if err := keystore.Retire(t.Context(), pool, 3, false); !errors.Is(err, keystore.ErrKEKMissing) {
		t.Errorf("an unknown one: %v", err)
	}
	if _, err := s.Rewrap(t.Context(), keystore.RewrapOptions{}); err != nil {
		t.Fatal(err)
	}
	for i, dryRun := range []bool{true, false, false} {
		if err := keystore.Retire(t.Context(), pool, 1, dryRun); err != nil {
			t.Errorf("dry run %v: %v", dryRun, err)
		}
		if retired := one[bool](t, pool, `SELECT state = 'retired' FROM kek_versions WHERE version = 1`); retired != (i > 0) {
			t.Errorf("dry run %v: retired %v", dryRun, retired)
		}
	}
	open(t, pool, keyring(t, 2))
	if _, err := keystore.Open(t.Context(), pool, keyring(t, 1, 2), nil); !errors.Is(err, keystore.ErrKEKRetired) {
		t.Errorf("a retired primary: %v", err)
	}
	list, err := keystore.KEKs(t.Context(), pool)
	if err != nil || len(list) != 2 || list[0].State != "retired" || list[0].Keys != 0 || list[1].State != "primary" || list[1].Keys != 3 {
		t.Errorf("%+v, %v", list, err)
	}
	if n := one[int](t, pool, `SELECT count(*) FROM audit_entries WHERE action = 'kek.retire'`); n != 1 {
		t.Errorf("%d entries", n)
	}
	reg := prometheus.NewRegistry()
	if err := keystore.RegisterCounts(reg, pool); err != nil {
		t.Fatal(err)
	}
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]float64{} // by KEK version
	for _, family := range all {
		for _, m := range family.GetMetric() {
			if family.GetName() == "sealcast_keystore_keys" {
				rows[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	if len(rows) != 2 || rows["1"] != 0 || rows["2"] != 3 {
		t.Errorf("metrics of rows: %v", rows)
	}
}

func TestShredAsset(t *testing.T) {
	pool := localstacktest.Pool(t)
	s := open(t, pool, keyring(t, 1))
	keys := issueMany(t, pool, s, 2)
	for _, dryRun := range []bool{true, false} {
		sum, err := keystore.ShredAsset(t.Context(), pool, keys[0].Hash, dryRun)
		if err != nil || sum.Keys != 1 || len(sum.Versions) != 1 || sum.Versions[0] != 1 {
			t.Errorf("dry run %v: %+v, %v", dryRun, sum, err)
		}
		_, err = s.Served(t.Context(), keys[0].Hash, nil)
		if gone := errors.Is(err, keystore.ErrNotFound); gone == dryRun {
			t.Errorf("dry run %v: served: %v", dryRun, err)
		}
	}
	if sum, err := keystore.ShredAsset(t.Context(), pool, keys[0].Hash, false); err != nil || sum.Keys != 0 {
		t.Errorf("again: %+v, %v", sum, err)
	}
	if _, err := s.Served(t.Context(), keys[1].Hash, nil); err != nil {
		t.Errorf("another asset's key: %v", err)
	}
}

// meddler is a KEK that does something else before it seals.
type meddler struct {
	keystore.AEAD
	before func()
}

func (m meddler) Seal(ctx context.Context, plain, aad []byte) (nonce, sealed []byte, err error) {
	m.before()
	return m.AEAD.Seal(ctx, plain, aad)
}

// meddled is a store whose primary, version 2, is a meddler.
func meddled(t testing.TB, pool *pgxpool.Pool, before func()) *keystore.Postgres {
	t.Helper()
	aeads, err := keystore.Local(map[int][]byte{1: kek(1), 2: kek(2)})
	if err != nil {
		t.Fatal(err)
	}
	open(t, pool, keyring(t, 2, 1)) // registers
	aeads[2] = meddler{aeads[2], before}
	keys, err := keystore.NewKeyringOf(2, aeads)
	if err != nil {
		t.Fatal(err)
	}
	return open(t, pool, keys)
}

// A KEK that takes its time holds up nobody: no row is locked while it seals.
// What others change meanwhile stays as they left it, and no seal that is
// dropped is counted.
func TestRewrapHoldsNoLockWhileItSeals(t *testing.T) {
	pool := localstacktest.Pool(t)
	keys := issueMany(t, pool, open(t, pool, keyring(t, 1)), 5)
	s := meddled(t, pool, func() {
		exec(t, pool, `SELECT kid FROM content_keys FOR UPDATE NOWAIT`)
		exec(t, pool, `SELECT version FROM kek_versions FOR UPDATE NOWAIT`)
		if _, err := keystore.ShredAsset(t.Context(), pool, keys[2].Hash, false); err != nil {
			t.Error(err)
		}
	})
	sum, err := s.Rewrap(t.Context(), keystore.RewrapOptions{})
	if err != nil || sum.Left != 0 || under(t, pool, 2) != int(sum.Keys) || sum.Keys < 4 {
		t.Errorf("%+v, %v", sum, err)
	}
	if _, err := s.Served(t.Context(), keys[2].Hash, nil); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("a key that was shredded meanwhile: %v", err)
	}
	if wraps := one[int64](t, pool, `SELECT wraps FROM kek_versions WHERE version = 2`); wraps != sum.Keys+1 {
		t.Errorf("%d seals are counted, want %d and the check value's", wraps, sum.Keys)
	}
}

func TestRewrapStopsAtTheLimitAndAtARetiredPrimary(t *testing.T) {
	for change, want := range map[string]error{
		`UPDATE kek_versions SET state = 'retired' WHERE version = 2`:  keystore.ErrKEKRetired,
		`UPDATE kek_versions SET wraps = 4294967294 WHERE version = 2`: keystore.ErrKEKExhausted,
	} {
		pool := localstacktest.Pool(t)
		issueMany(t, pool, open(t, pool, keyring(t, 1)), 20)
		s := meddled(t, pool, func() { exec(t, pool, change) })
		sum, err := s.Rewrap(t.Context(), keystore.RewrapOptions{})
		if !errors.Is(err, want) || int(sum.Keys) != under(t, pool, 2) || sum.Keys > 2 {
			t.Errorf("%s: %+v, %v", change, sum, err)
		}
	}
}

// A store for a dry run opens keys and changes nothing.
func TestOpenReadOnlyChangesNothing(t *testing.T) {
	pool := localstacktest.Pool(t)
	issueMany(t, pool, open(t, pool, keyring(t, 1)), 3)
	const state = `SELECT string_agg(v::text, ' ' ORDER BY version) || (SELECT seq FROM audit_head) FROM kek_versions v`
	before := one[string](t, pool, state)
	s, err := keystore.OpenReadOnly(t.Context(), pool, keyring(t, 2, 1))
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := s.Rewrap(t.Context(), keystore.RewrapOptions{DryRun: true}); err != nil || sum.Keys != 3 || sum.Primary != 2 {
		t.Errorf("%+v, %v", sum, err)
	}
	if after := one[string](t, pool, state); after != before {
		t.Errorf("before: %s\nafter: %s", before, after)
	}
	if _, err := keystore.OpenReadOnly(t.Context(), pool, keyring(t, 2)); !errors.Is(err, keystore.ErrKEKMissing) {
		t.Errorf("without the old KEK: %v", err)
	}
}

// A new key is sealed before the transaction too.
func TestIssueHoldsNoLockWhileItSeals(t *testing.T) {
	pool := localstacktest.Pool(t)
	sealed := false
	s := meddled(t, pool, func() {
		sealed = true
		exec(t, pool, `SELECT version FROM kek_versions FOR UPDATE NOWAIT`)
		if n := one[int](t, pool, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in transaction%'`); n != 0 {
			t.Errorf("%d transactions wait for the KEK", n)
		}
	})
	key, err := s.Issue(t.Context(), request(1))
	if err != nil || !sealed || key.KEKVersion != 2 {
		t.Fatalf("%+v, %v", key, err)
	}
	if wraps := one[int64](t, pool, `SELECT wraps FROM kek_versions WHERE version = 2`); wraps != 2 {
		t.Errorf("%d seals are counted, want the check value's and the key's", wraps)
	}
}
