package keystore

import (
	"context"
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
