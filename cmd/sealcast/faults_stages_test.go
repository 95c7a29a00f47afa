package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/localstack"
)

// boundary is a place in the life of an attempt at which it can be held.
type boundary struct {
	name  string
	stage string // what the job row says there, "" where it is not told yet
	short bool   // also without the build tag faults
	// published says that the attempt's publication is visible at the boundary.
	published bool
	inCommit  bool // the publish transaction holds the job's row, or has just let it go
	seconds   int  // of the film, 0: 8; the encoder must still be at it when the boundary is reached
	hold      func(t *testing.T, f *faultRig) *snag
}

// film enters a film that is long enough for the boundary.
func (b boundary) film(t *testing.T, f *faultRig) (id string) {
	t.Helper()
	if b.seconds == 0 {
		return f.film(t, "320x240", 8)
	}
	return f.film(t, "320x240", b.seconds)
}

func boundaries() []boundary {
	return []boundary{
		{name: "claim", hold: func(t *testing.T, f *faultRig) *snag {
			// The first look at the source is the submission's own.
			return f.store.catch(t, false, 1, fromBucket(f.env["SOURCE_BUCKET"], http.MethodHead, http.MethodGet))
		}},
		{name: "probe", stage: "probe", hold: func(t *testing.T, f *faultRig) *snag {
			return f.store.catch(t, false, 1, fromBucket(f.env["SOURCE_BUCKET"], http.MethodGet))
		}},
		{name: "encode", stage: "encode", seconds: 60, hold: func(t *testing.T, f *faultRig) *snag {
			return f.store.catch(t, false, 0, putOf(".m4s", ".ts"))
		}},
		{name: "half of the segments are uploaded", short: true, hold: func(t *testing.T, f *faultRig) *snag {
			return f.store.catch(t, true, 7, putOf(".m4s", ".ts")) // of 16
		}},
		{name: "verify", hold: func(t *testing.T, f *faultRig) *snag {
			return f.store.catch(t, false, 0, fromBucket(f.env["MEDIA_BUCKET"], http.MethodGet))
		}},
		{name: "before the media playlists", stage: "publish", hold: func(t *testing.T, f *faultRig) *snag {
			return f.store.catch(t, false, 0, putOf("/index.m3u8"))
		}},
		{name: "before the multivariant playlist", stage: "publish", hold: func(t *testing.T, f *faultRig) *snag {
			return f.store.catch(t, false, 0, putOf("master.m3u8"))
		}},
		{name: "before COMMIT", short: true, inCommit: true, hold: func(t *testing.T, f *faultRig) *snag {
			return f.pg.catch(t, false, `"publication_objects"`, "commit\x00")
		}},
		{name: "after COMMIT", short: true, published: true, inCommit: true, hold: func(t *testing.T, f *faultRig) *snag {
			return f.pg.catch(t, true, `"publication_objects"`, "commit\x00")
		}},
	}
}

func fromBucket(bucket string, methods ...string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		for _, m := range methods {
			if r.Method == m && strings.HasPrefix(r.URL.Path, "/"+bucket+"/") && !r.URL.Query().Has("location") && len(r.URL.Path) > len(bucket)+2 {
				return true
			}
		}
		return false
	}
}

// A worker that is killed with SIGKILL at any boundary between two stages
// leaves nothing behind, publishes nothing half, and the job ends well with
// the next worker.
func TestFaultsKilledAtEveryBoundary(t *testing.T) {
	for _, b := range boundaries() {
		if !b.short && !longFaults {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			f := newFaultRig(t)
			f.serveAPI()
			first := f.worker(nil)
			held := b.hold(t, f)
			id := b.film(t, f)
			f.reached(held, b.name)
			if j := f.row(id); !b.published && (j.State != "running" || j.Attempt != 1) {
				t.Errorf("at the boundary the job is %+v", j)
			}
			if b.stage != "" {
				f.until("the row says "+b.stage, func() bool { return f.row(id).Stage == b.stage })
			}
			f.kill9(first)
			held.free()
			attempt, published := 2, 0
			if b.published {
				attempt, published = 1, 1
			}
			if n := f.count(`SELECT count(*) FROM publications`); n != published {
				t.Errorf("%d publications by a killed worker", n)
			}
			f.worker(nil)
			f.succeeds(t, id, attempt)
			f.invariants(t)
		})
	}
}

// The answer to the COMMIT of a publication is lost: it is not published
// twice, and no attempt is wasted.
func TestFaultsCommitAnswerLost(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	f.worker(nil)
	held := f.pg.catch(t, true, `"publication_objects"`, "commit\x00")
	id := f.film(t, "320x240", 4)
	f.reached(held, "COMMIT")
	held.free()
	f.succeeds(t, id, 1)
	f.invariants(t)
}

// The store has taken an object and its answer is lost.
func TestFaultsPutAnswerLost(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	f.worker(nil)
	for _, what := range []string{".m4s", "init.mp4", "index.m3u8", "master.m3u8"} {
		held := f.store.catch(t, true, 0, putOf(what))
		id := f.film(t, "320x240", 4)
		f.reached(held, what)
		held.free()
		f.succeeds(t, id, 1)
	}
	f.invariants(t)
}

// The answer to an enqueue is lost: the doorbell rings once all the same.
func TestFaultsEnqueueAnswerLost(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	held := f.queue.catch(t, true, "asynq:{run:default}:pending")
	id := f.film(t, "320x240", 4)
	f.reached(held, "the enqueue")
	held.free()
	f.rung() // it is sent again, and the task is there: that is as good as sent
	f.worker(nil)
	f.succeeds(t, id, 1)
	f.invariants(t)
}

// Redis is cut off for 8 s at the moment of the completion.
func TestFaultsRedisCutAtCompletion(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	f.worker(nil)
	held := f.store.catch(t, true, 0, putOf("master.m3u8"))
	id := f.film(t, "320x240", 4)
	f.reached(held, "the last playlists")
	f.cut(localstack.Redis)
	held.free()
	f.succeeds(t, id, 1)
	outage(t, redisCut)
	f.mend(localstack.Redis)
	again := f.film(t, "320x240", 4) // and the queue works on
	f.ends(again, "succeeded")
	if j := f.row(id); j.Attempt != 1 {
		t.Errorf("it ran again: %d attempts", j.Attempt)
	}
	f.invariants(t)
}
