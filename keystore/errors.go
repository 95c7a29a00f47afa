package keystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The sentinels that callers branch on.
var (
	// ErrNotFound: no such key, or none that may be served.
	ErrNotFound = errors.New("content key not found")
	// ErrConflict: the binding has a key already, and the request differs.
	ErrConflict = errors.New("content key conflict")
	// ErrIntegrity: the stored row does not open; it was changed, or its KEK was.
	ErrIntegrity = errors.New("content key does not open")
	// ErrKEKMissing: the keyring lacks a KEK version that stored keys need.
	ErrKEKMissing = errors.New("KEK version is not in the keyring")
	// ErrKEKMismatch: the KEK of a known version has other bytes than before.
	ErrKEKMismatch = errors.New("KEK has other bytes than the ones registered under its version")
	// ErrKEKRetired: the primary is a version that was retired.
	ErrKEKRetired = errors.New("KEK version is retired")
	// ErrKEKExhausted: the primary has sealed MaxWraps times.
	ErrKEKExhausted = errors.New("KEK version has sealed as often as it may")
	// ErrUnavailable: the database did not answer; the same call may work later.
	ErrUnavailable = errors.New("key database unavailable")
)

// DatabaseError is what Postgres refused, without a value of any row: the
// detail and message of pgconn.PgError may hold row values, so neither is kept
// nor can be unwrapped.
type DatabaseError struct {
	Code       string // SQLSTATE
	Table      string
	Constraint string
}

func (e *DatabaseError) Error() string {
	s := "postgres refused with SQLSTATE " + e.Code
	if e.Constraint != "" {
		s += ", constraint " + e.Constraint
	}
	if e.Code == codeUndefinedTable {
		s += ": a table is missing; run the migrations"
	}
	return s
}

const (
	codeUniqueViolation = "23505"
	codeReadOnly        = "25006" // a standby answers
	codeUndefinedTable  = "42P01"
)

// awayClasses are SQLSTATE classes of a database that may answer later:
// connection, rollback (serialization, deadlock), resources, operator
// intervention and system errors.
var awayClasses = []string{"08", "40", "53", "57", "58"}

// databaseError turns an error of pgx into one of ours. ctx is the query's: it
// tells a caller who left from a pool that was closed under the query.
func databaseError(ctx context.Context, op string, err error) error {
	var pgErr *pgconn.PgError
	var connectErr *pgconn.ConnectError
	var scanErr pgx.ScanArgError
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		return fmt.Errorf("%s: %w", op, context.Cause(ctx))
	case errors.As(err, &connectErr):
		// Whatever the reason, and it may be a PgError (wrong password, no
		// such database, shutting down): no row was read, so none is in it.
		return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
	case errors.As(err, &pgErr):
		refused := &DatabaseError{Code: pgErr.Code, Table: pgErr.TableName, Constraint: pgErr.ConstraintName}
		if isAway(pgErr.Code) {
			return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, refused)
		}
		return fmt.Errorf("%s: %w", op, refused)
	case errors.As(err, &scanErr):
		// The cause may quote the value; the column is enough.
		return fmt.Errorf("%s: column %s has an unexpected type", op, scanErr.FieldName)
	default:
		// A deadline, a network error, a connection cut in the middle, a
		// closed pool.
		return fmt.Errorf("%s: %w: %w", op, ErrUnavailable, err)
	}
}

func isAway(code string) bool {
	return code == codeReadOnly ||
		slices.ContainsFunc(awayClasses, func(class string) bool { return strings.HasPrefix(code, class) })
}

func isUniqueViolation(err error) bool {
	var refused *DatabaseError
	return errors.As(err, &refused) && refused.Code == codeUniqueViolation
}
