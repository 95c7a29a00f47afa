package worker

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func (h *house) cancel(id string) Job {
	h.t.Helper()
	job, done, err := h.store.Cancel(h.t.Context(), id, tester)
	if err != nil || !done || job.State != StateCancelled || job.FinishedAt == nil || job.ErrorCode != "" {
		h.t.Fatalf("cancel: %v, %v, %+v", done, err, job)
	}
	return job
}

func (c *call) wantCause(t *testing.T, want error) {
	t.Helper()
	select {
	case <-c.ctx.Done():
	case <-time.After(patience):
		t.Fatal("the attempt goes on")
	}
	if cause := context.Cause(c.ctx); !errors.Is(cause, want) {
		t.Errorf("cause %v, want %v", cause, want)
	}
}

// noHeartbeat is a worker whose first heartbeat comes too late for any test.
func noHeartbeat(c *Config) {
	c.HeartbeatEvery, c.FenceAfter, c.Lease = 2*patience, 3*patience, 4*patience
}

func TestCancelQueued(t *testing.T) {
	h := newHouse(t)
	job := h.submit(request(1, ""))
	h.cancel(job.ID)
	if _, err := h.store.Claim(t.Context(), job.ID, job.DispatchSeq, "w", time.Minute); !errors.Is(err, ErrNotClaimable) {
		t.Errorf("claim: %v", err)
	}
	sent, err := h.store.dispatch(t.Context(), 10, func(context.Context, Doorbell, string) error { return nil })
	if err != nil || sent != 0 {
		t.Errorf("%d doorbells of a cancelled job, %v", sent, err)
	}
	// Again: the same document. The request may be made anew.
	again, done, err := h.store.Cancel(t.Context(), job.ID, tester)
	if err != nil || done || again.State != StateCancelled || !again.FinishedAt.Equal(*h.get(job.ID).FinishedAt) {
		t.Errorf("cancelled twice: %v, %v, %+v", done, err, again)
	}
	if other := h.submit(request(1, "")); other.ID == job.ID {
		t.Error("the request is still the cancelled job")
	}
	h.invariants()
}

func TestCancelFinished(t *testing.T) {
	h := newHouse(t)
	published, req := h.claimed(1, "")
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	failed, _ := h.claimed(2, "")
	if err := h.store.Fail(t.Context(), failed.Fence(), "x", "x"); err != nil {
		t.Fatal(err)
	}
	for _, job := range []Job{published, failed} {
		before := h.get(job.ID)
		if _, _, err := h.store.Cancel(t.Context(), job.ID, tester); !errors.Is(err, ErrJobFinished) {
			t.Errorf("cancel a %s job: %v", before.State, err)
		}
		if after := h.get(job.ID); after.State != before.State {
			t.Errorf("%s became %s", before.State, after.State)
		}
	}
	for _, id := range []string{"nobody", "", "a b"} {
		if _, _, err := h.store.Cancel(t.Context(), id, tester); !errors.Is(err, ErrJobNotFound) {
			t.Errorf("cancel %q: %v", id, err)
		}
	}
	h.invariants()
}

// A notice ends the attempt: no heartbeat comes in time here, and Redis is away.
func TestCancelRunning(t *testing.T) {
	h := newHouse(t)
	cut := h.cuttableRedis()
	d, _ := h.dispatcher(nil)
	p, m := newScript(), NewMetrics(nil)
	h.worker(p, func(c *Config) { noHeartbeat(c); c.Wake, c.Metrics = d.Wake, m })
	job := h.submit(request(1, ""))
	c := p.next(t)
	cut.Store(true)
	if got := h.cancel(job.ID); got.Attempt != 1 {
		t.Errorf("attempt %d", got.Attempt)
	}
	c.wantCause(t, errCancelled)
	cut.Store(false)
	other := h.submit(request(1, `{"outputs":["ts"]}`)) // the slot and the asset are free
	p.next(t).succeed()
	h.await(other.ID, StateSucceeded)
	if n := testutil.ToFloat64(m.attempts.WithLabelValues(outcomeCancelled)); n != 1 {
		t.Errorf("%v cancelled attempts counted", n)
	}
	if got := h.get(job.ID); got.State != StateCancelled {
		t.Errorf("job is %s", got.State)
	}
	h.invariants()
}

// Without a listening connection the heartbeat finds out.
func TestCancelIsSeenByTheHeartbeat(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	pool := h.refusing("sealcast listener")
	p, m := newScript(), NewMetrics(nil)
	h.worker(p, func(c *Config) { c.Store, c.Wake, c.Metrics = NewJobStore(pool), d.Wake, m })
	job := h.submit(request(1, ""))
	c := p.next(t)
	h.eventually("listening is refused", func() bool { return testutil.ToFloat64(m.dependencies.WithLabelValues("postgres")) > 0 })
	h.cancel(job.ID)
	c.wantCause(t, errCancelled)
	h.invariants()
}

