package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

// Doorbell is the payload of a job:run task. It holds nothing that Postgres
// does not know better.
type Doorbell struct {
	JobID       string `json:"job_id"`
	DispatchSeq int64  `json:"dispatch_seq"`
}

// TaskID is the asynq task id. Enqueuing one doorbell twice conflicts, which
// is as good as success.
func (d Doorbell) TaskID() string { return d.JobID + ":" + strconv.FormatInt(d.DispatchSeq, 10) }

func (d Doorbell) payload() []byte {
	data, _ := json.Marshal(d) // two plain fields: cannot fail
	return data
}

// parseDoorbell decodes strictly: whatever else is in the queue is foreign.
func parseDoorbell(payload []byte) (Doorbell, *RequestError) {
	obj, bad := decodeObject(payload)
	if bad != nil {
		return Doorbell{}, bad
	}
	var d Doorbell
	r := &reader{obj: obj}
	r.only("job_id", "dispatch_seq")
	r.text("job_id", &d.JobID)
	if n, ok := obj["dispatch_seq"].(json.Number); ok {
		d.DispatchSeq, _ = strconv.ParseInt(n.String(), 10, 64)
	}
	if d.DispatchSeq < 1 {
		r.want("dispatch_seq", "a whole number from 1")
	}
	if !idPattern.MatchString(d.JobID) {
		r.want("job_id", "a job id")
	}
	if r.err != nil {
		return Doorbell{}, r.err
	}
	return d, nil
}

// dispatch hands every due outbox row to send and deletes those that were
// sent or have become stale. Rows that another dispatcher holds are left to
// it. It stops at the first error of send; the rest stays.
func (s *JobStore) dispatch(ctx context.Context, limit int, send func(context.Context, Doorbell, string) error) (sent int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*queryTimeout)
	defer cancel()
	var sendErr error
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT o.id, o.job_id, o.dispatch_seq, j.queue, j.state = 'queued' AND j.dispatch_seq = o.dispatch_seq
			FROM outbox o JOIN jobs j ON j.id = o.job_id
			WHERE o.not_before <= now()
			ORDER BY o.not_before, o.id
			LIMIT $1
			FOR UPDATE OF o SKIP LOCKED`, limit)
		if err != nil {
			return err
		}
		type entry struct {
			ID    int64
			JobID string
			Seq   int64
			Queue string
			Live  bool
		}
		due, err := pgx.CollectRows(rows, pgx.RowToStructByPos[entry])
		if err != nil {
			return err
		}
		var done []int64
		for _, e := range due {
			if e.Live {
				if sendErr = send(ctx, Doorbell{e.JobID, e.Seq}, e.Queue); sendErr != nil {
					break
				}
				sent++
			}
			done = append(done, e.ID)
		}
		if len(done) == 0 {
			return nil
		}
		_, err = tx.Exec(ctx, `DELETE FROM outbox WHERE id = ANY($1)`, done)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("dispatch: %w", err)
	}
	return sent, sendErr
}

// The advisory locks: of all processes one does each of these.
const (
	lockReaper     = 0x5ea1_0001
	lockReconciler = 0x5ea1_0002
	lockRescuer    = 0x5ea1_0003
	lockCollector  = 0x5ea1_0004
)

// alone runs f in a transaction if no other one holds the lock, which ends
// with the transaction, also when the process dies.
func (s *JobStore) alone(ctx context.Context, lock int64, f func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1)`, lock).Scan(&mine); err != nil || !mine {
			return err
		}
		return f(tx)
	})
}

// reaped is what one round of the reaper changed.
type reaped struct {
	Requeued []string // job ids
	Failed   []Job    // ID and Type only
}

