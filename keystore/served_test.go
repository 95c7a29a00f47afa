package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/keystore"
)

// queries counts those that read keys for viewers.
type queries struct{ n atomic.Int64 }

func (q *queries) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	if strings.Contains(data.SQL, "unnest") {
		q.n.Add(1)
	}
	return ctx
}

func (q *queries) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// busyPool is a pool of two connections, both in use until release.
func busyPool(t *testing.T, dsn string) (pool *pgxpool.Pool, asked *queries, occupy func() (release func())) {
	t.Helper()
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	asked = &queries{}
	config.MaxConns, config.ConnConfig.Tracer = 2, asked
	if pool, err = pgxpool.NewWithConfig(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool, asked, func() func() {
		t.Helper()
		one, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		two, err := pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return func() { one.Release(); two.Release() }
	}
}

// asking counts callers down that wait for their answer.
type asking struct{ sync.WaitGroup }

// caller is the context of one more caller. Served looks for its end when the
// question is in the line, and not before. A caller that returns counts in any case.
func (a *asking) caller(ctx context.Context) (_ context.Context, returned func()) {
	a.Add(1)
	once := sync.OnceFunc(a.Done)
	return watched{ctx, once}, once
}

type watched struct {
	context.Context
	waited func()
}

// Deadline is one that Served need not shorten: it would make a context of its
// own, which looks for the end of this one at once.
func (w watched) Deadline() (time.Time, bool) { return time.Now().Add(time.Second), true }

func (w watched) Done() <-chan struct{} {
	w.waited()
	return w.Context.Done()
}

// Callers that wait are answered together, each with its own key or its own
// error: what is damaged, missing or another title's is nobody else's trouble.
func TestServedInGroups(t *testing.T) {
	t.Parallel()
	dsn := localstacktest.DSN(t)
	pool, asked, occupy := busyPool(t, dsn)
	s := open(t, pool, keyring(t, 1))
	keys := issueMany(t, pool, s, 100)
	exec(t, pool, `UPDATE content_keys SET track = 'ts' WHERE kid = $1`, keys[10].KID[:])
	exec(t, pool, `UPDATE content_keys SET state = 'revoked' WHERE kid = $1`, keys[11].KID[:])
	exec(t, pool, `UPDATE content_keys SET state = 'retiring', retire_at = now() - interval '1 s' WHERE kid = $1`, keys[12].KID[:])
	exec(t, pool, `UPDATE content_keys SET state = 'retiring', retire_at = now() + interval '1 h' WHERE kid = $1`, keys[13].KID[:])

	for range 2 {
		release := occupy()
		asked.n.Store(0)
		var callers sync.WaitGroup
		var line asking
		for i, key := range keys {
			ctx, returned := line.caller(t.Context())
			hash, kid := key.Hash, &key.KID
			switch {
			case i%3 == 0:
				kid = nil
			case i%3 == 1 && i >= 50:
				hash = keys[i-1].Hash // the key is another title's
			}
			callers.Go(func() {
				defer returned()
				got, err := s.Served(ctx, hash, kid)
				want := error(nil)
				switch {
				case i == 10:
					want = keystore.ErrIntegrity
				case i == 11, i == 12, hash != key.Hash:
					want = keystore.ErrNotFound
				}
				if !errors.Is(err, want) || (want == nil) == got.Content.IsZero() || (want == nil && (got.KID != key.KID || !got.Content.Equal(key.Content))) {
					t.Errorf("key %d: %v, want %v; key %s, want %s", i, err, want, got.KID, key.KID)
				}
			})
		}
		line.Wait() // else there are more groups than there could be
		release()
		callers.Wait()
		if n := asked.n.Load(); n < 2 || n > 20 {
			t.Errorf("%d callers made %d queries", len(keys), n)
		}
	}
}

// A caller that goes while its group waits gets its own error at once, and takes
// nobody with it.
func TestServedCallersLeaveAlone(t *testing.T) {
	t.Parallel()
	pool, _, occupy := busyPool(t, localstacktest.DSN(t))
	s := open(t, pool, keyring(t, 1))
	keys := issueMany(t, pool, s, 20)
	release := occupy()
	ctx, leave := context.WithCancelCause(t.Context())
	gone := errors.New("the player was closed")
	var leaving, staying sync.WaitGroup
	var line asking
	for i, key := range keys {
		if i%2 == 0 {
			ctx, returned := line.caller(ctx)
			leaving.Go(func() {
				defer returned()
				if _, err := s.Served(ctx, key.Hash, nil); !errors.Is(err, gone) || errors.Is(err, keystore.ErrUnavailable) {
					t.Errorf("who left: %v", err)
				}
			})
			continue
		}
		ctx, returned := line.caller(t.Context())
		staying.Go(func() {
			defer returned()
			if got, err := s.Served(ctx, key.Hash, nil); err != nil || got.KID != key.KID {
				t.Errorf("who stayed: %v", err)
			}
		})
	}
	line.Wait()
	leave(gone)
	leaving.Wait()
	release()
	staying.Wait()
}

// A text that no title has is not sent to Postgres, which would refuse a whole
// group for one that is no UTF-8.
func TestServedOfWhatIsNoHash(t *testing.T) {
	t.Parallel()
	pool, asked, _ := busyPool(t, localstacktest.DSN(t))
	s := open(t, pool, keyring(t, 1))
	kid := cenc.NewKID()
	for _, hash := range []string{"", "\xff", "a\x00", strings.Repeat("A", 64), strings.Repeat("0", 63), strings.Repeat("0", 65)} {
		for _, id := range []*cenc.KID{nil, &kid} {
			if _, err := s.Served(t.Context(), hash, id); !errors.Is(err, keystore.ErrNotFound) {
				t.Errorf("%q: %v", hash, err)
			}
		}
	}
	if asked.n.Load() != 0 {
		t.Error("Postgres was asked")
	}
}

// The plan does not depend on the size of a group, and finds each row by an
// index: a million rows cost what a thousand do.
func TestServedUsesIndexes(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Pool(t)
	s := open(t, pool, keyring(t, 1))
	issueMany(t, pool, s, 1)
	exec(t, pool, `
		INSERT INTO content_keys (kid, hash, job_id, attempt, track, scheme, wrapped_key, wrap_nonce, kek_version, key_uri, is_default, state, activated_at)
		SELECT decode(md5('kid' || i), 'hex'), md5('a' || i) || md5('b' || i), 'fill-' || i, 1, 'cmaf', 'cbcs',
			sha256(int8send(i)), substr(sha256(int8send(-i)), 1, 12), 1, 'https://v.example/' || i, true, 'active', now()
		FROM generate_series(1::bigint, 5000) AS i`)
	exec(t, pool, `ANALYZE content_keys`)
	for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
		plan := explain(t, pool, mode)
		if strings.Contains(plan, "Seq Scan on content_keys") || strings.Count(plan, "content_keys_pkey") != 1 || strings.Count(plan, "content_keys_one_default") != 1 {
			t.Errorf("%s:\n%s", mode, plan)
		}
	}
}

func explain(t *testing.T, pool *pgxpool.Pool, mode string) string {
	t.Helper()
	conn, err := pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	for _, sql := range []string{"SET plan_cache_mode = " + mode, "PREPARE q (bytea[], text[]) AS " + keystore.QueryServed} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	rows, err := conn.Query(t.Context(), fmt.Sprintf(`EXPLAIN EXECUTE q ('{NULL,\\x%032d}', '{%064d,%064d}')`, 1, 1, 2), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"DEALLOCATE q", "RESET plan_cache_mode"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	return strings.Join(lines, "\n")
}
