package main

import (
	"fmt"
	"net/http"
	"testing"
)

// post submits a job whose request has more than options.
func (f *faultRig) post(kind, hash, source, more string) answer {
	f.t.Helper()
	body := fmt.Sprintf(`{"type":%q,"hash":%q,"source":%q,%s}`, kind, hash, source, more)
	return f.do("POST", "/api/jobs", body, "Content-Type: application/json", "X-API-Key: "+f.env["API_KEY"])
}

// A worker dies while it makes a part. The film stands, the part is made by
// the next worker, and there is one of each.
func TestFaultsPartKilled(t *testing.T) {
	for _, part := range []struct{ object, what string }{
		{"poster.jpg", "the cover"}, {"storyboard.vtt", "the storyboard"},
	} {
		if !longFaults && part.object != "poster.jpg" {
			continue
		}
		t.Run(part.what, func(t *testing.T) {
			t.Parallel()
			f := newFaultRig(t)
			f.serveAPI()
			first := f.worker(nil)
			held := f.store.catch(t, false, 0, putOf(part.object))
			hash, source := f.upload(clip(t, "320x240", 8))
			id := f.accepted(f.submit("video:full", hash, source, `{"transcode":{"segment_seconds":2},"preview":false}`))
			f.reached(held, part.what)
			f.kill9(first)
			held.free()
			f.worker(nil)
			f.ends(id, "succeeded")
			f.partsReady(id)
			f.invariants(t)
		})
	}
}

// A worker dies while it plans: the plan comes from the next one, and nothing
// is published.
func TestFaultsPlanKilled(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	first := f.worker(nil)
	held := f.store.catch(t, false, 1, fromBucket(f.env["SOURCE_BUCKET"], http.MethodGet))
	hash, source := f.upload(clip(t, "320x240", 4))
	id := f.accepted(f.post("video:transcode", hash, source, `"dry_run":true`))
	f.reached(held, "the source")
	f.kill9(first)
	held.free()
	f.worker(nil)
	if j := f.ends(id, "succeeded"); j.Attempt != 2 || len(j.Results) < 10 {
		t.Errorf("it took %d attempts, results %s", j.Attempt, j.Results)
	}
	if n := f.count(`SELECT (SELECT count(*) FROM publications) + (SELECT count(*) FROM content_keys)`); n != 0 {
		t.Errorf("a plan left %d publications and keys", n)
	}
	f.invariants(t)
}

// A source that is to go is removed although the worker dies when it removes
// it, and although the answer to the removal is lost; never before the film is
// published.
func TestFaultsSourceRemovalInterrupted(t *testing.T) {
	for _, c := range []struct {
		name          string
		applied, kill bool
	}{{"killed before it", false, true}, {"its answer is lost", true, false}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFaultRig(t)
			f.serveAPI()
			first := f.worker(nil)
			held := f.store.catch(t, c.applied, 0, fromBucket(f.env["SOURCE_BUCKET"], http.MethodDelete))
			hash, source := f.upload(clip(t, "320x240", 4))
			id := f.accepted(f.post("video:transcode", hash, source, `"options":{"segment_seconds":2},"keep_source":false`))
			f.reached(held, "the removal of the source")
			if j := f.row(id); j.State != "succeeded" {
				t.Errorf("the source is removed while the job is %s", j.State)
			}
			if c.kill {
				f.kill9(first)
			}
			held.free()
			if c.kill {
				f.worker(nil)
			}
			f.until("the source is gone", func() bool {
				_, err := f.source.Stat(t.Context(), source)
				return err != nil
			})
			f.ends(id, "succeeded")
			f.invariants(t)
		})
	}
}
