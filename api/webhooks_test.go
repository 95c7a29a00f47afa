package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const someDelivery = "01997f5c-0000-7000-8000-000000000001"

type fakeWebhooks struct {
	mu    sync.Mutex
	byJob map[string][]Delivery
	again []string
	err   error
}

func (f *fakeWebhooks) Deliveries(_ context.Context, jobID string) ([]Delivery, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	list, ok := f.byJob[jobID]
	if !ok && f.err == nil {
		return nil, ErrNotFound
	}
	return list, f.err
}

func (f *fakeWebhooks) Redeliver(_ context.Context, jobID, delivery string) (Delivery, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range f.byJob[jobID] {
		if d.ID == delivery && f.err == nil {
			f.again = append(f.again, delivery)
			return d, nil
		}
	}
	if f.err != nil {
		return Delivery{}, f.err
	}
	return Delivery{}, ErrDeliveryNotFound
}

func TestWebhooks(t *testing.T) {
	hooks := &fakeWebhooks{byJob: map[string][]Delivery{}}
	rig := newRig(t, func(c *Config) { c.Webhooks = hooks })
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	status, took, reason := 500, 0.25, "timeout"
	hooks.byJob["none"] = nil
	hooks.byJob["job-1"] = []Delivery{
		{ID: someDelivery, Type: "job.started", State: "delivered", CreatedAt: at, EndedAt: &at},
		{ID: strings.Replace(someDelivery, "1", "2", 1), Type: "job.failed", State: "pending", CreatedAt: at, NextAttemptAt: &at, Attempts: []DeliveryAttempt{
			{StartedAt: at, Seconds: &took, Status: &status}, {StartedAt: at, Seconds: &took, Error: &reason}, {StartedAt: at},
		}},
	}
	key := "X-API-Key: " + testAPIKey
	a := rig.do("GET", "/api/jobs/job-1/webhooks", "", key)
	want := `{"deliveries":[` +
		`{"id":"` + someDelivery + `","type":"job.started","state":"delivered","created_at":"2026-01-02T03:04:05Z","next_attempt_at":null,"ended_at":"2026-01-02T03:04:05Z","attempts":[]},` +
		`{"id":"` + strings.Replace(someDelivery, "1", "2", 1) + `","type":"job.failed","state":"pending","created_at":"2026-01-02T03:04:05Z","next_attempt_at":"2026-01-02T03:04:05Z","ended_at":null,"attempts":[` +
		`{"started_at":"2026-01-02T03:04:05Z","seconds":0.25,"status":500,"error":null},` +
		`{"started_at":"2026-01-02T03:04:05Z","seconds":0.25,"status":null,"error":"timeout"},` +
		`{"started_at":"2026-01-02T03:04:05Z","seconds":null,"status":null,"error":null}]}]}` + "\n"
	if diff := cmp.Diff(want, string(a.body)); diff != "" || a.StatusCode != http.StatusOK {
		t.Error(a.StatusCode, diff)
	}
	if a := rig.do("GET", "/api/jobs/none/webhooks", "", key); string(a.body) != `{"deliveries":[]}`+"\n" {
		t.Errorf("none: %s", a.body)
	}
	if a := rig.do("POST", "/api/jobs/job-1/webhooks/"+someDelivery+"/redeliver", "", key); a.StatusCode != http.StatusAccepted || len(hooks.again) != 1 {
		t.Errorf("redeliver: %d %s", a.StatusCode, a.body)
	}
	for _, c := range []struct {
		method, path, code string
		status             int
	}{
		{"GET", "/api/jobs/nobody/webhooks", "job_not_found", 404},
		{"GET", "/api/jobs/a%20b/webhooks", "job_not_found", 404},
		{"PUT", "/api/jobs/job-1/webhooks", "method_not_allowed", 405},
		{"POST", "/api/jobs/job-1/webhooks/" + strings.Replace(someDelivery, "1", "9", 1) + "/redeliver", "webhook_not_found", 404},
		{"POST", "/api/jobs/job-1/webhooks/x/redeliver", "webhook_not_found", 404},
		{"POST", "/api/jobs/a%20b/webhooks/" + someDelivery + "/redeliver", "webhook_not_found", 404},
		{"GET", "/api/jobs/job-1/webhooks/" + someDelivery + "/redeliver", "method_not_allowed", 405},
	} {
		if a := rig.do(c.method, c.path, "", key); a.StatusCode != c.status || a.code() != c.code {
			t.Errorf("%s %s: %d %s", c.method, c.path, a.StatusCode, a.body)
		}
	}
	for _, path := range []string{"GET /api/jobs/job-1/webhooks", "POST /api/jobs/job-1/webhooks/" + someDelivery + "/redeliver"} {
		method, path, _ := strings.Cut(path, " ")
		if a := rig.do(method, path, ""); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a key: %d", path, a.StatusCode)
		}
		hooks.err = errors.New("dial pg.internal:5432")
		if a := rig.do(method, path, "", key); a.StatusCode != http.StatusServiceUnavailable || strings.Contains(string(a.body), "pg.internal") {
			t.Errorf("%s without Postgres: %d %s", path, a.StatusCode, a.body)
		}
		hooks.err = nil
	}
}
