package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/texttrack"
	"github.com/sealcast/sealcast/internal/webhook"
	"github.com/sealcast/sealcast/pipeline"
)

// What is made of a film is made of the one that is published: another film has
// its own, also when the first is still at work, and asking again is no old job.
func TestPartsAreOfThePublishedFilm(t *testing.T) {
	h := newHouse(t)
	h.store = h.store.WithCallbacks(&webhook.Targets{})
	d, _ := h.dispatcher(nil)
	films, parts := newScript(), newPartScript()
	h.worker(films, func(c *Config) { c.Store, c.Wake, c.Parts = h.store, d.Wake, parts })
	const tracks = `"cover":false,"preview":false,"storyboard":false,"text":false,"text_tracks":[{"language":"en","source":"en.srt"}]`
	publish := func(options string) (film string, part Job) {
		t.Helper()
		job := h.submit(full(1, `,"options":{`+tracks+options+`}`))
		d.Wake()
		films.next(t).succeed()
		h.await(job.ID, StateSucceeded)
		d.Wake()
		entry, err := h.store.Entry(t.Context(), job.Hash)
		if err != nil {
			t.Fatal(err)
		}
		return entry.Prefix, h.get(shownParts(t, h.get(job.ID))[0].JobID)
	}
	one, first := publish("")
	c := parts.next(t)
	if c.req.Film.Prefix != one {
		t.Errorf("made of %q, published is %q", c.req.Film.Prefix, one)
	}
	c.succeedText()
	h.await(first.ID, StateSucceeded)

	two, second := publish(`,"transcode":{"clip":{"start":1}}`)
	if second.ID == first.ID {
		t.Fatal("the second film has the first one's text")
	}
	c = parts.next(t)
	if c.req.Film.Prefix != two {
		t.Errorf("made of %q, published is %q", c.req.Film.Prefix, two)
	}
	// A third one comes while the text of the second is made.
	three, third := publish(`,"transcode":{"clip":{"start":2}}`)
	c.succeedText()
	c = parts.next(t)
	if c.req.Film.Prefix != three {
		t.Errorf("made of %q, published is %q", c.req.Film.Prefix, three)
	}
	c.succeedText()
	if done := h.await(third.ID, StateSucceeded); done.Failures != 0 {
		t.Errorf("%d failures", done.Failures)
	}

	put := func() Job {
		t.Helper()
		s, err := TextSubmission(first.Hash, "in/1.mp4", texttrack.Track{Language: "de"}, "WEBVTT\n\n00:01.000 --> 00:02.000\nx\n")
		if err != nil {
			t.Fatal(err)
		}
		job, _, err := h.store.Submit(t.Context(), s, "")
		if err != nil {
			t.Fatal(err)
		}
		return job
	}
	german := put()
	d.Wake()
	parts.next(t).succeedText()
	h.await(german.ID, StateSucceeded)
	if again := put(); again.ID != german.ID {
		t.Error("the same text of the same film is another job")
	}
	publish(`,"transcode":{"clip":{"start":3}}`)
	parts.next(t).succeedText()
	if again := put(); again.ID == german.ID {
		t.Error("the job of the film before stands for the text of this one")
	}
	h.invariants()
}

// cover asks for a cover of asset n at a time and, with claim, begins it.
func (h *house) coverAt(n, seconds int) Job {
	h.t.Helper()
	s, err := ParseSubmission(TypeCover, fmt.Appendf(nil, `{"hash":"%064x","source":"in/%d.mp4","options":{"time":%d}}`, n, n, seconds))
	if err != nil {
		h.t.Fatal(err)
	}
	job, _, err := h.store.Submit(h.t.Context(), s, "")
	if err != nil {
		h.t.Fatal(err)
	}
	return job
}

func (h *house) begin(job Job) Job {
	h.t.Helper()
	job = h.get(job.ID)
	job, err := h.store.Claim(h.t.Context(), job.ID, job.DispatchSeq, "w", time.Minute)
	if err != nil {
		h.t.Fatal(err)
	}
	return job
}

func (h *house) publishCover(job Job) { h.t.Helper(); h.publishMade(job, false) }

