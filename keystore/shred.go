package keystore

import "context"

// ShredPending destroys the keys of a job's attempts up to the given one that
// were never published, and returns how many they were. Their rows stay,
// without a key, and do not hold a KEK version back any more. A key that was
// ever active is not touched. The caller knows that the attempts are dead.
func (p *Postgres) ShredPending(ctx context.Context, jobID string, upTo int) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	tag, err := p.pool.Exec(ctx, `
		UPDATE content_keys
		SET state = 'shredded', wrapped_key = NULL, wrap_nonce = NULL, row_version = row_version + 1
		WHERE job_id = $1 AND attempt <= $2 AND state = 'pending' AND activated_at IS NULL`, jobID, upTo)
	err = databaseError(ctx, "shred pending content keys", err)
	p.metrics.ended(opShred, err)
	return tag.RowsAffected(), err
}
