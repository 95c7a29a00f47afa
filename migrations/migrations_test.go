package migrations_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"

	"github.com/sealcast/sealcast/internal/localstack"
	"github.com/sealcast/sealcast/migrations"
)

var (
	stack     *localstack.Stack
	databases atomic.Int32 // a name of its own for each, with -count too
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	var err error
	if stack, err = localstack.Start(context.Background(), localstack.Config{}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := stack.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}()
	return m.Run()
}

func database(t *testing.T) (string, *pgxpool.Pool) {
	t.Helper()
	dsn, err := stack.CreateDatabase(t.Context(), fmt.Sprint(t.Name(), databases.Add(1)), "")
	if err != nil {
		t.Fatal(err)
	}
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return dsn, pool
}

func TestApplyTwice(t *testing.T) {
	ctx := t.Context()
	dsn, pool := database(t)
	err := migrations.Current(ctx, pool)
	if !errors.Is(err, migrations.ErrPending) || !strings.Contains(err.Error(), "sealcast migrate") {
		t.Errorf("before: %v", err)
	}
	for range 2 {
		if err := migrations.Apply(ctx, dsn, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := migrations.Current(ctx, pool); err != nil {
		t.Errorf("after: %v", err)
	}
	rows, err := pool.Query(ctx, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"access_changes", "adopted_tasks", "api_keys", "asset_part_objects", "asset_parts", "asset_policies", "assets",
		"audit_entries", "audit_head", "audit_log", "content_keys", "early_objects", "early_publications",
		"goose_db_version", "idempotency_keys", "job_parts", "jobs",
		"kek_versions", "media_deletions", "minted_tokens", "outbox", "playback_keys", "publication_objects", "publications",
		"revocations", "signing_keys", "source_removals", "verified_sources",
		"webhook_attempts", "webhook_deliveries",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tables (-want +got):\n%s", diff)
	}
}

func TestApplyAtOnce(t *testing.T) {
	ctx := t.Context()
	dsn, pool := database(t)
	const n = 4
	errs := make(chan error, n)
	for range n {
		go func() { errs <- migrations.Apply(ctx, dsn, nil) }()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if err := migrations.Current(ctx, pool); err != nil {
		t.Error(err)
	}
	var twice int
	const query = "SELECT count(*) FROM (SELECT FROM goose_db_version GROUP BY version_id HAVING count(*) > 1) d"
	if err := pool.QueryRow(ctx, query).Scan(&twice); err != nil {
		t.Fatal(err)
	}
	if twice != 0 {
		t.Errorf("%d migrations were applied twice", twice)
	}
}

func TestCurrentNamesWhatIsMissing(t *testing.T) {
	ctx := t.Context()
	dsn, pool := database(t)
	if err := migrations.Apply(ctx, dsn, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(ctx, "DELETE FROM goose_db_version WHERE version_id = 2"); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Current(ctx, pool); !errors.Is(err, migrations.ErrPending) || !strings.Contains(err.Error(), "missing: 2;") {
		t.Errorf("got %v", err)
	}
}

func TestCurrentWithoutDatabase(t *testing.T) {
	_, pool := database(t)
	pool.Close()
	if err := migrations.Current(t.Context(), pool); err == nil || errors.Is(err, migrations.ErrPending) {
		t.Errorf("got %v, want an error that is not ErrPending", err)
	}
}

// The constraints hold the rules of a job row.
func TestJobRowNeverLies(t *testing.T) {
	ctx := t.Context()
	dsn, pool := database(t)
	if err := migrations.Apply(ctx, dsn, nil); err != nil {
		t.Fatal(err)
	}
	const insert = `INSERT INTO jobs (id, type, queue, hash, source, options, encrypt, request_digest, state, results, finished_at, lease_until, progress)
		VALUES ($1, 'video:transcode', 'default', $2, 'key', '{}', true, $3, $4, $5, $6::timestamptz, $7::timestamptz, $8)`
	hash, digest := strings.Repeat("a", 64), make([]byte, 32)
	now := "2026-01-01T00:00:00Z"
	for i, test := range []struct {
		name, state              string
		results, finished, lease any
		progress                 float32
		ok                       bool
	}{
		{name: "running without a lease", state: "running"},
		{name: "succeeded without results", state: "succeeded", finished: now, progress: 100},
		{name: "failed without a code", state: "failed", finished: now},
		{name: "queued", state: "queued", ok: true},
		{name: "the same request again", state: "running", lease: now},
	} {
		_, err := pool.Exec(ctx, insert, fmt.Sprint("job-", i), hash, digest, test.state, test.results, test.finished, test.lease, test.progress)
		if (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestAuditLogIsAppendOnly(t *testing.T) {
	ctx := t.Context()
	dsn, pool := database(t)
	if err := migrations.Apply(ctx, dsn, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(ctx, `INSERT INTO audit_log (actor, action, subject, details) VALUES ('a', 'b', 'c', '{}')`); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{`UPDATE audit_log SET actor = 'x'`, `DELETE FROM audit_log`, `TRUNCATE audit_log`} {
		if _, err := pool.Exec(ctx, sql); err == nil {
			t.Errorf("%s: done", sql)
		}
	}
}

// An older program's entry that is not committed when the audit trail begins
// enters the chain like those before and after.
func TestAuditTrailWaitsForOlderPrograms(t *testing.T) {
	ctx := t.Context()
	dsn, pool := database(t)
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	before, err := goose.NewProvider(goose.DialectPostgres, db, os.DirFS("."))
	if err == nil {
		_, err = before.UpTo(ctx, 6)
	}
	if err != nil {
		t.Fatal(err)
	}
	const insert = `INSERT INTO audit_log (actor, action, subject, details) VALUES ('a', 'b', $1, '{}')`
	if _, err := pool.Exec(ctx, insert, "before"); err != nil {
		t.Fatal(err)
	}
	applied := make(chan error, 1)
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, insert, "meanwhile"); err != nil {
			return err
		}
		go func() { applied <- migrations.Apply(ctx, dsn, nil) }()
		for waits := 0; waits == 0; time.Sleep(5 * time.Millisecond) {
			err := pool.QueryRow(ctx, `SELECT count(*) FROM pg_locks WHERE relation = 'audit_log'::regclass AND NOT granted`).Scan(&waits)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(err, <-applied); err != nil {
		t.Fatal(err)
	}
	if _, err := pool.Exec(ctx, insert, "after"); err != nil {
		t.Fatal(err)
	}
	rows, _ := pool.Query(ctx, `SELECT subject FROM audit_entries ORDER BY seq`)
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if diff := cmp.Diff([]string{"before", "meanwhile", "after"}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}
