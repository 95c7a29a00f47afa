package api

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"time"
)

const (
	webhooksPath  = "/api/jobs/{id}/webhooks"
	redeliverPath = "/api/jobs/{id}/webhooks/{delivery}/redeliver"
)

// ErrDeliveryNotFound says that a job has no such webhook.
var ErrDeliveryNotFound = errors.New("webhook not found")

// Webhooks shows what was told about jobs, and tells it again. An unknown job
// is ErrNotFound, an unknown delivery ErrDeliveryNotFound; every other error is
// answered with 503.
type Webhooks interface {
	Deliveries(ctx context.Context, jobID string) ([]Delivery, error)
	Redeliver(ctx context.Context, jobID, delivery string) (Delivery, error)
}

// Delivery is one event of a job and what became of it.
type Delivery struct {
	ID            string            `json:"id"` // the webhook-id
	Type          string            `json:"type"`
	State         string            `json:"state"`
	CreatedAt     time.Time         `json:"created_at"`
	NextAttemptAt *time.Time        `json:"next_attempt_at"` // nil unless pending
	EndedAt       *time.Time        `json:"ended_at"`
	Attempts      []DeliveryAttempt `json:"attempts"`
}

// DeliveryAttempt is one try: a status, or the code of why none came. Nothing
// else of a reply is kept.
type DeliveryAttempt struct {
	StartedAt time.Time `json:"started_at"`
	Seconds   *float64  `json:"seconds"` // nil while under way, or when its process died
	Status    *int      `json:"status"`
	Error     *string   `json:"error"`
}

var deliveryPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// getWebhooks lists the webhooks of a job with their attempts.
func (s *server) getWebhooks(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if !jobIDPattern.MatchString(id) {
		return s.jobError(r, ErrNotFound)
	}
	list, err := s.Webhooks.Deliveries(r.Context(), id)
	if err != nil {
		return s.jobError(r, err)
	}
	wire := struct {
		Deliveries []Delivery `json:"deliveries"`
	}{[]Delivery{}}
	for _, d := range list {
		wire.Deliveries = append(wire.Deliveries, d.wire())
	}
	return writeJSON(w, http.StatusOK, wire)
}

// postRedeliver has a webhook sent once more, under its id.
func (s *server) postRedeliver(w http.ResponseWriter, r *http.Request) error {
	id, delivery := r.PathValue("id"), r.PathValue("delivery")
	if !jobIDPattern.MatchString(id) || !deliveryPattern.MatchString(delivery) {
		return webhookNotFound()
	}
	d, err := s.Webhooks.Redeliver(r.Context(), id, delivery)
	if errors.Is(err, ErrDeliveryNotFound) {
		return webhookNotFound()
	}
	if err != nil {
		return s.jobError(r, err)
	}
	return writeJSON(w, http.StatusAccepted, d.wire())
}

// wire spells an empty list out.
func (d Delivery) wire() Delivery {
	if d.Attempts == nil {
		d.Attempts = []DeliveryAttempt{}
	}
	return d
}
