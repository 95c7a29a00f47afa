package worker

import (
	"context"
	"maps"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/keystore/audit"
)

// Origin says who asks for a change, for the audit trail.
type Origin struct {
	Actor   string         // empty: a task on the queue
	Details map[string]any // such as the request's id
}

const actorQueue = "queue"

// What clients ask for of jobs and tracks, on record.
const (
	actionCancel      = "job.cancel"
	actionRetry       = "job.retry"
	actionPutTrack    = "track.put"
	actionDeleteTrack = "track.delete"
)

// record writes an audit entry as the last statement of tx.
func (o Origin) record(ctx context.Context, tx pgx.Tx, action, subject string, details map[string]any) error {
	actor := o.Actor
	if actor == "" {
		actor = actorQueue
	}
	maps.Copy(details, o.Details)
	return audit.Append(ctx, tx, audit.Entry{Actor: actor, Action: action, Subject: subject, Details: details})
}
