package keystore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/keystore/audit"
)

// KEKInfo is what the database knows of a KEK version.
type KEKInfo struct {
	Version int       `json:"version"`
	State   string    `json:"state"` // primary, secondary or retired
	Keys    int64     `json:"keys"`  // content keys that are sealed under it
	Wraps   int64     `json:"wraps"` // seals so far; the hard stop is MaxWraps
	Since   time.Time `json:"since"`
}

// KEKs lists the KEK versions of a database. It needs no KEK.
func KEKs(ctx context.Context, pool *pgxpool.Pool) ([]KEKInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*writeTimeout) // all keys are counted
	defer cancel()
	rows, err := pool.Query(ctx, `
		SELECT v.version, v.state, coalesce(k.n, 0), v.wraps, v.created_at
		FROM kek_versions v
		LEFT JOIN (SELECT kek_version, count(*) AS n FROM content_keys WHERE wrapped_key IS NOT NULL GROUP BY kek_version) k
			ON k.kek_version = v.version
		ORDER BY v.version`)
	if err != nil {
		return nil, databaseError(ctx, "list KEK versions", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[KEKInfo])
	return list, databaseError(ctx, "list KEK versions", err)
}

// RemainError refuses to retire a KEK version.
type RemainError struct {
	Version int
	Keys    int64
}

// Error implements error.
func (e *RemainError) Error() string {
	return fmt.Sprintf("%d content keys are still sealed under KEK version %d; run keys rewrap first", e.Keys, e.Version)
}

// ErrKEKPrimary says that the version seals new keys, so it cannot be retired.
var ErrKEKPrimary = errors.New("KEK version is the primary")

// Retire marks a KEK version as one that nothing is sealed under any more: its
// KEK can be taken away from every process, and no process starts with it as
// its primary. A *RemainError when keys are left under it, ErrKEKPrimary,
// ErrKEKMissing when the database does not know it. It needs no KEK. Doing it
// again changes nothing.
func Retire(ctx context.Context, pool *pgxpool.Pool, version int, dryRun bool) error {
	ctx, cancel := context.WithTimeout(ctx, 3*writeTimeout)
	defer cancel()
	var refused error
	err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		// Whoever seals under it holds this row until the end.
		var state string
		err := tx.QueryRow(ctx, `SELECT state FROM kek_versions WHERE version = $1 FOR UPDATE`, version).Scan(&state)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			refused = fmt.Errorf("%w: version %d is not registered in the database", ErrKEKMissing, version)
		case err != nil:
			return err
		case state == statePrimary:
			refused = fmt.Errorf("KEK version %d: %w; start a process with another KEK_PRIMARY first", version, ErrKEKPrimary)
		case state == stateRetired:
			return nil
		}
		if refused != nil {
			return nil //nolint:nilerr // refused says it, and is no fault of the database
		}
		left := &RemainError{Version: version}
		err = tx.QueryRow(ctx, `SELECT count(*) FROM content_keys WHERE kek_version = $1 AND wrapped_key IS NOT NULL`, version).Scan(&left.Keys)
		if err != nil {
			return err
		}
		if left.Keys > 0 {
			refused = left
			return nil
		}
		if dryRun {
			return nil
		}
		if _, err := tx.Exec(ctx, `UPDATE kek_versions SET state = 'retired' WHERE version = $1`, version); err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{
			Actor: audit.ActorOperator, Action: audit.ActionRetireKEK, Subject: kekSubject(version), Details: map[string]any{"version": version},
		})
	})
	if refused != nil {
		return refused
	}
	return databaseError(ctx, "retire KEK version", err)
}

// Shredded is what ShredAsset did, or what a dry run found.
type Shredded struct {
	Keys     int64
	Versions []int // KEK versions that the keys were sealed under: backups open with these
}

// ShredAsset destroys every content key of an asset, whatever its state, in one
// transaction. It needs no KEK.
func ShredAsset(ctx context.Context, pool *pgxpool.Pool, hash string, dryRun bool) (s Shredded, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		err := tx.QueryRow(ctx, `
			SELECT count(*), coalesce(array_agg(DISTINCT kek_version), '{}') FROM content_keys
			WHERE hash = $1 AND state <> 'shredded'`, hash).Scan(&s.Keys, &s.Versions)
		if err != nil || s.Keys == 0 || dryRun {
			return err
		}
		if s.Keys, err = shred(ctx, tx, hash); err != nil {
			return err
		}
		return audit.Append(ctx, tx, audit.Entry{
			Actor: audit.ActorOperator, Action: audit.ActionShred, Subject: hash, Details: map[string]any{"keys": s.Keys},
		})
	})
	return s, databaseError(ctx, "shred content keys", err)
}
