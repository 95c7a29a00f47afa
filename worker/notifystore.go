package worker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/webhook"
)

// The states of a delivery.
const (
	deliveryPending    = "pending"
	deliveryDelivered  = "delivered"
	deliveryDead       = "dead"       // given up
	deliverySuperseded = "superseded" // progress that newer news has replaced
)

// attemptLost is the error of an attempt whose process died.
const attemptLost = "lost"

// delivery is an event that is to be sent now.
type delivery struct {
	ID, JobID, URL, Host, Type, Payload string
	Attempt                             int // its fencing token
	Tries                               int // this one included
}

// claimDelivery starts an attempt on the delivery that has been due the
// longest and is not for a busy host. Nothing is locked while it is sent: a
// lease keeps others away, and ends by itself when this process dies.
func (s *JobStore) claimDelivery(ctx context.Context, busy []string, lease time.Duration) (d delivery, ok bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err = s.pool.QueryRow(ctx, `
		WITH due AS (
			SELECT d.id FROM webhook_deliveries d
			WHERE d.state = 'pending' AND d.next_at <= now() AND d.host <> ALL($1)
			  AND (d.claimed_until IS NULL OR d.claimed_until < clock_timestamp())
			  AND NOT EXISTS (SELECT 1 FROM webhook_deliveries e
				WHERE e.job_id = d.job_id AND e.seq < d.seq AND e.state = 'pending' AND e.tries < $2)
			ORDER BY d.next_at, d.seq LIMIT 1 FOR UPDATE SKIP LOCKED),
		claimed AS (
			UPDATE webhook_deliveries d
			SET attempts = attempts + 1, tries = tries + 1, claimed_until = clock_timestamp() + make_interval(secs => $3)
			FROM due WHERE d.id = due.id
			RETURNING d.id, d.job_id, d.url, d.host, d.type, d.payload, d.attempts, d.tries),
		lost AS (
			UPDATE webhook_attempts a SET error = $4 FROM claimed c
			WHERE a.delivery_id = c.id AND a.seconds IS NULL AND a.error = ''),
		begun AS (
			INSERT INTO webhook_attempts (delivery_id, attempt, started_at)
			SELECT id, attempts, clock_timestamp() FROM claimed)
		SELECT id, job_id, url, host, type, payload, attempts, tries FROM claimed`,
		busy, heldBackFor, lease.Seconds(), attemptLost).
		Scan(&d.ID, &d.JobID, &d.URL, &d.Host, &d.Type, &d.Payload, &d.Attempt, &d.Tries)
	if errors.Is(err, pgx.ErrNoRows) {
		return delivery{}, false, nil
	}
	if err != nil {
		return delivery{}, false, fmt.Errorf("claim a webhook: %w", err)
	}
	return d, true, nil
}

// recordDelivery ends an attempt. A delivery that was ended by others meanwhile
// stays so, unless it has arrived. An interrupted attempt is no try.
func (s *JobStore) recordDelivery(ctx context.Context, d delivery, r webhook.Result, state string, pause time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var status *int
	if r.Status != 0 {
		status = &r.Status
	}
	untried := 0
	if r.Error == webhook.ErrorInterrupted {
		untried = 1
	}
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			UPDATE webhook_deliveries
			SET state = $3, last_status = $4, last_error = $5, claimed_until = NULL, tries = greatest(tries - $6, 0),
			    next_at = clock_timestamp() + make_interval(secs => $7),
			    ended_at = CASE WHEN $3 <> 'pending' THEN clock_timestamp() END
			WHERE id = $1 AND attempts = $2 AND (state = 'pending' OR (state IN ('superseded', 'dead') AND $3 = 'delivered'))`,
			d.ID, d.Attempt, state, status, r.Error, untried, pause.Seconds())
		if err == nil && r.Status == http.StatusGone {
			_, err = tx.Exec(ctx, `
				UPDATE webhook_deliveries SET state = 'dead', last_status = $2, ended_at = clock_timestamp()
				WHERE job_id = $1 AND state = 'pending'`, d.JobID, r.Status)
		}
		if err == nil {
			_, err = tx.Exec(ctx, `UPDATE webhook_attempts SET seconds = $3, status = $4, error = $5
				WHERE delivery_id = $1 AND attempt = $2`, d.ID, d.Attempt, r.Duration.Seconds(), status, r.Error)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("record a webhook attempt: %w", err)
	}
	return nil
}

// forgetDeliveries removes what ended longer ago than keep.
func (s *JobStore) forgetDeliveries(ctx context.Context, keep time.Duration) error {
	const batch = 1000
	for {
		ctx, cancel := context.WithTimeout(ctx, 3*queryTimeout)
		tag, err := s.pool.Exec(ctx, `
			DELETE FROM webhook_deliveries WHERE id IN (
				SELECT id FROM webhook_deliveries WHERE state <> 'pending' AND ended_at < now() - make_interval(secs => $1)
				LIMIT $2 FOR UPDATE SKIP LOCKED)`, keep.Seconds(), batch)
		cancel()
		if err != nil {
			return fmt.Errorf("remove old webhooks: %w", err)
		}
		if tag.RowsAffected() < batch {
			return nil
		}
	}
}
