package worker

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// cancelChannel carries "<attempt> <job id>" of every cancelled job.
const cancelChannel = "sealcast_cancel"

// ErrJobFinished tells that the job has succeeded or failed, it cannot be cancelled.
var ErrJobFinished = errors.New("job is finished")

// errCancelled is an ErrFenced whose reason is known.
var errCancelled error = cancelled{}

type cancelled struct{}

func (cancelled) Error() string { return "the job was cancelled" }
func (cancelled) Unwrap() error { return ErrFenced }

// Urgent makes the children end sooner (package proc): somebody waits.
func (cancelled) Urgent() bool { return true }

// Cancel ends a queued or running job; one that is cancelled already stays as
// it is, and done is false. ErrJobNotFound, ErrJobFinished.
//
// The row is cancelled at once. That is no lie: the fence is down with it, so
// whatever the attempt still does nobody will see. It races with Publish for
// the row's lock, and exactly one of them finds the job running. The worker
// hears of it when the transaction commits, or at its next heartbeat, and ends
// the children. Until they are dead a new attempt on the asset may start: each
// attempt writes below a prefix of its own, so the two share nothing.
func (s *JobStore) Cancel(ctx context.Context, id string, by Origin) (job Job, done bool, err error) {
	if !idPattern.MatchString(id) {
		return Job{}, false, ErrJobNotFound
	}
	// A publication that is being committed holds the row for a moment.
	ctx, cancel := context.WithTimeout(ctx, 2*queryTimeout)
	defer cancel()
	for range 3 { // a retry may come between the two statements
		job, err = s.cancelOnce(ctx, id, by)
		if !errors.Is(err, pgx.ErrNoRows) {
			break
		}
		if job, err = s.Get(ctx, id); err != nil {
			return Job{}, false, err
		}
		switch job.State {
		case StateCancelled:
			return job, false, nil
		case StateSucceeded, StateFailed:
			return Job{}, false, ErrJobFinished
		}
		err = errGone
	}
	if err != nil {
		return Job{}, false, fmt.Errorf("cancel job %s: %w", id, err)
	}
	return job, true, nil
}

func (s *JobStore) cancelOnce(ctx context.Context, id string, by Origin) (job Job, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		job, err = scanJob(tx.QueryRow(ctx, `
			UPDATE jobs
			SET state = 'cancelled', cancel_requested_at = now(), lease_until = NULL, eta_seconds = NULL,
			    error_code = '', error_message = '', finished_at = now(), updated_at = now()
			WHERE id = $1 AND state IN ('queued', 'running')
			RETURNING `+jobColumns, id))
		if err != nil {
			return err
		}
		if _, err = tx.Exec(ctx, `SELECT pg_notify($1, $2)`, cancelChannel, cancelNotice(job.Fence())); err != nil {
			return err
		}
		if err := cancelParts(ctx, tx, job.ID); err != nil {
			return err
		}
		return by.record(ctx, tx, actionCancel, job.ID, map[string]any{"hash": job.Hash})
	})
	return job, err
}

func cancelNotice(f Fence) string { return strconv.Itoa(f.Attempt) + " " + f.JobID }

func parseCancelNotice(text string) (f Fence, ok bool) {
	attempt, id, _ := strings.Cut(text, " ")
	n, err := strconv.Atoi(attempt)
	return Fence{id, n}, err == nil
}

// whyFenced tells a cancelled attempt from one that lost its lease. When the
// database does not say, the fence is all that counts.
func whyFenced(ctx context.Context, q querier, f Fence) error {
	var cancelled bool
	err := q.QueryRow(ctx, `SELECT state = 'cancelled' AND attempt = $2 FROM jobs WHERE id = $1`, f.JobID, f.Attempt).Scan(&cancelled)
	if err == nil && cancelled {
		return errCancelled
	}
	return ErrFenced
}

// cancelledOf gives those of the attempts whose job is cancelled.
func (s *JobStore) cancelledOf(ctx context.Context, attempts []Fence) (cancelled []Fence, err error) {
	ids, numbers := make([]string, len(attempts)), make([]int, len(attempts))
	for i, f := range attempts {
		ids[i], numbers[i] = f.JobID, f.Attempt
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		SELECT j.id, j.attempt FROM jobs j JOIN unnest($1::text[], $2::int[]) AS a (id, attempt) USING (id, attempt)
		WHERE j.state = 'cancelled'`, ids, numbers)
	if err == nil {
		cancelled, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Fence])
	}
	if err != nil {
		return nil, fmt.Errorf("look for cancelled jobs: %w", err)
	}
	return cancelled, nil
}
