package worker

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
)

// adopt takes over a task that an upload service enqueued: its job row and
// doorbell are committed before the task is acknowledged. A task that cannot
// be read is archived with the reason.
func (w *Worker) adopt(ctx context.Context, task *asynq.Task) error {
	taskID, _ := asynq.GetTaskID(ctx)
	queue, _ := asynq.GetQueueName(ctx)
	log := w.cfg.Log.With("task_id", taskID, "type", task.Type())
	sub, err := ParseSubmission(task.Type(), task.Payload())
	if err != nil {
		w.cfg.Metrics.adopted.WithLabelValues(adoptedRefused).Inc()
		log.Error("task refused", "error", err)
		var why *RequestError
		errors.As(err, &why) // ParseSubmission has no other errors
		return refuse(why)
	}
	if sub.Queue != QueueParts {
		sub.Queue = queue
	}
	// A task may have no retries left, so waiting here is safer than asking
	// asynq to bring it again.
	for {
		result, job, err := w.adoptOnce(ctx, task, sub, queue, taskID)
		if err == nil {
			w.cfg.Metrics.adopted.WithLabelValues(result).Inc()
			log.Info("task adopted", "job_id", job, "result", result)
			return nil
		}
		w.cfg.Metrics.dependencyError(err)
		log.Warn("task not adopted yet", "error", err)
		select {
		case <-ctx.Done():
			return notAdopted(err)
		case <-w.draining:
			return notAdopted(err)
		case <-time.After(time.Second):
		}
	}
}

func (w *Worker) adoptOnce(ctx context.Context, task *asynq.Task, sub Submission, queue, taskID string) (result, jobID string, err error) {
	delivery, err := w.mark(task, queue, taskID)
	if err != nil {
		return "", "", err
	}
	id := adoptedID(taskID)
	job, result, err := w.cfg.Store.Adopt(ctx, sub, id, delivery)
	if errors.Is(err, errIDTaken) {
		// The service uses one task id for several requests. A job that a
		// task before started under the derived id starts again, too.
		id = derivedID(taskID, sub, "")
		job, result, err = w.cfg.Store.Adopt(ctx, sub, id, delivery)
	}
	if errors.Is(err, errIDTaken) {
		id = derivedID(taskID, sub, delivery)
		job, result, err = w.cfg.Store.Adopt(ctx, sub, id, delivery)
	}
	var why *RequestError
	switch {
	case errors.As(err, &why):
		recorded, err := w.cfg.Store.RecordRefused(ctx, sub, id, why)
		if recorded {
			w.cfg.Metrics.jobEnded(sub.Type, outcomeFailed)
		}
		return adoptedSealed, id, err
	case err != nil:
		return "", "", err
	}
	if result != adoptedDuplicate {
		w.cfg.Wake()
	}
	return result, job.ID, nil
}

var adoptionSpace = uuid.NewSHA1(uuid.NameSpaceURL, []byte("urn:sealcast:adopted-task"))

// adoptedID is the job id of an adopted task: the task's own where the
// pattern of job ids allows it, so that the service can ask for the job.
func adoptedID(taskID string) string {
	if idPattern.MatchString(taskID) {
		return taskID
	}
	return uuid.NewSHA1(adoptionSpace, []byte(taskID)).String()
}
