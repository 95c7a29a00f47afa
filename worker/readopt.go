package worker

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
)

// A service that enqueues a task under the id of a failed or cancelled job
// wants it to start again, and it does: the row goes on under its id. But asynq
// brings a task twice now and then, and a job that has failed or was cancelled
// in between must not start again by that. So the first handler of a task
// writes a mark into it, which lives and dies with the task, and the
// transaction that makes or restarts the job records the mark: a task whose
// mark is in the row has had its effect.

// errMarkTask says that Redis did not take or give a task's mark.
var errMarkTask = errors.New("mark the task")

// mark gives the task's mark; the first call makes it.
func (w *Worker) mark(task *asynq.Task, queue, taskID string) (string, error) {
	info, err := w.inspector.GetTaskInfo(queue, taskID)
	switch {
	case errors.Is(err, asynq.ErrTaskNotFound), errors.Is(err, asynq.ErrQueueNotFound):
		return uuid.NewString(), nil // Redis has lost it, so nobody will bring it again
	case err != nil:
		return "", &redisError{fmt.Errorf("%w: %w", errMarkTask, err)}
	case len(info.Result) > 0:
		return string(info.Result), nil
	}
	delivery := uuid.NewString()
	if _, err := task.ResultWriter().Write([]byte(delivery)); err != nil {
		return "", &redisError{fmt.Errorf("%w: %w", errMarkTask, err)}
	}
	return delivery, nil
}

// Adopt records a task's request under id, or starts the failed or cancelled
// job that has the id again. delivery marks the task: doing it twice is doing
// it once. An identical request that is queued or running, or whose
// publication is current, gives that job; so does a task that has had its
// effect. Errors as for Submit.
func (s *JobStore) Adopt(ctx context.Context, sub Submission, id, delivery string) (job Job, result string, err error) {
	if bad := s.checkCallback(sub.CallbackURL); bad != nil {
		return Job{}, "", bad
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	for range 3 { // the live job may end between two statements
		err = s.inTx(ctx, func(tx pgx.Tx) error {
			job, result, err = adopt(ctx, tx, sub, id, delivery)
			return err
		})
		// The other job was submitted between two statements: then it is the answer.
		if !errors.Is(err, errGone) && !violates(err, "jobs_one_per_request") {
			break
		}
	}
	if err != nil {
		return Job{}, "", fmt.Errorf("adopt job %s: %w", id, err)
	}
	return job, result, nil
}

// adopt gives a task its effect, once: what it was is kept under its mark.
func adopt(ctx context.Context, tx pgx.Tx, sub Submission, id, delivery string) (Job, string, error) {
	job, err := scanJob(tx.QueryRow(ctx, `
		SELECT `+jobColumns+` FROM jobs WHERE id = (SELECT job_id FROM adopted_tasks WHERE delivery = $1)`, delivery))
	if !errors.Is(err, pgx.ErrNoRows) {
		return job, adoptedDuplicate, err
	}
	if err := lockForPolicy(ctx, tx, sub); err != nil {
		return Job{}, "", err
	}
	job, result, err := effect(ctx, tx, sub, id, delivery)
	if err != nil {
		return Job{}, "", err
	}
	if _, err := tx.Exec(ctx, `INSERT INTO adopted_tasks (delivery, job_id) VALUES ($1, $2)`, delivery, job.ID); err != nil {
		return Job{}, "", err
	}
	if result == adoptedNew {
		if err := recordTrack(ctx, tx, sub, job); err != nil {
			return Job{}, "", err
		}
	}
	return job, result, applyPolicy(ctx, tx, sub, job.ID)
}

func effect(ctx context.Context, tx pgx.Tx, sub Submission, id, delivery string) (Job, string, error) {
	job, created, err := submit(ctx, tx, sub, id)
	if err != nil {
		return Job{}, "", err
	}
	if created {
		_, err := tx.Exec(ctx, `UPDATE jobs SET delivery = $2 WHERE id = $1`, job.ID, delivery)
		return job, adoptedNew, err
	}
	if job.ID != id || !job.State.Final() {
		return job, adoptedDuplicate, nil
	}
	var had string
	var superseded bool
	err = tx.QueryRow(ctx, `SELECT delivery, superseded_at IS NOT NULL FROM jobs WHERE id = $1 FOR UPDATE`, id).Scan(&had, &superseded)
	switch {
	case err != nil:
		return Job{}, "", err
	case had == delivery, job.State == StateSucceeded && !superseded:
		return job, adoptedDuplicate, nil
	case job.State == StateSucceeded: // final; what it published is not current any more
		return Job{}, "", errIDTaken
	}
	job, err = retry(ctx, tx, id, delivery)
	if errors.Is(err, ErrNotRetryable) {
		return Job{}, "", errGone
	}
	return job, adoptedRestarted, err
}

// derivedID is the job id of a task whose own id stands for something else:
// another request, or a publication that is not current any more.
func derivedID(taskID string, sub Submission, delivery string) string {
	return uuid.NewSHA1(adoptionSpace, []byte(taskID+"\n"+hex.EncodeToString(sub.Digest[:])+delivery)).String()
}