// refusing is a pool on the house's database; no connection lasts whose
// application has the name.
func (h *house) refusing(name string) *pgxpool.Pool {
	h.t.Helper()
	cfg, err := pgxpool.ParseConfig(h.dsn)
	if err != nil {
		h.t.Fatal(err)
	}
	cfg.ConnConfig.AfterConnect = func(ctx context.Context, conn *pgconn.PgConn) error {
		if conn.ParameterStatus("application_name") == name {
			return errors.New("not welcome")
		}
		return nil
	}
	pool, err := pgxpool.NewWithConfig(h.t.Context(), cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(pool.Close)
	return pool
}

// What is cancelled while the listening connection is broken is found when it
// is back.
func TestCancelWhileNobodyListens(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { noHeartbeat(c); c.Wake = d.Wake })
	job := h.submit(request(1, ""))
	c := p.next(t)
	listeners := `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sealcast listener'`
	h.eventually("somebody listens", func() bool { return count(h, listeners) == 1 })
	h.exec(`SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'sealcast listener'`)
	h.cancel(job.ID)
	c.wantCause(t, errCancelled)
	h.eventually("somebody listens again", func() bool { return count(h, listeners) == 1 })
	h.invariants()
}

// Of a publication and a cancellation at the same moment exactly one wins.
func TestCancelAgainstPublish(t *testing.T) {
	h := newHouse(t)
	won := map[State]int{}
	for n := range 24 {
		job, req := h.claimed(n, "")
		var published, cancelled error
		var wg sync.WaitGroup
		start := make(chan struct{})
		wg.Go(func() { <-start; published = h.store.Publish(t.Context(), req, h.keys) })
		wg.Go(func() {
			<-start
			if n%2 == 0 { // the publication's first statement is quick: give it a head start every other time
				time.Sleep(time.Duration(n) * 200 * time.Microsecond)
			}
			_, _, cancelled = h.store.Cancel(t.Context(), job.ID, tester)
		})
		close(start)
		wg.Wait()
		state := h.get(job.ID).State
		won[state]++
		switch {
		case published == nil && errors.Is(cancelled, ErrJobFinished) && state == StateSucceeded:
		case errors.Is(published, errCancelled) && cancelled == nil && state == StateCancelled:
		default:
			t.Errorf("publish: %v, cancel: %v, the job is %s", published, cancelled, state)
		}
	}
	t.Logf("won: %v", won)
	h.invariants()
}

// Both orders of the race, each for certain: the publication holds the row, or
// the cancellation was committed first.
func TestCancelWaitsForThePublication(t *testing.T) {
	h := newHouse(t)
	job, req := h.claimed(1, "")
	tx, err := h.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := publish(t.Context(), tx, req, h.keys); err != nil {
		t.Fatal(err)
	}
	answer := make(chan error, 1)
	go func() { _, _, err := h.store.Cancel(t.Context(), job.ID, tester); answer <- err }()
	h.eventually("the cancellation waits for the row", func() bool {
		return count(h, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 1
	})
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; !errors.Is(err, ErrJobFinished) {
		t.Errorf("cancel: %v", err)
	}
	second, req := h.claimed(2, "")
	h.cancel(second.ID)
	if err := h.store.Publish(t.Context(), req, h.keys); !errors.Is(err, errCancelled) || !errors.Is(err, ErrFenced) {
		t.Errorf("publish: %v", err)
	}
	for what, err := range map[string]error{
		"heartbeat": h.store.Heartbeat(t.Context(), second.Fence(), time.Minute),
		"progress":  h.store.Progress(t.Context(), second.Fence(), "encode", 1, -1),
		"requeue":   h.store.Requeue(t.Context(), second.Fence(), Release{}),
		"fail":      h.store.Fail(t.Context(), second.Fence(), "x", "x"),
	} {
		if !errors.Is(err, errCancelled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	h.invariants()
}

// A notice that comes between the claim and the attempt is not missed, and one
// for an attempt of before does not end its successor.
func TestNoticeBeforeTheAttempt(t *testing.T) {
	w := newWatch()
	for name, c := range map[string]struct {
		notice Fence
		ends   bool
	}{
		"this attempt":       {Fence{"a", 2}, true},
		"the attempt before": {Fence{"a", 1}, false},
		"another job":        {Fence{"b", 2}, false},
	} {
		for _, early := range []bool{true, false} {
			e := w.expect("a")
			ctx, stop := context.WithCancelCause(t.Context())
			if early {
				w.cancelled(c.notice)
			}
			e.begin(2, stop)
			if !early {
				w.cancelled(c.notice)
			}
			if ended := errors.Is(context.Cause(ctx), errCancelled); ended != c.ends {
				t.Errorf("%s, early %v: ended %v", name, early, ended)
			}
			e.forget()
			stop(nil)
		}
	}
	if f, ok := parseCancelNotice(cancelNotice(Fence{"a:b.c", 3})); !ok || f != (Fence{"a:b.c", 3}) {
		t.Errorf("notice reads as %+v", f)
	}
}
