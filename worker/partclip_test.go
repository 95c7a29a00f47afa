package worker

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/internal/webhook"
	"github.com/sealcast/sealcast/pipeline"
)

// A film's parts are of its clip, the same when they are tried again; a part
// that is asked for alone is of the clip that is published, unless it says so.
func TestPartsAreOfTheClip(t *testing.T) {
	h := newHouse(t)
	h.store = h.store.WithCallbacks(&webhook.Targets{})
	d, _ := h.dispatcher(nil)
	films, parts := newScript(), newPartScript()
	h.worker(films, func(c *Config) { c.Store, c.Wake, c.Parts = h.store, d.Wake, parts })
	wants := func(c *partCall, in, of *pipeline.Clip) {
		t.Helper()
		cover, ok := c.req.Part.(pipeline.Cover)
		if diff := cmp.Diff(in, cover.Clip); !ok || diff != "" {
			t.Errorf("the part's clip: %s", diff)
		}
		if diff := cmp.Diff(of, c.req.Clip); diff != "" {
			t.Errorf("the request's clip: %s", diff)
		}
	}
	first := &pipeline.Clip{Start: 1.5, End: 4}
	job := h.submit(full(1, `,"options":{"transcode":{"clip":{"start":1.5,"end":4}},"preview":false,"storyboard":false,"text":false}`))
	d.Wake()
	c := parts.next(t)
	wants(c, first, nil)
	c.fail(errPermanent)
	films.next(t).succeed()
	h.await(job.ID, StateSucceeded)
	part := shownParts(t, h.get(job.ID))[0].JobID
	h.await(part, StateFailed)
	if _, err := h.store.Retry(t.Context(), part, tester); err != nil {
		t.Fatal(err)
	}
	d.Wake()
	c = parts.next(t)
	wants(c, first, nil)
	c.succeed()
	h.await(part, StateSucceeded)

	alone := func(options string) *partCall {
		s, err := ParseSubmission(TypeCover, fmt.Appendf(nil, `{"hash":%q,"source":"in/1.mp4","options":%s}`, job.Hash, options))
		if err != nil {
			t.Fatal(err)
		}
		h.submit(s)
		d.Wake()
		return parts.next(t)
	}
	c = alone(`{"time":2}`)
	wants(c, nil, first)
	c.succeed()
	c = alone(`{"clip":{"start":9}}`)
	wants(c, &pipeline.Clip{Start: 9}, first)
	c.succeed()

	// The parts of another film come after it: one that fails leaves those that
	// are there.
	whole := h.submit(full(1, coverOnly))
	d.Wake()
	films.next(t).fail(errPermanent)
	if p := shownParts(t, h.await(whole.ID, StateFailed))[0]; p.JobID != "" || p.State != "failed" {
		t.Errorf("the part of a film that failed: %+v", p)
	}
	// What is asked for alone is made again of a film that comes meanwhile.
	bare := h.submit(full(1, `,"options":{"cover":false,"preview":false,"storyboard":false,"text":false}`))
	d.Wake()
	film := films.next(t)
	c = alone(`{"time":5}`)
	wants(c, nil, first)
	film.succeed()
	h.await(bare.ID, StateSucceeded)
	c.succeed()
	c = parts.next(t)
	wants(c, nil, nil)
	c.succeed()
	// A film of the whole has parts of the whole.
	if _, err := h.store.Retry(t.Context(), whole.ID, tester); err != nil {
		t.Fatal(err)
	}
	d.Wake()
	films.next(t).succeed()
	h.await(whole.ID, StateSucceeded)
	d.Wake()
	c = parts.next(t)
	wants(c, nil, nil)
	c.succeed()
	h.await(shownParts(t, h.get(whole.ID))[0].JobID, StateSucceeded)
	if _, err := ParseSubmission(TypeCover, fmt.Appendf(nil, `{"hash":%q,"source":"x","options":{"clip":{"start":3,"end":2}}}`, job.Hash)); err == nil {
		t.Error("a clip that ends before it begins")
	}
	h.eventually("all end", func() bool {
		list, err := h.store.AssetParts(t.Context(), job.Hash)
		return err == nil && len(list) > 2
	})
}
