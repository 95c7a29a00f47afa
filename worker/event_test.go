package worker

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/internal/webhook"
)

const hook = "https://cms.example/hook?key=1"

// told is an event as it was written.
type told struct {
	Type, State string
	Data        struct {
		ID, State, Stage string
		Attempt          int
		Progress         float64
		Error            *struct{ Code, Message string }
		Results          json.RawMessage
	}
}

func (h *house) withCallback(n int) Submission {
	s, err := ParseSubmission(TypeTranscode, fmt.Appendf(nil, `{"hash":"%064x","source":"in/%d.mp4","callback_url":%q}`, n, n, hook))
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// events are those of a job in order, each held against the contract.
func (h *house) events(jobID string) (out []told) {
	h.t.Helper()
	spec, err := openapi3.NewLoader().LoadFromFile("../api/openapi.yaml")
	if err != nil {
		h.t.Fatal(err)
	}
	rows, err := h.pool.Query(h.t.Context(), `SELECT type, state, payload FROM webhook_deliveries WHERE job_id = $1 AND url = $2 ORDER BY seq`, jobID, hook)
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var kind, state, payload string
		if err := rows.Scan(&kind, &state, &payload); err != nil {
			h.t.Fatal(err)
		}
		var e told
		var all map[string]any
		if err := json.Unmarshal([]byte(payload), &e); err != nil {
			h.t.Fatal(err)
		}
		_ = json.Unmarshal([]byte(payload), &all)
		if err := spec.Components.Schemas["Job"].Value.VisitJSON(all["data"]); err != nil {
			h.t.Errorf("data of %s is not a job as openapi.yaml says: %v", kind, err)
		}
		if _, err := time.Parse(time.RFC3339, all["timestamp"].(string)); err != nil || e.Type != kind || e.Data.ID != jobID || len(all) != 3 {
			h.t.Errorf("%s: %s %v", kind, payload, err)
		}
		e.State = state
		out = append(out, e)
	}
	return out
}

func types(events []told) (out []string) {
	for _, e := range events {
		out = append(out, e.Type)
	}
	return out
}

func wantEvents(t *testing.T, got []told, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, types(got)); diff != "" {
		t.Fatalf("events (-want +got):\n%s", diff)
	}
}

// The ends of a job, by whoever it is ended: each is told once, with what a
// receiver must know, and attempts in between are not told.
func TestEvents(t *testing.T) {
	h := newHouse(t)
	h.store = h.store.WithCallbacks(&webhook.Targets{})
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { c.Store, c.Wake = h.store, d.Wake })
	submit := func(n int) Job {
		job := h.submit(h.withCallback(n))
		d.Wake()
		return job
	}

	job := submit(1)
	c := p.next(t)
	c.fail(errTransient)
	p.next(t).succeed()
	h.await(job.ID, StateSucceeded)
	events := h.events(job.ID)
	wantEvents(t, events, "job.started", "job.completed")
	if e := events[0].Data; e.Attempt != 1 || e.State != "running" || e.Error != nil {
		t.Errorf("started: %+v", e)
	}
	if e := events[1].Data; e.Attempt != 2 || e.State != "succeeded" || e.Progress != 100 || !strings.Contains(string(e.Results), `"master_playlist"`) || !strings.Contains(string(e.Results), `"generation"`) {
		t.Errorf("completed: %+v %s", e, e.Results)
	}

	job = submit(2)
	for range 3 {
		p.next(t).fail(errTransient)
	}
	h.await(job.ID, StateFailed)
	events = h.events(job.ID)
	wantEvents(t, events, "job.started", "job.failed")
	if e := events[1].Data; e.Error == nil || e.Error.Code != "store_unavailable" || e.Error.Message != "The store is away." || e.State != "failed" {
		t.Errorf("failed: %+v", e)
	}

	// The reaper ends it.
	job = submit(3)
	c = p.next(t)
	h.exec(`UPDATE jobs SET failures = 2, lease_until = now() - interval '1 s', stage = 'encode' WHERE id = $1`, job.ID)
	h.await(job.ID, StateFailed)
	events = h.events(job.ID)
	wantEvents(t, events, "job.started", "job.failed")
	if e := events[1].Data; e.Error.Code != "attempts_exhausted" || e.Stage != "encode" {
		t.Errorf("reaped: %+v", e)
	}
	c.fail(errPermanent)
}

