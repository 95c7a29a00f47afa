package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
)

// ErrDeliveryNotFound says that the job has no such webhook.
var ErrDeliveryNotFound = errors.New("webhook delivery not found")

// Delivery is one event of a job and what became of it.
type Delivery struct {
	ID        string // the webhook-id
	Type      string
	State     string // pending, delivered, dead or superseded
	CreatedAt time.Time
	NextAt    *time.Time // while pending
	EndedAt   *time.Time
	Attempts  []DeliveryAttempt // the newest attemptsShown, oldest first
}

// DeliveryAttempt is one try: a status, or the reason why none came. With
// neither it is under way.
type DeliveryAttempt struct {
	StartedAt time.Time
	Seconds   *float64
	Status    *int
	Error     string
}

const (
	deliveriesShown = 200
	attemptsShown   = 50
)

const deliveryColumns = `id, type, state, created_at, CASE WHEN state = 'pending' THEN next_at END, ended_at`

func scanDelivery(row pgx.CollectableRow) (d Delivery, err error) {
	return d, row.Scan(&d.ID, &d.Type, &d.State, &d.CreatedAt, &d.NextAt, &d.EndedAt)
}

// Deliveries lists the newest webhooks of a job, oldest first. ErrJobNotFound
// when neither the job nor any of them is there.
func (s *JobStore) Deliveries(ctx context.Context, jobID string) ([]Delivery, error) {
	if !idPattern.MatchString(jobID) {
		return nil, ErrJobNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, `SELECT `+deliveryColumns+` FROM webhook_deliveries
		WHERE job_id = $1 ORDER BY seq DESC LIMIT $2`, jobID, deliveriesShown)
	if err != nil {
		return nil, fmt.Errorf("read the webhooks of job %s: %w", jobID, err)
	}
	list, err := pgx.CollectRows(rows, scanDelivery)
	if err != nil {
		return nil, fmt.Errorf("read the webhooks of job %s: %w", jobID, err)
	}
	if len(list) == 0 {
		_, err := s.Get(ctx, jobID)
		return nil, err
	}
	slices.Reverse(list)
	return list, s.readAttempts(ctx, list)
}

func (s *JobStore) readAttempts(ctx context.Context, list []Delivery) error {
	byID := map[string]*Delivery{}
	ids := make([]string, 0, len(list))
	for i := range list {
		byID[list[i].ID] = &list[i]
		ids = append(ids, list[i].ID)
	}
	rows, err := s.pool.Query(ctx, `
		SELECT a.delivery_id::text, a.started_at, a.seconds, a.status, a.error
		FROM webhook_attempts a JOIN webhook_deliveries d ON d.id = a.delivery_id
		WHERE d.id = ANY($1) AND a.attempt > d.attempts - $2 ORDER BY a.attempt`, ids, attemptsShown)
	if err != nil {
		return fmt.Errorf("read webhook attempts: %w", err)
	}
	var id string
	var a DeliveryAttempt
	if _, err = pgx.ForEachRow(rows, []any{&id, &a.StartedAt, &a.Seconds, &a.Status, &a.Error}, func() error {
		byID[id].Attempts = append(byID[id].Attempts, a)
		return nil
	}); err != nil {
		return fmt.Errorf("read webhook attempts: %w", err)
	}
	return nil
}

// Redeliver has a delivery sent again, with a whole set of tries, whatever
// became of it. ErrDeliveryNotFound.
func (s *JobStore) Redeliver(ctx context.Context, jobID, id string) (Delivery, error) {
	if uuid.Validate(id) != nil || !idPattern.MatchString(jobID) {
		return Delivery{}, ErrDeliveryNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		UPDATE webhook_deliveries
		SET state = 'pending', tries = 0, queued_at = now(), next_at = now(), ended_at = NULL
		WHERE id = $1 AND job_id = $2
		RETURNING `+deliveryColumns, id, jobID)
	if err != nil {
		return Delivery{}, fmt.Errorf("send a webhook of job %s again: %w", jobID, err)
	}
	d, err := pgx.CollectExactlyOneRow(rows, scanDelivery)
	if errors.Is(err, pgx.ErrNoRows) {
		return Delivery{}, ErrDeliveryNotFound
	}
	if err != nil {
		return Delivery{}, fmt.Errorf("send a webhook of job %s again: %w", jobID, err)
	}
	list := []Delivery{d}
	return list[0], s.readAttempts(ctx, list)
}

// Backlog counts the webhooks that wait, and tells for how long the oldest has.
func (s *JobStore) Backlog(ctx context.Context) (n int, age time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var seconds float64
	err = s.pool.QueryRow(ctx, `
		SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(queued_at)), 0)::float8
		FROM webhook_deliveries WHERE state = 'pending'`).Scan(&n, &seconds)
	if err != nil {
		return 0, 0, fmt.Errorf("count the webhooks that wait: %w", err)
	}
	return n, time.Duration(seconds * float64(time.Second)), nil
}
