package worker

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/sealcast/sealcast/internal/webhook"
	"github.com/sealcast/sealcast/pipeline"
)

const (
	noParts   = `"cover":false,"preview":false,"storyboard":false,"text":false`
	justCover = `"preview":false,"storyboard":false,"text":false`
)

// coverOf is the job of the cover that a film's job asked for.
func (h *house) coverOf(film Job) Job {
	h.t.Helper()
	return h.get(shownParts(h.t, h.get(film.ID))[0].JobID)
}

// publishOwnCover publishes the cover that a film's job asked for.
func (h *house) publishOwnCover(film Job) Job {
	h.t.Helper()
	job := h.begin(h.coverOf(film))
	h.publishMade(job, true)
	return job
}

// showsCover wants the current cover of an asset to be a job's, or none.
func (h *house) showsCover(when, hash string, job Job) {
	h.t.Helper()
	want := ""
	if job.ID != "" {
		want = job.Fence().Prefix()
	}
	got, err := h.store.PartObject(h.t.Context(), hash, "poster.jpg")
	if err != nil && !errors.Is(err, ErrPublicationNotFound) {
		h.t.Fatal(err)
	}
	if got != want {
		h.t.Errorf("%s: the cover is %q, want %q", when, got, want)
	}
}

// A cover that is asked for alone is of the clip that is published; one that a
// film of the whole asks for is of the whole. Neither stands for the other, and
// that of the film before does not stand for this one's.
func TestCoverAloneAndOfAWholeFilm(t *testing.T) {
	h := newHouse(t)
	h.store = h.store.WithCallbacks(&webhook.Targets{})
	d, _ := h.dispatcher(nil)
	films, parts := newScript(), newPartScript()
	h.worker(films, func(c *Config) { c.Store, c.Wake, c.Parts = h.store, d.Wake, parts })
	film := func(options string) Job {
		t.Helper()
		job := h.submit(full(1, `,"options":{`+options+`}`))
		d.Wake()
		films.next(t).succeed()
		h.await(job.ID, StateSucceeded)
		d.Wake()
		return job
	}
	alone := func() (Job, bool) {
		t.Helper()
		s, err := ParseSubmission(TypeCover, fmt.Appendf(nil, `{"hash":"%064x","source":"in/1.mp4","callback_url":%q}`, 1, hook))
		if err != nil {
			t.Fatal(err)
		}
		job, created, err := h.store.Submit(t.Context(), s, "")
		if err != nil {
			t.Fatal(err)
		}
		d.Wake()
		return job, created
	}
	made := func(job Job, of *pipeline.Clip) {
		t.Helper()
		c := parts.next(t)
		if own := c.req.Part.(pipeline.Cover).Clip; own != nil || (c.req.Clip == nil) != (of == nil) {
			t.Errorf("made of %v and %v, want %v", own, c.req.Clip, of)
		}
		c.succeed()
		h.await(job.ID, StateSucceeded)
	}
	clip := &pipeline.Clip{Start: 1.5, End: 4}
	film(noParts + `,"transcode":{"clip":{"start":1.5,"end":4}}`)
	first, _ := alone()
	made(first, clip)
	if again, created := alone(); created || again.ID != first.ID {
		t.Error("the same cover of the same film is another job")
	}
	whole := film(justCover)
	of := h.coverOf(whole)
	if of.ID == first.ID {
		t.Fatal("the cover of the clip stands for that of the whole film")
	}
	made(of, nil)
	film(noParts + `,"transcode":{"clip":{"start":2,"end":4}}`)
	second, created := alone()
	if !created {
		t.Fatalf("%s stands for the cover of the second clip; first %s, whole %s", second.ID, first.ID, of.ID)
	}
	made(second, clip)
	film(noParts + `,"transcode":{"clip":{"start":3,"end":4}}`)
	third, created := alone()
	if !created {
		t.Fatal("the cover of the film before stands for that of this one")
	}
	made(third, clip)
	h.invariants()
}