// What other statements do to a job's row is told as well.
func TestEventsOfAnyStatement(t *testing.T) {
	h := newHouse(t)
	h.store = h.store.WithCallbacks(&webhook.Targets{})

	job := h.submit(h.withCallback(1))
	h.exec(`UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = $1`, job.ID)
	wantEvents(t, h.events(job.ID), "job.cancelled")

	// A job that goes back to the queue by hand begins anew.
	job = h.submit(h.withCallback(2))
	for range 2 {
		h.exec(`UPDATE jobs SET state = 'running', lease_until = now() + interval '1 h', attempt = attempt + 1 WHERE id = $1`, job.ID)
		h.exec(`UPDATE jobs SET state = 'failed', lease_until = NULL, error_code = 'x', finished_at = now() WHERE id = $1`, job.ID)
		h.exec(`UPDATE jobs SET state = 'queued', error_code = '', finished_at = NULL WHERE id = $1`, job.ID)
	}
	wantEvents(t, h.events(job.ID), "job.started", "job.failed", "job.started", "job.failed")

	// A row that goes before the job has ended, and one that goes after.
	h.exec(`DELETE FROM jobs WHERE id = $1`, job.ID)
	events := h.events(job.ID)
	wantEvents(t, events, "job.started", "job.failed", "job.started", "job.failed", "job.cancelled")
	if e := events[4].Data; e.State != "cancelled" {
		t.Errorf("%+v", e)
	}
	job = h.submit(h.withCallback(3))
	h.exec(`UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = $1`, job.ID)
	h.exec(`DELETE FROM jobs WHERE id = $1`, job.ID)
	wantEvents(t, h.events(job.ID), "job.cancelled")

	// What is rolled back is not told.
	job = h.submit(h.withCallback(4))
	tx, err := h.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = $1`, job.ID); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, h.events(job.ID))

	// A request that no attempt will run for is told, unless its URL is why.
	sealed := h.withCallback(5)
	for id, why := range map[string]*RequestError{"sealed": errSealed(true), "refused": {CodeCallbackRefused, "x"}, "off": {CodeWebhooksOff, "x"}} {
		if _, err := h.store.RecordRefused(t.Context(), sealed, id, why); err != nil {
			t.Fatal(err)
		}
	}
	wantEvents(t, h.events("sealed"), "job.failed")
	if n := count(h, `SELECT count(*) FROM webhook_deliveries WHERE job_id IN ('refused', 'off')`); n != 0 {
		t.Errorf("%d events to nobody", n)
	}

	// Nobody asked.
	quiet := h.submit(request(6, ""))
	h.exec(`UPDATE jobs SET state = 'cancelled', finished_at = now() WHERE id = $1`, quiet.ID)
	if n := count(h, `SELECT count(*) FROM webhook_deliveries WHERE job_id = $1`, quiet.ID); n != 0 {
		t.Errorf("%d events", n)
	}
}

// Progress is told 10 s and 5 points apart, and only the newest is kept.
func TestEventsOfProgress(t *testing.T) {
	h := newHouse(t)
	h.store = h.store.WithCallbacks(&webhook.Targets{})
	job := h.submit(h.withCallback(1))
	job, err := h.store.Claim(t.Context(), job.ID, 1, "w", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	later := func() {
		h.exec(`UPDATE webhook_deliveries SET created_at = created_at - interval '10 s' WHERE job_id = $1`, job.ID)
	}
	at := func(percent float64) {
		t.Helper()
		if err := h.store.Progress(t.Context(), job.Fence(), "encode", percent, -1); err != nil {
			t.Fatal(err)
		}
	}
	at(50) // too soon after the start
	wantEvents(t, h.events(job.ID), "job.started")
	later()
	at(4) // never falls: no change, no event
	wantEvents(t, h.events(job.ID), "job.started")
	at(51)
	at(80) // too soon
	later()
	at(81)
	later()
	at(84) // too little
	events := h.events(job.ID)
	wantEvents(t, events, "job.started", "job.progress", "job.progress")
	states := func(events []told) (out []string) {
		for _, e := range events {
			out = append(out, e.State)
		}
		return out
	}
	if got := states(events); !slices.Equal(got, []string{"pending", "superseded", "pending"}) || events[2].Data.Progress != 81 || events[2].Data.Stage != "encode" {
		t.Errorf("%v %+v", got, events[2].Data)
	}
	// The next attempt begins below.
	if err := h.store.Requeue(t.Context(), job.Fence(), Release{}); err != nil {
		t.Fatal(err)
	}
	if job, err = h.store.Claim(t.Context(), job.ID, 2, "w", time.Hour); err != nil {
		t.Fatal(err)
	}
	later()
	at(6)
	if err := h.store.Fail(t.Context(), job.Fence(), "x", "X."); err != nil {
		t.Fatal(err)
	}
	events = h.events(job.ID)
	wantEvents(t, events, "job.started", "job.progress", "job.progress", "job.progress", "job.failed")
	if got := states(events); !slices.Equal(got, []string{"pending", "superseded", "superseded", "superseded", "pending"}) {
		t.Errorf("%v", got)
	}
}
