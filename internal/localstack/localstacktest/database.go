package localstacktest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/localstack"
	"github.com/sealcast/sealcast/migrations"
)

// template is the migrated database that tests get copies of.
const template = "sealcast_template"

var (
	templateOnce sync.Once
	templateErr  error
	cloning      sync.Mutex // a template is copied once at a time
)

// Pool is a pool on a migrated database of the test's own, closed and dropped
// when the test ends. The test must have given back every connection by then.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	return Connect(t, DSN(t))
}

// Connect is one more pool on a DSN, as of another process, closed when the
// test ends.
func Connect(t testing.TB, dsn string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatalf("localstacktest: %v", err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// DSN is the URL of a migrated database of the test's own, dropped when the
// test ends.
func DSN(t testing.TB) string {
	t.Helper()
	s := Stack(t)
	templateOnce.Do(func() { templateErr = makeTemplate(context.Background(), s) })
	if templateErr != nil {
		t.Fatalf("localstacktest: migrate: %v", templateErr)
	}
	database := name("test")
	dsn, err := clone(t.Context(), s, database)
	if err != nil {
		t.Fatalf("localstacktest: %v", err)
	}
	atEnd(t, "drop database", func(ctx context.Context) error { return drop(ctx, s, database) })
	return dsn
}

func makeTemplate(ctx context.Context, s *localstack.Stack) error {
	dsn, err := s.CreateDatabase(ctx, template, "")
	if err != nil {
		return err
	}
	return migrations.Apply(ctx, dsn, nil)
}

func clone(ctx context.Context, s *localstack.Stack, database string) (string, error) {
	cloning.Lock()
	defer cloning.Unlock()
	return s.CreateDatabase(ctx, database, template)
}

func drop(ctx context.Context, s *localstack.Stack, database string) error {
	conn, err := pgx.Connect(ctx, s.DatabaseURL)
	if err != nil {
		return err
	}
	// FORCE: a test that failed may have left a connection.
	_, err = conn.Exec(ctx, "DROP DATABASE "+pgx.Identifier{database}.Sanitize()+" WITH (FORCE)")
	return errors.Join(err, conn.Close(ctx))
}
