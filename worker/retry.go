package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ErrNotRetryable tells that the job has neither failed nor been cancelled.
var ErrNotRetryable = errors.New("job is not retryable")

// DuplicateError refuses to retry a job while another one stands for the same
// request.
type DuplicateError struct{ JobID string }

// Error implements error.
func (e *DuplicateError) Error() string { return "job " + e.JobID + " stands for the same request" }

// Retry queues a failed or cancelled job again, with all its attempts before
// it. ErrJobNotFound, ErrNotRetryable; a *DuplicateError, and a *RequestError
// with CodeEncryptionSealed, CodeCallbackRefused or CodeWebhooksOff as at
// submission.
func (s *JobStore) Retry(ctx context.Context, id string, by Origin) (job Job, err error) {
	if !idPattern.MatchString(id) {
		return Job{}, ErrJobNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if job, err = retry(ctx, tx, id, ""); err != nil {
			return err
		}
		var url string
		if err := tx.QueryRow(ctx, `SELECT callback_url FROM jobs WHERE id = $1`, id).Scan(&url); err != nil {
			return err
		}
		if bad := s.checkCallback(url); bad != nil {
			return bad
		}
		return by.record(ctx, tx, actionRetry, job.ID, map[string]any{"hash": job.Hash})
	})
	if violates(err, "jobs_one_per_request") {
		return Job{}, s.duplicateOf(ctx, id)
	}
	if err != nil {
		return Job{}, fmt.Errorf("retry job %s: %w", id, err)
	}
	return job, nil
}

// retry moves the row back to queued, with a new doorbell. The attempts go on
// counting: prefixes, keys and fences of old ones stay their own.
func retry(ctx context.Context, tx pgx.Tx, id, delivery string) (Job, error) {
	job, err := scanJob(tx.QueryRow(ctx, `SELECT `+jobColumns+` FROM jobs WHERE id = $1 FOR UPDATE`, id))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Job{}, ErrJobNotFound
	case err != nil:
		return Job{}, err
	case job.State != StateFailed && job.State != StateCancelled:
		return Job{}, ErrNotRetryable
	}
	var encrypt bool
	if err := tx.QueryRow(ctx, `SELECT encrypt FROM jobs WHERE id = $1`, id).Scan(&encrypt); err != nil {
		return Job{}, err
	}
	if job.Queue != QueueParts {
		if err := checkSeal(ctx, tx, job.Hash, encrypt); err != nil {
			return Job{}, err
		}
	}
	if err := shareSource(ctx, tx, job.Source); err != nil {
		return Job{}, err
	}
	if err := supersede(ctx, tx, job.digest); err != nil {
		return Job{}, err
	}
	job, err = scanJob(tx.QueryRow(ctx, `
		UPDATE jobs
		SET state = 'queued', failures = 0, light = false, encode_all = false, asked_at = clock_timestamp(), stage = '', progress = 0, worker = '',
		    error_code = '', error_message = '', finished_at = NULL, cancel_requested_at = NULL,
		    delivery = CASE WHEN $2 = '' THEN delivery ELSE $2 END,
		    dispatch_seq = dispatch_seq + 1, updated_at = now()
		WHERE id = $1 AND state IN ('failed', 'cancelled')
		RETURNING `+jobColumns, id, delivery))
	if err != nil {
		return Job{}, err
	}
	if _, err = tx.Exec(ctx, `INSERT INTO outbox (job_id, dispatch_seq) VALUES ($1, $2)`, job.ID, job.DispatchSeq); err != nil {
		return Job{}, err
	}
	return job, retryParts(ctx, tx, job.ID)
}

// duplicateOf names the job that stands in the way of a retry.
func (s *JobStore) duplicateOf(ctx context.Context, id string) error {
	var other string
	err := s.pool.QueryRow(ctx, `
		SELECT o.id FROM jobs j JOIN jobs o USING (request_digest)
		WHERE j.id = $1 AND o.state IN ('queued', 'running', 'succeeded') AND o.superseded_at IS NULL AND o.asset_deleted_at IS NULL`, id).Scan(&other)
	if err != nil { // it has just ended: whoever asks again may be luckier
		return fmt.Errorf("retry job %s: look for the other job: %w", id, err)
	}
	return &DuplicateError{other}
}

// supersede marks the succeeded job of a request whose publication is not its
// asset's current one: it does not stand for the request any more.
func supersede(ctx context.Context, tx pgx.Tx, digest []byte) error {
	_, err := tx.Exec(ctx, `
		UPDATE jobs SET superseded_at = now()
		WHERE request_digest = $1 AND state = 'succeeded' AND superseded_at IS NULL AND NOT `+publishedNow, digest)
	return err
}

// publishedNow is the condition that what a job published, a film or a part, is
// its asset's current one; a part that is made of a film, or of what is
// published: of the current film.
const publishedNow = `(EXISTS (
	SELECT 1 FROM publications p JOIN assets a ON a.hash = p.hash AND a.generation = p.generation
	WHERE p.job_id = jobs.id)
	OR EXISTS (SELECT 1 FROM asset_parts p WHERE p.job_id = jobs.id AND p.replaced_at IS NULL
		AND (p.kind NOT IN ('text', 'static') AND p.film IS NULL OR p.film = coalesce((SELECT f.prefix FROM publications f
			JOIN assets a ON a.hash = f.hash AND a.generation = f.generation WHERE f.hash = jobs.hash), ''))))`
