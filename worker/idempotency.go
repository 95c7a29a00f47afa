package worker

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// The advisory locks of two numbers: a class, and a hash of what is locked.
const (
	lockIdempotencyKey int32 = 0x5ea1_01
	lockAsset          int32 = 0x5ea1_02 // shared by who publishes, exclusive to who deletes; internal/access has it too
	lockSource         int32 = 0x5ea1_0a // shared by who asks for a job on a source, exclusive to who removes it
	lockFilm           int32 = 0x5ea1_0d // shared by who publishes a part of the film, exclusive to who publishes a film
)

// submitKeyed submits, and binds the idempotency key to the job.
func submitKeyed(ctx context.Context, tx pgx.Tx, sub Submission, id string) (job Job, created bool, err error) {
	if sub.IdempotencyKey == "" {
		return submit(ctx, tx, sub, id)
	}
	// Requests under one key wait for each other.
	_, err = tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1, hashtext($2))`, lockIdempotencyKey, sub.IdempotencyKey)
	if err != nil {
		return Job{}, false, err
	}
	if job, err = keyed(ctx, tx, sub); !errors.Is(err, pgx.ErrNoRows) {
		return job, false, err
	}
	if job, created, err = submit(ctx, tx, sub, id); err != nil {
		return Job{}, false, err
	}
	_, err = tx.Exec(ctx, `INSERT INTO idempotency_keys (key, request_digest, job_id) VALUES ($1, $2, $3)`,
		sub.IdempotencyKey, sub.Digest[:], job.ID)
	return job, created, err
}

// keyed reads the job of the submission's idempotency key.
func keyed(ctx context.Context, q querier, sub Submission) (Job, error) {
	var digest []byte
	var id string
	err := q.QueryRow(ctx, `SELECT request_digest, job_id FROM idempotency_keys WHERE key = $1`, sub.IdempotencyKey).
		Scan(&digest, &id)
	if err != nil {
		return Job{}, err
	}
	if !bytes.Equal(digest, sub.Digest[:]) {
		return Job{}, &RequestError{CodeKeyReused, "the Idempotency-Key was used for another request"}
	}
	return scanJob(q.QueryRow(ctx, `SELECT `+jobColumns+` FROM jobs WHERE id = $1`, id))
}

// Known reports whether Submit would give a job that is there already. A
// *RequestError as of Submit.
func (s *JobStore) Known(ctx context.Context, sub Submission) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var err error
	if sub.IdempotencyKey != "" {
		if _, err = keyed(ctx, s.pool, sub); err == nil {
			return true, nil
		}
	}
	if err == nil || errors.Is(err, pgx.ErrNoRows) {
		var job Job
		if job, err = live(ctx, s.pool, sub); err == nil && job.State == StateSucceeded {
			err = s.pool.QueryRow(ctx, `SELECT id FROM jobs WHERE id = $1 AND `+publishedNow, job.ID).Scan(&job.ID)
		}
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for the job of a request: %w", err)
	}
	return true, nil
}

// forgetKeys deletes idempotency keys a day after their use and after the end
// of their jobs.
func (s *JobStore) forgetKeys(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	// asynq brings a task again within minutes; an archived one is looked for as long as asynq keeps it.
	if _, err := s.pool.Exec(ctx, `DELETE FROM adopted_tasks WHERE at < now() - interval '100 days'`); err != nil {
		return 0, fmt.Errorf("forget old tasks: %w", err)
	}
	if _, err := s.pool.Exec(ctx, `DELETE FROM verified_sources WHERE at < now() - interval '30 days'`); err != nil {
		return 0, fmt.Errorf("forget verified sources: %w", err)
	}
	tag, err := s.pool.Exec(ctx, `
		DELETE FROM idempotency_keys WHERE key IN (
			SELECT k.key FROM idempotency_keys k JOIN jobs j ON j.id = k.job_id
			WHERE k.created_at < now() - interval '24 hours' AND j.finished_at < now() - interval '24 hours'
			ORDER BY k.created_at LIMIT 5000)`)
	if err != nil {
		return 0, fmt.Errorf("forget idempotency keys: %w", err)
	}
	return tag.RowsAffected(), nil
}
