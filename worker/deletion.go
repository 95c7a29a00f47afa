package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const actionDeleteAsset = "asset.delete"

// settleTime is how long after a deletion a cancelled attempt may still
// upload: far longer than it takes to notice the lost lease and to end.
const settleTime = time.Minute

// Shredder destroys the content keys of an asset within tx and says how many.
// Forget is called once tx has ended: what the process remembers of keys is no
// longer true.
type Shredder interface {
	Shred(ctx context.Context, tx pgx.Tx, hash string) (int64, error)
	Forget()
}

// Deletion is what DeleteAsset has done.
type Deletion struct {
	Hash        string
	Generations int64    // that are served no more
	Parts       int64    // that are served no more
	Keys        int64    // that are shredded
	Cancelled   []string // ids of the jobs that were queued or running
	// RequestedAt is when the removal of the objects was asked for; nil when
	// nothing is left to remove.
	RequestedAt *time.Time
}

func (d Deletion) changed() bool {
	return d.Generations > 0 || d.Parts > 0 || d.Keys > 0 || len(d.Cancelled) > 0
}

// ErrAssetNotFound says that nothing is known of an asset.
var ErrAssetNotFound = errors.New("asset not found")

// DeleteAsset takes an asset off in one transaction: its publications and
// inventory, its content keys, its queued and running jobs. Nothing of it is
// served after that; its objects are left to the Remover. A running attempt is
// fenced, so it publishes nothing. Doing it again changes nothing, and the
// asset may be submitted again like a new one.
func (s *JobStore) DeleteAsset(ctx context.Context, hash string, by Origin, keys Shredder) (d Deletion, err error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		d, err = deleteAsset(ctx, tx, hash, keys)
		if err != nil || !d.changed() {
			return err
		}
		details := map[string]any{"generations": d.Generations, "parts": d.Parts, "keys": d.Keys, "cancelled_jobs": d.Cancelled}
		return by.record(ctx, tx, actionDeleteAsset, hash, details)
	})
	keys.Forget() // after an error too: the commit may have been made
	if err != nil {
		return Deletion{}, fmt.Errorf("delete asset %s: %w", hash, err)
	}
	return d, nil
}

func deleteAsset(ctx context.Context, tx pgx.Tx, hash string, keys Shredder) (Deletion, error) {
	d := Deletion{Hash: hash}
	// Nothing of the asset is published until the end.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1, hashtext($2))`, lockAsset, hash); err != nil {
		return d, fmt.Errorf("lock the asset: %w", err)
	}
	var known bool
	err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM jobs WHERE hash = $1)`, hash).Scan(&known)
	if err != nil {
		return d, fmt.Errorf("look for the asset: %w", err)
	}
	if !known {
		return d, ErrAssetNotFound
	}
	if d.Generations, d.Parts, err = unpublish(ctx, tx, hash); err != nil {
		return d, err
	}
	if d.Cancelled, err = cancelJobs(ctx, tx, hash); err != nil {
		return d, err
	}
	if d.Keys, err = keys.Shred(ctx, tx, hash); err != nil {
		return d, fmt.Errorf("shred content keys: %w", err)
	}
	if d.changed() {
		return d, requestRemoval(ctx, tx, &d)
	}
	err = tx.QueryRow(ctx, `SELECT requested_at FROM media_deletions WHERE hash = $1`, hash).Scan(&d.RequestedAt)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return d, fmt.Errorf("look for an earlier deletion: %w", err)
	}
	return d, nil
}

// unpublish removes every generation, every part, and the policy with them. The
// jobs that published them stay as they ended, but an identical request is a new
// job from now on.
func unpublish(ctx context.Context, tx pgx.Tx, hash string) (generations, parts int64, err error) {
	counts := map[string]int64{}
	for _, table := range []string{"publications", "asset_parts"} {
		tag, err := tx.Exec(ctx, `
			WITH gone AS (DELETE FROM `+table+` WHERE hash = $1 RETURNING job_id)
			UPDATE jobs SET asset_deleted_at = now(), updated_at = now()
			FROM gone WHERE jobs.id = gone.job_id`, hash)
		if err != nil {
			return 0, 0, fmt.Errorf("delete %s: %w", table, err)
		}
		counts[table] = tag.RowsAffected()
	}
	if _, err := tx.Exec(ctx, `DELETE FROM assets WHERE hash = $1`, hash); err != nil {
		return 0, 0, fmt.Errorf("delete the asset: %w", err)
	}
	return counts["publications"], counts["asset_parts"], forgetPolicy(ctx, tx, hash)
}

// cancelJobs ends what waits and what runs, as Cancel does.
func cancelJobs(ctx context.Context, tx pgx.Tx, hash string) ([]string, error) {
	rows, err := tx.Query(ctx, `
		UPDATE jobs
		SET state = 'cancelled', cancel_requested_at = now(), lease_until = NULL, eta_seconds = NULL,
		    error_code = 'asset_deleted', error_message = 'The asset was deleted.',
		    finished_at = now(), updated_at = now()
		WHERE hash = $1 AND state IN ('queued', 'running')
		RETURNING id, attempt`, hash)
	if err != nil {
		return nil, fmt.Errorf("cancel the jobs: %w", err)
	}
	return tellCancelled(ctx, tx, rows)
}

// tellCancelled tells the workers of the jobs (id, attempt) that were
// cancelled, and gives their ids.
func tellCancelled(ctx context.Context, tx pgx.Tx, rows pgx.Rows) (ids []string, err error) {
	fences, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Fence])
	if err != nil {
		return nil, fmt.Errorf("cancel the jobs: %w", err)
	}
	for _, f := range fences {
		if _, err := tx.Exec(ctx, `SELECT pg_notify($1, $2)`, cancelChannel, cancelNotice(f)); err != nil {
			return nil, fmt.Errorf("tell the workers: %w", err)
		}
		ids = append(ids, f.JobID)
	}
	return ids, nil
}

func requestRemoval(ctx context.Context, tx pgx.Tx, d *Deletion) error {
	err := tx.QueryRow(ctx, `
		INSERT INTO media_deletions (hash, settled_at) VALUES ($1, now() + make_interval(secs => $2))
		ON CONFLICT (hash) DO UPDATE
		SET requested_at = EXCLUDED.requested_at, settled_at = EXCLUDED.settled_at, not_before = now(), tries = 0
		RETURNING requested_at`, d.Hash, settleTime.Seconds()).Scan(&d.RequestedAt)
	if err != nil {
		return fmt.Errorf("ask for the removal of the objects: %w", err)
	}
	return nil
}
