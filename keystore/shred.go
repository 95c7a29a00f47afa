package keystore

import (
	"context"
	"slices"
	"sort"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/keystore/audit"
)

// ShredPending destroys the keys of a job's attempts up to the given one that
// were never published, and returns how many they were. Their rows stay,
// without a key, and do not hold a KEK version back any more. A key that was
// ever active is not touched. The caller knows that the attempts are dead.
func (p *Postgres) ShredPending(ctx context.Context, jobID string, upTo int) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var n int64
	err := p.inTx(ctx, "shred pending content keys", func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE content_keys
			SET state = 'shredded', wrapped_key = NULL, wrap_nonce = NULL, row_version = row_version + 1
			WHERE job_id = $1 AND attempt <= $2 AND state = 'pending' AND activated_at IS NULL`, jobID, upTo)
		if n = tag.RowsAffected(); err != nil || n == 0 {
			return databaseError(ctx, "shred pending content keys", err)
		}
		return record(ctx, tx, audit.Entry{
			Actor: audit.ActorHousekeeper, Action: audit.ActionShred, Subject: jobID,
			Details: map[string]any{"keys": n, "attempts_up_to": upTo, "why": "never published"},
		})
	})
	p.metrics.ended(opShred, err)
	if err != nil {
		return 0, err
	}
	return n, nil
}

// RetireOthers lets every active key of an asset that is not of the job be
// served for some time more, and no longer, within tx, the transaction that
// publishes the job. It returns how many they were. With its audit entry it is
// the last thing in tx.
func (p *Postgres) RetireOthers(ctx context.Context, tx pgx.Tx, hash, jobID string, after time.Duration) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	tag, err := tx.Exec(ctx, `
		UPDATE content_keys
		SET state = 'retiring', retire_at = now() + make_interval(secs => $3), row_version = row_version + 1
		WHERE hash = $1 AND job_id <> $2 AND state = 'active'`, hash, jobID, after.Seconds())
	if err = databaseError(ctx, "retire content keys", err); err == nil {
		err = record(ctx, tx, audit.Entry{
			Actor: audit.ActorWorker, Action: audit.ActionRetireKey, Subject: hash,
			Details: map[string]any{"keys": tag.RowsAffected(), "job": jobID, "after_seconds": after.Seconds()},
		})
	}
	p.metrics.ended(opRetire, err)
	return tag.RowsAffected(), err
}

// revokeBatch bounds the keys of one RevokeRetired.
const revokeBatch = 1000

// RevokeRetired moves retiring keys whose time is over, which nobody gets any
// more, to revoked, up to a thousand at a time, and returns how many they were.
// Several may run at once.
func (p *Postgres) RevokeRetired(ctx context.Context) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	defer func() { p.metrics.ended(opRetire, err) }()
	err = p.inTx(ctx, "revoke retired content keys", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			WITH ended AS (
				SELECT kid FROM content_keys WHERE state = 'retiring' AND retire_at <= now()
				ORDER BY retire_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED)
			UPDATE content_keys k SET state = 'revoked', row_version = row_version + 1
			FROM ended WHERE k.kid = ended.kid
			RETURNING k.hash`, revokeBatch)
		if err != nil {
			return databaseError(ctx, "revoke retired content keys", err)
		}
		hashes, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return databaseError(ctx, "revoke retired content keys", err)
		}
		n = int64(len(hashes))
		slices.Sort(hashes)
		for len(hashes) > 0 { // one entry for each asset
			same := sort.SearchStrings(hashes, hashes[0]+"\x00")
			err := record(ctx, tx, audit.Entry{
				Actor: audit.ActorHousekeeper, Action: audit.ActionRevoke, Subject: hashes[0], Details: map[string]any{"keys": same},
			})
			if err != nil {
				return err
			}
			hashes = hashes[same:]
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	p.metrics.revoked.Add(float64(n))
	return n, nil
}

// shred destroys the keys of an asset within tx.
func shred(ctx context.Context, tx pgx.Tx, hash string) (int64, error) {
	tag, err := tx.Exec(ctx, `
		UPDATE content_keys
		SET state = 'shredded', wrapped_key = NULL, wrap_nonce = NULL, row_version = row_version + 1
		WHERE hash = $1 AND state <> 'shredded'`, hash)
	return tag.RowsAffected(), err
}

// record writes an audit entry as the last statement of tx.
func record(ctx context.Context, tx pgx.Tx, e audit.Entry) error {
	return databaseError(ctx, "audit", audit.Append(ctx, tx, e))
}
