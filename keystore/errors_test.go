package keystore

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func TestDatabaseErrorTellsAwayFromRefused(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		away bool
	}{
		"connection cut":      {io.ErrUnexpectedEOF, true},
		"connection refused":  {&net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		"deadline":            {context.DeadlineExceeded, true},
		"shutting down":       {&pgconn.PgError{Code: "57P01"}, true},
		"starting up":         {&pgconn.PgError{Code: "57P03"}, true},
		"too many clients":    {&pgconn.PgError{Code: "53300"}, true},
		"statement timeout":   {&pgconn.PgError{Code: "57014"}, true},
		"deadlock":            {&pgconn.PgError{Code: "40P01"}, true},
		"standby":             {&pgconn.PgError{Code: "25006"}, true},
		"unique violation":    {&pgconn.PgError{Code: "23505"}, false},
		"check violation":     {&pgconn.PgError{Code: "23514"}, false},
		"no permission":       {&pgconn.PgError{Code: "42501"}, false},
		"unmigrated database": {&pgconn.PgError{Code: "42P01"}, false},
		"scan":                {pgx.ScanArgError{FieldName: "hash", Err: errors.New("secret")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := databaseError(t.Context(), "read key", test.err)
			if errors.Is(err, ErrUnavailable) != test.away {
				t.Errorf("%v: unavailable is not %v", err, test.away)
			}
			if !strings.HasPrefix(err.Error(), "read key: ") {
				t.Errorf("%v: the operation is missing", err)
			}
		})
	}
	if err := databaseError(t.Context(), "x", nil); err != nil {
		t.Error(err)
	}
}

func TestDatabaseErrorHoldsNoRowValue(t *testing.T) {
	refused := &pgconn.PgError{
		Severity: "ERROR", Code: "23514", Message: "message-secret", Detail: "Failing row contains (detail-secret).",
		Hint: "hint-secret", Where: "where-secret", InternalQuery: "query-secret", ConstraintName: "content_keys_check",
	}
	for _, cause := range []error{
		refused,
		errors.Join(errors.New("commit"), refused),
		pgx.ScanArgError{FieldName: "hash", Err: errors.New("scan-secret")},
	} {
		err := databaseError(t.Context(), "insert content key", cause)
		var pgErr *pgconn.PgError
		if errors.As(err, &pgErr) {
			t.Error("the Postgres error can be unwrapped")
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error shows a value: %v", err)
		}
	}
	if err := databaseError(t.Context(), "x", refused); !strings.Contains(err.Error(), "23514") ||
		!strings.Contains(err.Error(), "content_keys_check") {
		t.Errorf("%v: want SQLSTATE and constraint", err)
	}
}