// Two films of a title of which nothing is published have their parts made beside
// them; each film comes with its own, and one that fails leaves the other's.
func TestPartsComeWithTheirFilm(t *testing.T) {
	h := newHouse(t)
	h.store = h.store.WithCallbacks(&webhook.Targets{})
	one := h.submit(full(1, `,"options":{`+justCover+`,"transcode":{"clip":{"start":1}}}`))
	two := h.submit(full(1, `,"options":{`+justCover+`,"transcode":{"clip":{"start":2}}}`))
	three := h.submit(full(1, `,"options":{`+justCover+`,"transcode":{"clip":{"start":3}}}`))
	late := h.coverOf(two)
	first := h.publishOwnCover(one)
	third := h.publishOwnCover(three)
	h.showsCover("nothing is published", one.Hash, Job{})
	if got := h.get(late.ID); got.State != StateQueued {
		t.Errorf("the cover of a film that waits is %s", got.State)
	}
	var listed []shownPart
	if doc, err := h.store.AssetParts(t.Context(), one.Hash); err != nil || json.Unmarshal(doc, &listed) != nil ||
		len(listed) != 1 || listed[0].JobID != third.ID || listed[0].State != "ready" || listed[0].Results == nil {
		t.Errorf("listed are %s, %v; want the cover that waits", doc, err)
	}
	publish := func(job Job) {
		t.Helper()
		_, req := h.claim(h.get(job.ID))
		if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
			t.Fatal(err)
		}
	}
	publish(one)
	h.showsCover("the first film", one.Hash, first)
	second := h.publishOwnCover(two)
	h.showsCover("the second film's cover is made", one.Hash, first)
	publish(two)
	h.showsCover("the second film", one.Hash, second)
	if err := h.store.Fail(t.Context(), h.begin(three).Fence(), "x", "x"); err != nil {
		t.Fatal(err)
	}
	h.showsCover("the third film failed", one.Hash, second)

	// When it comes at last, its cover has been collected: it is made again.
	h.exec(`UPDATE asset_parts SET replaced_at = now() - interval '31 days' WHERE job_id = $1`, third.ID)
	if gone, err := h.store.retire(t.Context(), third.Fence().Prefix()); err != nil || !gone {
		t.Fatal(gone, err)
	}
	if _, err := h.store.Retry(t.Context(), three.ID, tester); err != nil {
		t.Fatal(err)
	}
	publish(three)
	if again := h.coverOf(three); again.ID == third.ID || again.State != StateQueued {
		t.Errorf("its cover's job is %s, %s", again.ID, again.State)
	}
	anew := h.publishOwnCover(three)
	h.showsCover("the third film", one.Hash, anew)
	h.invariants()
}

// A cover that a client asks for while the film is made is not replaced by the
// film's own, which was asked for earlier; one of a film that has given way to
// another of the same clip is shown when somebody wants it again.
func TestNewestWishOutlivesTheFilm(t *testing.T) {
	h := newHouse(t)
	h.store = h.store.WithCallbacks(&webhook.Targets{})
	film := h.submit(full(1, `,"options":{`+justCover+`}`))
	h.publishOwnCover(film)
	wish := h.begin(h.coverAt(1, 7))
	h.publishCover(wish)
	_, req := h.claim(film)
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	h.showsCover("the film", film.Hash, wish)

	other := h.submit(full(2, `,"options":{`+justCover+`}`))
	cover := h.begin(h.coverOf(other))
	if err := h.store.Fail(t.Context(), cover.Fence(), "x", "x"); err != nil {
		t.Fatal(err)
	}
	for _, job := range []Job{other, h.submit(full(2, `,"options":{`+noParts+`,"transcode":{"outputs":["ts"]}}`))} {
		_, req := h.claim(job)
		if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.store.RetryPart(t.Context(), other.Hash, "cover", "", tester); err != nil {
		t.Fatal(err)
	}
	again := h.publishOwnCover(other)
	h.showsCover("another film of the same clip", other.Hash, again)
	h.invariants()
}
