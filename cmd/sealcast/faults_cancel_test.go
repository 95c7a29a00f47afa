//go:build faults

package main

import (
	"net/http"
	"testing"
	"time"
)

func (f *faultRig) cancel(id string) answer {
	f.t.Helper()
	return f.do("POST", "/api/jobs/"+id+"/cancel", "", "X-API-Key: "+f.env["API_KEY"])
}

// A job that is cancelled in any state is cancelled for good, unless it had
// ended: queued, at each boundary of its attempt, succeeded. Nothing of it is
// published, its children end, and the worker takes the next job.
func TestFaultsCancelInEveryState(t *testing.T) {
	t.Run("queued", func(t *testing.T) {
		t.Parallel()
		f := newFaultRig(t)
		f.serveAPI()
		id := f.film(t, "320x240", 4)
		f.rung()
		f.cancelled(t, id)
	})
	for _, b := range boundaries() {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			f := newFaultRig(t)
			f.serveAPI()
			f.worker(nil)
			held := b.hold(t, f)
			id := b.film(t, f)
			f.reached(held, b.name)
			if b.inCommit {
				f.cancelledOrPublished(t, held, id)
			} else {
				f.cancelled(t, id)
				held.free()
			}
			f.ends(f.film(t, "320x240", 4), "succeeded")
			f.invariants(t)
		})
	}
	t.Run("succeeded", func(t *testing.T) {
		t.Parallel()
		f := newFaultRig(t)
		f.serveAPI()
		f.worker(nil)
		id := f.film(t, "320x240", 4)
		f.ends(id, "succeeded")
		if a := f.cancel(id); a.status != http.StatusConflict {
			t.Errorf("%d %s", a.status, a.body)
		}
		f.ends(id, "succeeded")
		f.invariants(t)
	})
}

// cancelled cancels a job that can be, and wants its children gone.
func (f *faultRig) cancelled(t *testing.T, id string) {
	t.Helper()
	if a := f.cancel(id); a.status != http.StatusOK && a.status != http.StatusAccepted {
		t.Errorf("cancel: %d %s", a.status, a.body)
	}
	f.ends(id, "cancelled")
	f.until("its children are gone", func() bool { return len(f.kin.alive()) == 0 })
	if n := f.count(`SELECT count(*) FROM publications WHERE job_id = $1`, id); n != 0 {
		t.Errorf("%d publications of a cancelled job", n)
	}
}

// cancelledOrPublished cancels while a publication holds the row: the
// cancellation waits, whoever comes first wins, and the answer says who.
func (f *faultRig) cancelledOrPublished(t *testing.T, held *snag, id string) {
	t.Helper()
	said := make(chan answer, 1)
	go func() { said <- f.cancel(id) }()
	f.until("the cancellation waits for the publication, or has its answer", func() bool {
		return len(said) > 0 || f.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) > 0
	})
	held.free()
	want := map[int]string{http.StatusAccepted: "cancelled", http.StatusOK: "cancelled", http.StatusConflict: "succeeded"}
	a := <-said
	state, known := want[a.status]
	if !known {
		t.Fatalf("cancel: %d %s", a.status, a.body)
	}
	f.ends(id, state)
	if n := f.count(`SELECT count(*) FROM publications WHERE job_id = $1`, id); (n == 1) != (state == "succeeded") {
		t.Errorf("%d publications of a job that %s", n, state)
	}
}

// TestFiguresCancel measures how long children live after a cancellation.
func TestFiguresCancel(t *testing.T) {
	f := newFaultRig(t)
	f.serveAPI()
	f.worker(nil)
	var took []time.Duration
	for range fromEnv("FIGURE_ROUNDS", 5) {
		id := f.film(t, "640x360", 40)
		f.running([]string{id})
		f.kin.look(t, f.all)
		began := time.Now()
		f.cancelled(t, id)
		took = append(took, time.Since(began))
	}
	t.Logf("cancel to dead children: p50 %.1f s, p99 %.1f s of %d (goal ≤ 2)",
		percentile(took, 50).Seconds(), percentile(took, 99).Seconds(), len(took))
	f.invariants(t)
}
