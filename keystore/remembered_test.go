package keystore_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/keystore/keystoretest"
)

// While changes are heard a key's row is read once for everybody, and anew as
// soon as it changes. Rows are remembered for an hour here: that they are
// forgotten is the notices' doing alone.
func TestServedRemembersUntilARowChanges(t *testing.T) {
	t.Parallel()
	dsn := localstacktest.DSN(t)
	pool, asked, _ := busyPool(t, dsn)
	admin := localstacktest.Connect(t, dsn)
	s := open(t, pool, keyring(t, 1, 2))
	s.Remember(time.Hour)
	keys := issueMany(t, admin, s, 6)
	ctx, stop := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	listening.Go(func() { _ = s.Listen(ctx) })
	defer func() { stop(); listening.Wait() }()

	serve := func(i int) (keystore.Key, error) {
		if i%2 == 0 {
			return s.Served(t.Context(), keys[i].Hash, nil)
		}
		return s.Served(t.Context(), keys[i].Hash, &keys[i].KID)
	}
	reads := func(i int) bool {
		before := asked.n.Load()
		if got, err := serve(i); err != nil || got.KID != keys[i].KID || !got.Content.Equal(keys[i].Content) {
			t.Fatalf("key %d: %v", i, err)
		}
		return asked.n.Load() > before
	}
	remember := func(i int) { eventually(t, "a row is remembered", func() bool { return !reads(i) }) }
	for i := range keys {
		remember(i)
	}
	asked.n.Store(0)
	for range 20 {
		for i := range keys {
			reads(i)
		}
	}
	if n := asked.n.Load(); n != 0 {
		t.Errorf("%d queries for keys that are remembered", n)
	}

	gone := func(i int) func() bool {
		return func() bool { _, err := serve(i); return errors.Is(err, keystore.ErrNotFound) }
	}
	exec(t, admin, `UPDATE content_keys SET state = 'revoked' WHERE kid = $1`, keys[0].KID[:])
	eventually(t, "a revoked key is gone", gone(0))
	remember(1)
	if _, err := keystore.ShredAsset(t.Context(), admin, keys[1].Hash, false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a shredded key is gone", gone(1))
	remember(2)
	err := pgx.BeginFunc(t.Context(), admin, func(tx pgx.Tx) error {
		_, err := s.RetireOthers(t.Context(), tx, keys[2].Hash, "another", 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "a retired key is gone", gone(2))
	remember(3)
	exec(t, admin, `DELETE FROM content_keys WHERE kid = $1`, keys[3].KID[:])
	eventually(t, "a deleted row is gone", gone(3))
	remember(4)
	if _, err := open(t, admin, keyring(t, 2, 1)).Rewrap(t.Context(), keystore.RewrapOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a key that was sealed anew is read anew", func() bool {
		got, err := serve(4)
		if err != nil || !got.Content.Equal(keys[4].Content) {
			t.Fatal(err)
		}
		return got.KEKVersion == 2
	})

	remember(5)
	// Two reads in a row happen only while nothing is heard: the new connection,
	// a second later, forgets once.
	eventually(t, "nothing is remembered without the connection", func() bool {
		exec(t, admin, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sealcast key listener'`)
		for cut := time.Now(); time.Since(cut) < 800*time.Millisecond; {
			if first := reads(5); reads(5) && first {
				return true
			}
		}
		return false
	})
	remember(5) // there is another connection
}

// A row that is remembered ends with the connection that would tell of its
// change: without Postgres there are no keys.
func TestServedEndsWithPostgres(t *testing.T) {
	t.Parallel()
	dsn := localstacktest.DSN(t)
	admin := localstacktest.Connect(t, dsn)
	pool, relay := through(t, dsn)
	s := open(t, pool, keyring(t, 1))
	s.Remember(time.Hour)
	key := issueMany(t, admin, open(t, admin, keyring(t, 1)), 1)[0]
	ctx, stop := context.WithCancel(t.Context())
	var listening sync.WaitGroup
	listening.Go(func() { _ = s.Listen(ctx) })
	defer func() { stop(); listening.Wait() }()
	eventually(t, "the row is remembered", func() bool {
		_, err := s.Served(t.Context(), key.Hash, nil)
		return err == nil && s.Remembers() == 1
	})
	relay.Close() // no new connections
	relay.cut()
	eventually(t, "the key is unavailable", func() bool {
		_, err := s.Served(t.Context(), key.Hash, nil)
		return errors.Is(err, keystore.ErrUnavailable)
	})
}

// Who reads one key reads others along that are in use and will soon be too old.
func TestServedReadsAlongWhatIsDue(t *testing.T) {
	t.Parallel()
	pool, asked, _ := busyPool(t, localstacktest.DSN(t))
	s := open(t, pool, keyring(t, 1))
	keys := issueMany(t, pool, s, 9)
	const keep = 10 * time.Second
	s.Remember(keep)
	s.Hear()
	serve := func(i int) {
		kid := &keys[i].KID
		if i%2 == 0 {
			kid = nil
		}
		if got, err := s.Served(t.Context(), keys[i].Hash, kid); err != nil || !got.Content.Equal(keys[i].Content) {
			t.Fatalf("key %d: %v", i, err)
		}
	}
	for i := range 8 {
		serve(i) // is read
		serve(i) // is used
	}
	s.Age(keep * 3 / 4)
	asked.n.Store(0)
	serve(8) // has to be read
	s.Age(keep / 2)
	for i := range 8 {
		serve(i) // would be too old by now
	}
	if n := asked.n.Load(); n != 1 {
		t.Errorf("%d queries, want one for all", n)
	}
}

// Without Listen every call reads.
func TestServedReadsWhileNothingIsHeard(t *testing.T) {
	t.Parallel()
	pool, asked, _ := busyPool(t, localstacktest.DSN(t))
	s := open(t, pool, keyring(t, 1))
	key := issueMany(t, pool, s, 1)[0]
	for range 5 {
		if _, err := s.Served(t.Context(), key.Hash, nil); err != nil {
			t.Fatal(err)
		}
	}
	if n := asked.n.Load(); n != 5 {
		t.Errorf("%d queries for five calls", n)
	}
}

// Who has committed a change and forgets gives nothing old, however late the
// notice is.
func TestForget(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Connect(t, localstacktest.DSN(t))
	s := open(t, pool, keyring(t, 1))
	key := issueMany(t, pool, s, 1)[0]
	s.Remember(time.Hour)
	s.Hear() // and then nothing
	serve := func() error { _, err := s.Served(t.Context(), key.Hash, nil); return err }
	if err := serve(); err != nil || s.Remembers() != 1 {
		t.Fatalf("%d rows are remembered, %v", s.Remembers(), err)
	}
	if _, err := keystore.ShredAsset(t.Context(), pool, key.Hash, false); err != nil {
		t.Fatal(err)
	}
	if err := serve(); err != nil {
		t.Fatalf("the row was not remembered: %v", err)
	}
	s.Forget()
	if err := serve(); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("a shredded key: %v", err)
	}
}

// A row that was sealed anew opens although it is remembered as it was and the
// old KEK has been taken away.
func TestServedForgetsWhatNoKEKOpens(t *testing.T) {
	t.Parallel()
	dsn := localstacktest.DSN(t)
	pool, admin := localstacktest.Connect(t, dsn), localstacktest.Connect(t, dsn)
	s := open(t, pool, keyring(t, 1, 2))
	key := issueMany(t, admin, s, 1)[0]
	s.Remember(time.Hour)
	s.Hear() // and then nothing: the notice is late
	if _, err := s.Served(t.Context(), key.Hash, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, admin, keyring(t, 2, 1)).Rewrap(t.Context(), keystore.RewrapOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(t.Context(), keyring(t, 2)); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Served(t.Context(), key.Hash, nil); err != nil || got.KEKVersion != 2 || !got.Content.Equal(key.Content) {
		t.Errorf("version %d, %v", got.KEKVersion, err)
	}
}

// distant is a KEK behind a network that may be away.
type distant struct {
	keystore.AEAD
	away, mute bool
}

func (d *distant) Open(ctx context.Context, nonce, sealed, aad []byte) ([]byte, error) {
	if d.mute {
		<-ctx.Done()
	}
	if d.away || d.mute {
		return nil, keystore.ErrUnavailable
	}
	return d.AEAD.Open(ctx, nonce, sealed, aad)
}

// A KEK that is away, or does not answer, is told and counted for a row that is remembered, too.
func TestServedWithoutItsKEK(t *testing.T) {
	t.Parallel()
	pool, asked, _ := busyPool(t, localstacktest.DSN(t))
	local, err := keystore.Local(map[int][]byte{1: keystoretest.KEK(1)})
	if err != nil {
		t.Fatal(err)
	}
	kek := &distant{AEAD: local[1]}
	ring, err := keystore.NewKeyringOf(1, map[int]keystore.AEAD{1: kek})
	if err != nil {
		t.Fatal(err)
	}
	reg := prometheus.NewRegistry()
	s, err := keystore.Open(t.Context(), pool, ring, reg)
	if err != nil {
		t.Fatal(err)
	}
	key := issueMany(t, pool, s, 1)[0]
	s.Remember(time.Hour)
	s.Hear()
	if _, err := s.Served(t.Context(), key.Hash, nil); err != nil {
		t.Fatal(err)
	}
	kek.away = true
	asked.n.Store(0)
	if _, err := s.Served(t.Context(), key.Hash, nil); !errors.Is(err, keystore.ErrUnavailable) || asked.n.Load() != 0 {
		t.Errorf("%v, %d queries", err, asked.n.Load())
	}
	kek.away, kek.mute = false, true
	silent, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := s.Served(silent, key.Hash, nil); !errors.Is(err, keystore.ErrUnavailable) || silent.Err() != nil {
		t.Errorf("a KEK that says nothing: %v, %v", err, silent.Err())
	}
	all, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := 0.0
	for _, family := range all {
		for _, m := range family.GetMetric() {
			if family.GetName() == "sealcast_keystore_unavailable_total" && m.GetLabel()[0].GetValue() == "served" {
				counted = m.GetCounter().GetValue()
			}
		}
	}
	if counted != 2 {
		t.Errorf("counted %v times", counted)
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}
