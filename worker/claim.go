package worker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// busyDelay is how long a job waits when another one runs on its asset, or its part.
const busyDelay = 3 * time.Second

// Claim starts an attempt: the job is queued and seq its newest doorbell. The
// attempt number is the fencing token; the lease runs on the database's clock.
// ErrNotClaimable: nothing to do for this doorbell. ErrAssetBusy: the job
// stays queued and its next doorbell is in the outbox.
func (s *JobStore) Claim(ctx context.Context, id string, seq int64, worker string, lease time.Duration) (Job, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	job, err := scanJob(s.pool.QueryRow(ctx, `
		UPDATE jobs
		SET state = 'running', attempt = attempt + 1, worker = $3,
		    lease_until = clock_timestamp() + make_interval(secs => $4),
		    stage = '', progress = 0, eta_seconds = NULL, error_code = '', error_message = '',
		    started_at = coalesce(started_at, now()), updated_at = now()
		WHERE id = $1 AND state = 'queued' AND dispatch_seq = $2
		RETURNING `+jobColumns, id, seq, worker, lease.Seconds()))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Job{}, ErrNotClaimable
	case violates(err, "jobs_one_running_per_asset"), violates(err, "jobs_one_running_per_part"):
		if err := s.ringAgain(ctx, id, seq, busyDelay); err != nil {
			return Job{}, err
		}
		return Job{}, ErrAssetBusy
	case err != nil:
		return Job{}, fmt.Errorf("claim job %s: %w", id, err)
	}
	return job, nil
}

// ringAgain replaces the doorbell seq of a queued job by a new one that is
// sent after delay.
func (s *JobStore) ringAgain(ctx context.Context, id string, seq int64, delay time.Duration) error {
	_, err := s.pool.Exec(ctx, `
		WITH moved AS (
			UPDATE jobs SET dispatch_seq = dispatch_seq + 1, updated_at = now()
			WHERE id = $1 AND state = 'queued' AND dispatch_seq = $2
			RETURNING id, dispatch_seq)
		INSERT INTO outbox (job_id, dispatch_seq, not_before)
		SELECT id, dispatch_seq, now() + make_interval(secs => $3) FROM moved`, id, seq, delay.Seconds())
	if err != nil {
		return fmt.Errorf("ring job %s again: %w", id, err)
	}
	return nil
}

// Heartbeat extends the lease of a running attempt. ErrFenced when it is not
// the current one, or its lease is over.
func (s *JobStore) Heartbeat(ctx context.Context, f Fence, lease time.Duration) error {
	return s.fenced(ctx, f, "extend the lease of", `
		UPDATE jobs SET lease_until = clock_timestamp() + make_interval(secs => $3), updated_at = now()
		WHERE id = $1 AND state = 'running' AND attempt = $2 AND lease_until > clock_timestamp()`, lease.Seconds())
}

// Progress records where an attempt is. ErrFenced as for Heartbeat. Percent
// never falls within an attempt; a negative eta is unknown.
func (s *JobStore) Progress(ctx context.Context, f Fence, stage string, percent float64, eta time.Duration) error {
	var seconds *float64
	if eta >= 0 {
		v := eta.Seconds()
		seconds = &v
	}
	return s.fenced(ctx, f, "record progress of", `
		UPDATE jobs SET stage = $3, progress = greatest(progress, $4), eta_seconds = $5, updated_at = now()
		WHERE id = $1 AND state = 'running' AND attempt = $2 AND lease_until > clock_timestamp()`,
		stage, percent, seconds)
}

// Release tells why a running attempt ended without an outcome and when the
// next one may start.
type Release struct {
	Delay         time.Duration
	Failure       bool   // counts against the limit of attempts; a shutdown does not
	Light         bool   // the next attempt makes do with less memory
	EncodeAll     bool   // the next attempts copy no pictures of the source
	Code, Message string // empty for a shutdown
}

// Requeue ends an attempt and puts its job back: the lease is over at once,
// the next doorbell is in the outbox. ErrFenced.
func (s *JobStore) Requeue(ctx context.Context, f Fence, r Release) error {
	failures := 0
	if r.Failure {
		failures = 1
	}
	return s.fenced(ctx, f, "requeue", `
		WITH moved AS (
			UPDATE jobs
			SET state = 'queued', lease_until = NULL, worker = '', progress = 0, eta_seconds = NULL,
			    failures = failures + $4, light = light OR $7, encode_all = encode_all OR $8, error_code = $5, error_message = $6,
			    dispatch_seq = dispatch_seq + 1, updated_at = now()
			WHERE id = $1 AND state = 'running' AND attempt = $2
			RETURNING id, dispatch_seq)
		INSERT INTO outbox (job_id, dispatch_seq, not_before)
		SELECT id, dispatch_seq, now() + make_interval(secs => $3) FROM moved`,
		r.Delay.Seconds(), failures, r.Code, r.Message, r.Light, r.EncodeAll)
}

// Fail ends a job for good. The stage stays as the attempt left it. ErrFenced.
func (s *JobStore) Fail(ctx context.Context, f Fence, code, message string) error {
	return s.fenced(ctx, f, "fail", `
		UPDATE jobs
		SET state = 'failed', lease_until = NULL, eta_seconds = NULL, failures = failures + 1,
		    error_code = $3, error_message = $4, finished_at = now(), updated_at = now()
		WHERE id = $1 AND state = 'running' AND attempt = $2`, code, message)
}

// fenced runs a statement that changes one row when the fence holds.
func (s *JobStore) fenced(ctx context.Context, f Fence, what, sql string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	tag, err := s.pool.Exec(ctx, sql, append([]any{f.JobID, f.Attempt}, args...)...)
	if err != nil {
		return fmt.Errorf("%s job %s: %w", what, f.JobID, err)
	}
	if tag.RowsAffected() == 0 {
		return whyFenced(ctx, s.pool, f)
	}
	return nil
}
