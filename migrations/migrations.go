// Package migrations holds the database schema, one numbered SQL file per step,
// and applies it.
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver "pgx", which goose wants
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed *.sql
var files embed.FS

// ErrPending says that the database lacks a migration which this program needs.
var ErrPending = errors.New("the database is not migrated")

// lockSeconds is how long Apply waits for another Apply. It asks each second.
const lockSeconds = 300

// undefinedTable is the SQLSTATE of a database that was never migrated.
const undefinedTable = "42P01"

// Apply brings the database at dsn to the newest schema. Several programs may
// call it at once: an advisory lock lets one work and the others find nothing
// left to do. log may be nil.
func Apply(ctx context.Context, dsn string, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	defer db.Close()
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, lockSeconds))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, files,
		goose.WithSessionLocker(locker), goose.WithSlog(slog.New(slog.DiscardHandler)))
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	applied, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	for _, m := range applied {
		log.Info("migration applied", "version", m.Source.Version, "file", m.Source.Path,
			"seconds", m.Duration.Seconds())
	}
	return nil
}

// Current returns nil when every migration that this program knows is applied.
// Otherwise the error wraps ErrPending and says what to run. Newer ones are no
// fault: a schema change keeps the programs before it running.
func Current(ctx context.Context, pool *pgxpool.Pool) error {
	want, err := versions()
	if err != nil {
		return err
	}
	applied, err := appliedVersions(ctx, pool)
	if err != nil {
		return fmt.Errorf("read the schema version: %w", err)
	}
	var missing []string
	for _, v := range want {
		if !slices.Contains(applied, v) {
			missing = append(missing, strconv.FormatInt(v, 10))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: missing: %s; run `sealcast migrate`", ErrPending, strings.Join(missing, ", "))
	}
	return nil
}

func appliedVersions(ctx context.Context, pool *pgxpool.Pool) ([]int64, error) {
	rows, err := pool.Query(ctx, "SELECT version_id FROM "+goose.DefaultTablename+" WHERE is_applied")
	if err == nil {
		var applied []int64
		if applied, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err == nil {
			return applied, nil
		}
	}
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) && pgErr.Code == undefinedTable {
		return nil, nil
	}
	return nil, err
}

// versions are the numbers of the embedded files, in order.
func versions() ([]int64, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	var found []int64
	for _, name := range names {
		v, err := goose.NumericComponent(name)
		if err != nil {
			return nil, fmt.Errorf("migration %s: %w", name, err)
		}
		found = append(found, v)
	}
	slices.Sort(found)
	return found, nil
}
