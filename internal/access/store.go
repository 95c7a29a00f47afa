package access

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	queryTimeout    = 5 * time.Second
	uniqueViolation = "23505"
)

// Actor says who asks for a change, for the audit log.
type Actor struct {
	Name    string         // api_key, or the id of one
	Details map[string]any // such as the request's id
}

// Audit writes an entry within tx, as its last statement.
type Audit func(ctx context.Context, tx pgx.Tx, actor, action, subject string, details map[string]any) error

// Store keeps what decides about access.
type Store struct {
	pool    *pgxpool.Pool
	audit   Audit
	fetch   Fetch // nil: no key sets
	secrets *secrets
	refresh func(context.Context) error // brings the view of this process up to date; nil: it has none
}

// change runs f and the audit entry in one transaction.
func (s *Store) change(ctx context.Context, by Actor, action, subject string, details map[string]any, f func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := f(ctx, tx); err != nil {
			return err
		}
		all := map[string]any{}
		for _, m := range []map[string]any{by.Details, details} {
			for k, v := range m {
				all[k] = v
			}
		}
		return s.audit(ctx, tx, by.Name, action, subject, all)
	})
	return dbError(action, err)
}

// changeView is change for what the view shows. Who is told that it is done finds
// it done here; the other nodes hear of it.
func (s *Store) changeView(ctx context.Context, by Actor, action, subject string, details map[string]any, f func(context.Context, pgx.Tx) error) error {
	err := s.change(ctx, by, action, subject, details, f)
	if err == nil && s.refresh != nil {
		_ = s.refresh(context.WithoutCancel(ctx)) // it is committed; notice and poll bring what this does not
	}
	return err
}

// dbError keeps what the caller branches on and makes the rest ErrUnavailable.
func dbError(what string, err error) error {
	var wrong InvalidError
	var pg *pgconn.PgError
	var edit editError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &edit):
		return edit.error
	case errors.As(err, &wrong), errors.Is(err, ErrNotFound), errors.Is(err, ErrExists), errors.Is(err, ErrAssetNotFound):
		return err
	case errors.Is(err, pgx.ErrNoRows):
		return ErrNotFound
	case errors.As(err, &pg) && pg.Code == uniqueViolation:
		return ErrExists
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, what, err)
}

// read runs a query whose rows become values.
func read[T any](ctx context.Context, s *Store, what string, scan func(pgx.CollectableRow) (T, error), sql string, args ...any) ([]T, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, sql, args...)
	if err != nil {
		return nil, dbError(what, err)
	}
	out, err := pgx.CollectRows(rows, scan)
	return out, dbError(what, err)
}

// Position is a place in a list, newest first; the zero value is its beginning.
type Position struct {
	CreatedAt time.Time
	ID        string
}

// before gives the position as SQL compares it.
func (p Position) before() (time.Time, string) {
	if p.CreatedAt.IsZero() {
		return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), ""
	}
	return p.CreatedAt, p.ID
}

func seconds(d time.Duration) *int {
	if d == 0 {
		return nil
	}
	n := int(d / time.Second)
	return &n
}

func duration(seconds *int) time.Duration {
	if seconds == nil {
		return 0
	}
	return time.Duration(*seconds) * time.Second
}

// list spells an empty list, which NULL is not.
func list[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}

func prefixes(in []netip.Prefix) []netip.Prefix { return list(in) }
