package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/keystore"
)

// relay stands between a pool and the server.
type relay struct {
	net.Listener
	mute  context.Context // done: every byte is swallowed from now on
	muted context.CancelFunc
	dead  context.Context // done: every connection is cut
	cut   context.CancelFunc
}

// through is a pool that reaches the DSN's server by way of a relay.
func through(t *testing.T, dsn string) (*pgxpool.Pool, *relay) {
	t.Helper()
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l}
	r.mute, r.muted = context.WithCancel(context.Background())
	r.dead, r.cut = context.WithCancel(context.Background())
	go r.serve(fmt.Sprintf("%s:%d", config.ConnConfig.Host, config.ConnConfig.Port))

	config.ConnConfig.Port = uint16(l.Addr().(*net.TCPAddr).Port)
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		l.Close()
		r.muted()
		r.cut() // first: a pool waits for connections that hear nothing
		pool.Close()
	})
	return pool, r
}

func (r *relay) serve(target string) {
	for {
		in, err := r.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp4", target)
		if err != nil {
			in.Close()
			continue
		}
		context.AfterFunc(r.dead, func() { in.Close(); out.Close() })
		go r.copy(out, in)
		go r.copy(in, out)
	}
}

func (r *relay) copy(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if r.mute.Err() != nil {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// callAll calls every method, each with its own short deadline.
func callAll(t *testing.T, s *keystore.Postgres, within time.Duration) map[string]error {
	t.Helper()
	errs := map[string]error{}
	call := func(name string, f func(context.Context) error) {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		errs[name] = f(ctx)
	}
	kid := cenc.NewKID()
	call("issue", func(ctx context.Context) error { _, err := s.Issue(ctx, request(1)); return err })
	call("served", func(ctx context.Context) error { _, err := s.Served(ctx, hash, nil); return err })
	call("served by kid", func(ctx context.Context) error { _, err := s.Served(ctx, hash, &kid); return err })
	call("get", func(ctx context.Context) error { _, err := s.Get(ctx, hash, kid); return err })
	return errs
}

func wantAway(t *testing.T, errs map[string]error) {
	t.Helper()
	for name, err := range errs {
		if !errors.Is(err, keystore.ErrUnavailable) || errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("%s: %v, want ErrUnavailable", name, err)
		}
	}
}

func TestDatabaseAway(t *testing.T) {
	t.Parallel()
	const patience = 20 * time.Second
	dsn := localstacktest.DSN(t)

	t.Run("refused", func(t *testing.T) {
		pool, r := through(t, dsn)
		s := open(t, pool, keyring(t, 1))
		r.Close()
		pool.Reset()
		wantAway(t, callAll(t, s, patience))
		if _, err := keystore.Open(t.Context(), pool, keyring(t, 1), nil); !errors.Is(err, keystore.ErrUnavailable) {
			t.Errorf("open: %v, want ErrUnavailable", err)
		}
	})
	t.Run("silent", func(t *testing.T) {
		pool, r := through(t, dsn)
		s := open(t, pool, keyring(t, 1))
		r.muted()
		wantAway(t, callAll(t, s, 50*time.Millisecond))
		// Without a deadline of the caller's there is one all the same.
		_, err := s.Served(t.Context(), hash, nil)
		wantAway(t, map[string]error{"no deadline": err})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v: want the deadline as cause", err)
		}
	})
	t.Run("pool closed", func(t *testing.T) {
		pool := localstacktest.Connect(t, dsn)
		s := open(t, pool, keyring(t, 1))
		pool.Close()
		wantAway(t, callAll(t, s, patience))
	})
	t.Run("pool used up", func(t *testing.T) {
		config, err := pgxpool.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		config.MaxConns = 1
		pool, err := pgxpool.NewWithConfig(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(pool.Close)
		s := open(t, pool, keyring(t, 1))
		conn, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		wantAway(t, callAll(t, s, 50*time.Millisecond))
	})
	t.Run("ended by an administrator", func(t *testing.T) {
		pool := localstacktest.Connect(t, dsn)
		reg := prometheus.NewRegistry()
		s, err := keystore.Open(t.Context(), pool, keyring(t, 1), reg)
		if err != nil {
			t.Fatal(err)
		}
		tx, err := pool.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		pid := tx.Conn().PgConn().PID()
		exec(t, localstacktest.Connect(t, dsn), `SELECT pg_terminate_backend($1, 10000)`, pid)
		_, err = s.Activate(t.Context(), tx, "job-1", 1)
		wantAway(t, map[string]error{"activate": err})
		_ = tx.Rollback(t.Context())
		want := `# HELP sealcast_keystore_unavailable_total Keystore operations that found the database away, by operation.
# TYPE sealcast_keystore_unavailable_total counter
sealcast_keystore_unavailable_total{operation="activate"} 1
sealcast_keystore_unavailable_total{operation="get"} 0
sealcast_keystore_unavailable_total{operation="issue"} 0
sealcast_keystore_unavailable_total{operation="open"} 0
sealcast_keystore_unavailable_total{operation="retire"} 0
sealcast_keystore_unavailable_total{operation="rewrap"} 0
sealcast_keystore_unavailable_total{operation="served"} 0
sealcast_keystore_unavailable_total{operation="shred"} 0
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "sealcast_keystore_unavailable_total"); err != nil {
			t.Error(err)
		}
	})
	t.Run("back again", func(t *testing.T) {
		s := open(t, localstacktest.Connect(t, dsn), keyring(t, 1))
		if _, err := s.Issue(t.Context(), request(1)); err != nil {
			t.Error(err)
		}
	})
}

// noRowValues checks that an error of a refused statement is ours and shows
// neither the row nor a way to it.
func noRowValues(t *testing.T, err error, value string) {
	t.Helper()
	var refused *keystore.DatabaseError
	if !errors.As(err, &refused) || refused.Constraint != "forbidden" {
		t.Fatalf("%v, want a DatabaseError for the constraint", err)
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		t.Error("the Postgres error, with the row in its detail, can be unwrapped")
	}
	for _, text := range []string{err.Error(), fmt.Sprintf("%+v %#v", err, err)} {
		if strings.Contains(text, value) || strings.Contains(text, hash) || strings.Contains(text, "Failing row") {
			t.Errorf("the error shows the row: %s", text)
		}
	}
}

func TestRefusedInsertSaysNothingOfTheRow(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Pool(t)
	s := open(t, pool, keyring(t, 1))
	exec(t, pool, `ALTER TABLE content_keys ADD CONSTRAINT forbidden CHECK (attempt <> 1)`)
	_, err := s.Issue(t.Context(), request(1))
	noRowValues(t, err, hash)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Pool(t)
	reg := prometheus.NewRegistry()
	s, err := keystore.Open(t.Context(), pool, keyring(t, 2, 1), reg)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keystore.Open(t.Context(), pool, keyring(t, 2, 1), reg); err != nil {
		t.Fatal("a second store on one registry:", err)
	}
	key, err := s.Issue(t.Context(), request(1))
	if err != nil {
		t.Fatal(err)
	}
	err = pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := s.Activate(t.Context(), tx, "job-1", 1)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	conflict := request(1)
	conflict.Scheme = cenc.SchemeCENC
	_, _ = s.Issue(t.Context(), request(1))
	_, _ = s.Issue(t.Context(), conflict)
	_, _ = s.Served(t.Context(), hash, nil)
	exec(t, pool, `UPDATE content_keys SET track = 'ts'`)
	_, _ = s.Get(t.Context(), hash, key.KID)

	want := `# HELP sealcast_keystore_issues_total Content keys asked for by jobs, by outcome (new, repeated, conflict, exhausted, error).
# TYPE sealcast_keystore_issues_total counter
sealcast_keystore_issues_total{outcome="conflict"} 1
sealcast_keystore_issues_total{outcome="error"} 0
sealcast_keystore_issues_total{outcome="exhausted"} 0
sealcast_keystore_issues_total{outcome="new"} 1
sealcast_keystore_issues_total{outcome="repeated"} 1
# HELP sealcast_keystore_kek_wraps Seals made under a KEK version so far, as this process last saw it; the hard stop is 4294967296.
# TYPE sealcast_keystore_kek_wraps gauge
sealcast_keystore_kek_wraps{kek_version="1"} 1
sealcast_keystore_kek_wraps{kek_version="2"} 2
# HELP sealcast_keystore_unwraps_total Content keys opened, by outcome (ok, integrity, kek_missing, unavailable).
# TYPE sealcast_keystore_unwraps_total counter
sealcast_keystore_unwraps_total{outcome="integrity"} 1
sealcast_keystore_unwraps_total{outcome="kek_missing"} 0
sealcast_keystore_unwraps_total{outcome="ok"} 4
sealcast_keystore_unwraps_total{outcome="unavailable"} 0
`
	err = testutil.GatherAndCompare(reg, strings.NewReader(want),
		"sealcast_keystore_issues_total", "sealcast_keystore_kek_wraps", "sealcast_keystore_unwraps_total")
	if err != nil {
		t.Error(err)
	}
}