// reap ends attempts whose lease is over: their jobs are queued again at once
// or, with maxAttempts failures, failed for good.
func (s *JobStore) reap(ctx context.Context, maxAttempts int) (r reaped, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err = s.alone(ctx, lockReaper, func(tx pgx.Tx) error {
		// A row that its owner is publishing right now is locked: skip it.
		rows, err := tx.Query(ctx, `
			WITH expired AS (
				SELECT id FROM jobs WHERE state = 'running' AND lease_until < clock_timestamp()
				ORDER BY lease_until LIMIT 200 FOR UPDATE SKIP LOCKED)
			UPDATE jobs SET
				state = CASE WHEN failures + 1 >= $1 THEN 'failed' ELSE 'queued' END,
				finished_at = CASE WHEN failures + 1 >= $1 THEN now() END,
				error_code = CASE WHEN failures + 1 >= $1 THEN 'attempts_exhausted' ELSE 'worker_lost' END,
				error_message = CASE WHEN failures + 1 >= $1
					THEN 'Every attempt ended without a result; the last one lost its worker.'
					ELSE 'The worker of the last attempt was lost.' END,
				failures = failures + 1, lease_until = NULL, worker = '', eta_seconds = NULL,
				progress = CASE WHEN failures + 1 >= $1 THEN progress ELSE 0 END,
				dispatch_seq = dispatch_seq + 1, updated_at = now()
			FROM expired WHERE jobs.id = expired.id
			RETURNING jobs.id, jobs.type, jobs.state = 'queued'`, maxAttempts)
		if err != nil {
			return err
		}
		var j Job
		var again bool
		if _, err = pgx.ForEachRow(rows, []any{&j.ID, &j.Type, &again}, func() error {
			if again {
				r.Requeued = append(r.Requeued, j.ID)
			} else {
				r.Failed = append(r.Failed, j)
			}
			return nil
		}); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `INSERT INTO outbox (job_id, dispatch_seq)
			SELECT id, dispatch_seq FROM jobs WHERE id = ANY($1)`, r.Requeued)
		return err
	})
	if err != nil {
		return reaped{}, fmt.Errorf("reap: %w", err)
	}
	return r, nil
}

// reconcile looks at queued jobs that have no outbox row and that nothing has
// touched for idle: their doorbell is in Redis, or lost. alive asks Redis.
// Jobs whose doorbell is lost get a new one; the others are left for another
// idle period. It returns the ids of the former.
func (s *JobStore) reconcile(ctx context.Context, idle time.Duration, alive func(context.Context, Doorbell, string) (bool, error)) (lost []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*queryTimeout)
	defer cancel()
	err = s.alone(ctx, lockReconciler, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT j.id, j.dispatch_seq, j.queue FROM jobs j
			WHERE j.state = 'queued' AND j.updated_at < now() - make_interval(secs => $1)
			  AND NOT EXISTS (SELECT 1 FROM outbox o WHERE o.job_id = j.id)
			ORDER BY j.updated_at LIMIT 500`, idle.Seconds())
		if err != nil {
			return err
		}
		type entry struct {
			Doorbell
			Queue string
		}
		quiet, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (e entry, err error) {
			return e, row.Scan(&e.JobID, &e.DispatchSeq, &e.Queue)
		})
		if err != nil {
			return err
		}
		// No row is locked while Redis is asked. The updates compare the
		// doorbell, so a job that has moved on stays as it is.
		var waiting []string
		var seqs []int64
		for _, e := range quiet {
			there, err := alive(ctx, e.Doorbell, e.Queue)
			if err != nil {
				return err // Redis is away: nobody knows, nothing changes
			}
			if there {
				waiting = append(waiting, e.JobID)
			} else {
				lost = append(lost, e.JobID)
				seqs = append(seqs, e.DispatchSeq)
			}
		}
		if _, err := tx.Exec(ctx, `UPDATE jobs SET updated_at = now() WHERE id = ANY($1) AND state = 'queued'`, waiting); err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `
			WITH lost AS (SELECT * FROM unnest($1::text[], $2::bigint[]) AS l (id, seq)),
			moved AS (
				UPDATE jobs SET dispatch_seq = dispatch_seq + 1, updated_at = now()
				FROM lost WHERE jobs.id = lost.id AND state = 'queued' AND dispatch_seq = lost.seq
				RETURNING jobs.id, dispatch_seq)
			INSERT INTO outbox (job_id, dispatch_seq) SELECT id, dispatch_seq FROM moved`, lost, seqs)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reconcile: %w", err)
	}
	return lost, nil
}