func (h *house) publishMade(job Job, ofFilm bool) {
	h.t.Helper()
	err := h.store.PublishPart(h.t.Context(), PublishPart{
		Fence: job.Fence(), Hash: job.Hash, Kind: "cover", Facts: pipeline.Facts{}, Results: json.RawMessage(`{}`), OfFilm: ofFilm,
		Objects: []pipeline.Object{{Name: "poster.jpg"}},
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// A making that was asked for earlier does not take the place of a newer one,
// however late it ends; what was asked for again last is the newest.
func TestOlderMakingIsSuperseded(t *testing.T) {
	h := newHouse(t)
	older, newer := h.coverAt(1, 1), h.coverAt(1, 2)
	if err := h.store.Requeue(t.Context(), h.begin(older).Fence(), Release{Failure: true, Code: "x", Message: "x"}); err != nil {
		t.Fatal(err)
	}
	newest := h.coverAt(1, 3)
	h.publishCover(h.begin(newer))
	if got := h.get(older.ID); got.State != StateCancelled || got.ErrorCode != "superseded" || got.ErrorMessage == "" {
		t.Errorf("the older making is %s %q", got.State, got.ErrorCode)
	}
	if got := h.get(newest.ID); got.State != StateQueued {
		t.Errorf("the newest is %s", got.State)
	}
	again := h.coverAt(1, 4)
	if _, err := h.store.Retry(t.Context(), older.ID, tester); err != nil { // now it is the newest wish
		t.Fatal(err)
	}
	if same := h.coverAt(1, 4); same.ID != again.ID {
		t.Error("the same request is another job")
	}
	h.publishCover(h.begin(older))
	for id, want := range map[string]State{newest.ID: StateCancelled, again.ID: StateQueued} {
		if got := h.get(id); got.State != want {
			t.Errorf("%s is %s, want %s", id, got.State, want)
		}
	}
	other := h.coverAt(2, 1)
	h.publishCover(h.begin(again))
	if got := h.get(other.ID); got.State != StateQueued {
		t.Errorf("another asset's cover is %s", got.State)
	}
	h.invariants()
}

// The part that is shown and tried again is the one that was asked for last,
// not the one whose job is the youngest.
func TestNewestWishStandsForThePart(t *testing.T) {
	h := newHouse(t)
	older, newer := h.coverAt(1, 1), h.coverAt(1, 2)
	h.coverAt(1, 1)
	for _, job := range []Job{newer, older} {
		if err := h.store.Fail(t.Context(), h.begin(job).Fence(), "x", "x"); err != nil {
			t.Fatal(err)
		}
	}
	var listed []shownPart
	if doc, err := h.store.AssetParts(t.Context(), older.Hash); err != nil || json.Unmarshal(doc, &listed) != nil || len(listed) != 1 || listed[0].JobID != older.ID {
		t.Errorf("listed %s, %v; want %s", doc, err, older.ID)
	}
	if job, err := h.store.RetryPart(t.Context(), older.Hash, "cover", "", tester); err != nil || job.ID != older.ID {
		t.Errorf("tried %s again, %v; want %s", job.ID, err, older.ID)
	}
}

// track asks for the German text of asset 1 under a name.
func (h *house) track(name string) Job {
	h.t.Helper()
	s, err := TextSubmission(fmt.Sprintf("%064x", 1), "in/1.mp4", texttrack.Track{Language: "de", Name: name}, "WEBVTT\n")
	if err != nil {
		h.t.Fatal(err)
	}
	return h.submit(s)
}

// What is taken off does not come back from a job that waits or runs.
func TestRemovedTrackIsNotMade(t *testing.T) {
	h := newHouse(t)
	running, queued := h.track("a"), h.track("b")
	h.begin(running)
	if gone, err := h.store.RemoveTrack(t.Context(), running.Hash, "de", tester); err != nil || !gone {
		t.Fatal(gone, err)
	}
	for _, job := range []Job{running, queued} {
		if got := h.get(job.ID); got.State != StateCancelled {
			t.Errorf("%s is %s", got.ID, got.State)
		}
	}
	if gone, err := h.store.RemoveTrack(t.Context(), running.Hash, "de", tester); err != nil || gone {
		t.Error(gone, err)
	}
}

// A removal that has an older job of the track and waits for the one that is
// being published, which waits for the older one: Postgres ends the removal,
// as a rule, and it is made anew, after the publication.
func TestRemovalGivesWayToAPublication(t *testing.T) {
	h := newHouse(t)
	job, older := h.track("a"), h.track("b")
	again, err := TextSubmission(job.Hash, job.Source, texttrack.Track{Language: "de", Name: "a"}, "WEBVTT\n")
	if err != nil {
		t.Fatal(err)
	}
	if same, created, err := h.store.Submit(t.Context(), again, ""); err != nil || created || same.ID != job.ID {
		t.Fatal(same.ID, created, err)
	}
	job = h.begin(job)
	tx, err := h.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	if err := holdFence(t.Context(), tx, job.Fence(), job.Hash, false); err != nil {
		t.Fatal(err)
	}
	removed := make(chan error, 1)
	go func() {
		gone, err := h.store.RemoveTrack(t.Context(), job.Hash, "de", tester)
		if err == nil && !gone {
			err = errors.New("there was nothing to remove")
		}
		removed <- err
	}()
	h.eventually("the removal waits for the job", func() bool {
		return count(h, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`) == 1
	})
	err = publishPart(t.Context(), tx, PublishPart{
		Fence: job.Fence(), Hash: job.Hash, Kind: pipeline.TextKind, Name: "de", Facts: pipeline.Facts{}, Results: json.RawMessage(`{}`),
	})
	if err == nil {
		err = tx.Commit(t.Context())
	}
	end := StateSucceeded
	if gaveWay(err) { // Postgres looks for a deadlock a second after a wait has begun, so it may be the other one that it ends
		_ = tx.Rollback(t.Context())
		end = StateCancelled
	} else if err != nil {
		t.Errorf("the publication: %v", err)
	}
	if err := <-removed; err != nil {
		t.Errorf("the removal: %v", err)
	}
	if n := count(h, `SELECT count(*) FROM asset_parts WHERE replaced_at IS NULL`); n != 0 {
		t.Error("the track is there")
	}
	for id, want := range map[string]State{older.ID: StateCancelled, job.ID: end} {
		if got := h.get(id); got.State != want {
			t.Errorf("%s is %s, want %s", id, got.State, want)
		}
	}
}

// A part waits for the one that runs, as films do.
func TestBusyPartIsRungAgainLater(t *testing.T) {
	h := newHouse(t)
	a, b := h.coverAt(1, 1), h.coverAt(1, 2)
	h.begin(a)
	if _, err := h.store.Claim(t.Context(), b.ID, 1, "w", time.Minute); !errors.Is(err, ErrAssetBusy) {
		t.Fatal(err)
	}
	if got := h.get(b.ID); got.State != StateQueued || got.DispatchSeq != 2 {
		t.Errorf("waiting job: %s, doorbell %d", got.State, got.DispatchSeq)
	}
}

// A part that two jobs have asked for ends with the last of them; one that a
// client asked for stays.
func TestCancelLeavesPartsOfOthers(t *testing.T) {
	h := newHouse(t)
	h.store = h.store.WithCallbacks(&webhook.Targets{})
	const parts = `"preview":false,"storyboard":false,"text":false`
	one := h.submit(full(1, `,"options":{`+parts+`}`))
	two := h.submit(full(1, `,"options":{`+parts+`,"transcode":{"outputs":["ts"]}}`))
	part := shownParts(t, h.get(one.ID))[0].JobID
	if other := shownParts(t, h.get(two.ID))[0].JobID; other != part {
		t.Fatalf("two jobs for one part: %s, %s", part, other)
	}
	for i, step := range []struct {
		job  Job
		want State
	}{{one, StateQueued}, {two, StateCancelled}} {
		if _, _, err := h.store.Cancel(t.Context(), step.job.ID, tester); err != nil {
			t.Fatal(err)
		}
		if got := h.get(part); got.State != step.want {
			t.Errorf("%d: the part is %s, want %s", i, got.State, step.want)
		}
	}
}

// A part that waits for its film ends with the film's job, and waits again when
// that is tried again.
func TestLatePartsEndWithTheirFilm(t *testing.T) {
	h := newHouse(t)
	h.store = h.store.WithCallbacks(&webhook.Targets{})
	late := `,"options":{"cover":false,"preview":false,"storyboard":false}`
	state := func(id string) shownPart {
		t.Helper()
		return shownParts(t, h.get(id))[0]
	}
	failed := h.submit(full(1, late))
	if err := h.store.Fail(t.Context(), h.begin(failed).Fence(), "source_empty", "The source is empty."); err != nil {
		t.Fatal(err)
	}
	if p := state(failed.ID); p.State != "failed" || p.Error == nil || p.Error.Code != "source_empty" {
		t.Errorf("part %+v", p)
	}
	var last struct{ Data struct{ Parts []shownPart } }
	var payload string
	if err := h.pool.QueryRow(t.Context(), `SELECT payload FROM webhook_deliveries WHERE job_id = $1 AND type = 'job.failed'`, failed.ID).Scan(&payload); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(payload), &last); err != nil || len(last.Data.Parts) != 1 || last.Data.Parts[0].State != "failed" {
		t.Errorf("the last webhook: %s, %v", payload, err)
	}
	if _, err := h.store.Retry(t.Context(), failed.ID, tester); err != nil {
		t.Fatal(err)
	}
	if p := state(failed.ID); p.State != "pending" || p.Error != nil {
		t.Errorf("part %+v", p)
	}
	if _, _, err := h.store.Cancel(t.Context(), failed.ID, tester); err != nil {
		t.Fatal(err)
	}
	if p := state(failed.ID); p.State != "cancelled" || p.Error != nil {
		t.Errorf("part %+v", p)
	}
}

// Only what may come of copied pictures makes the next attempts encode all, and
// they say why.
func TestFailuresOfACopyEncodeAll(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	films := newScript()
	h.worker(films, func(c *Config) { c.Wake = d.Wake })
	job := h.submit(request(1, ""))
	d.Wake()
	var told []bool
	for _, code := range []string{pipeline.CodeStoreUnavailable, pipeline.CodeVerifyFailed} {
		c := films.next(t)
		told = append(told, c.req.NotCopied != "")
		c.fail(&pipeline.Error{Code: code, Message: "x"})
	}
	c := films.next(t)
	told = append(told, c.req.NotCopied != "")
	if want := []bool{false, false, true}; !slices.Equal(told, want) || c.req.Options.Passthrough == pipeline.PassthroughOff {
		t.Errorf("told %v, want %v; %+v", told, want, c.req.Options)
	}
	c.fail(errPermanent)
	h.await(job.ID, StateFailed)
	if _, err := h.store.Retry(t.Context(), job.ID, tester); err != nil {
		t.Fatal(err)
	}
	d.Wake()
	if c = films.next(t); c.req.NotCopied != "" {
		t.Error("a retry by hand begins anew")
	}
	c.succeed()
	h.await(job.ID, StateSucceeded)
}
