package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
)

// rescue puts archived tasks of upload services back that are there by
// accident. A task without retries is archived by asynq when its worker dies,
// or when it shuts down while the database is away: the upload would be lost
// without a word.
func (d *Dispatcher) rescue(ctx context.Context) error {
	return d.cfg.Store.alone(ctx, lockRescuer, func(pgx.Tx) error {
		for _, queue := range Queues {
			if err := d.rescueQueue(ctx, queue); err != nil {
				return &redisError{fmt.Errorf("rescue tasks of %s: %w", queue, err)}
			}
		}
		return nil
	})
}

func (d *Dispatcher) rescueQueue(ctx context.Context, queue string) error {
	const page = 500
	var lost []*asynq.TaskInfo
	for n := 1; ctx.Err() == nil; n++ {
		tasks, err := d.inspector.ListArchivedTasks(queue, asynq.Page(n), asynq.PageSize(page))
		if errors.Is(err, asynq.ErrQueueNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, task := range tasks {
			if keepable(task.LastErr) {
				lost = append(lost, task)
			}
		}
		if len(tasks) < page {
			break
		}
	}
	for _, task := range lost {
		err := d.inspector.RunTask(queue, task.ID)
		if err != nil && !errors.Is(err, asynq.ErrTaskNotFound) {
			return err
		}
		d.cfg.Log.Warn("archived task is queued again", "task_id", task.ID, "queue", queue, "reason", task.LastErr)
	}
	return nil
}
