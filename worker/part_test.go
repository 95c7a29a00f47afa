package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/internal/webhook"
	"github.com/sealcast/sealcast/pipeline"
)

// partScript is a PartMaker whose runs the test conducts.
type partScript struct {
	stage[pipeline.PartRequest, pipeline.MadePart]
}

type partCall struct {
	*run[pipeline.PartRequest, pipeline.MadePart]
}

func newPartScript() *partScript {
	return &partScript{newStage[pipeline.PartRequest, pipeline.MadePart]()}
}

func (s *partScript) MakePart(ctx context.Context, req pipeline.PartRequest) (*pipeline.MadePart, error) {
	return s.perform(ctx, req)
}

func (s *partScript) next(t *testing.T) *partCall { t.Helper(); return &partCall{s.begun(t)} }

func (c *partCall) succeed() {
	c.end <- func() (*pipeline.MadePart, error) {
		return &pipeline.MadePart{
			Facts: pipeline.Facts{"poster": "poster.jpg"}, Duration: time.Second, SourceBytes: 10, SourceETag: "etag", SourceVerified: true,
			Bytes: 5, Objects: []pipeline.Object{{Name: "poster.jpg", Size: 5, SHA256: [32]byte{7}, ContentType: "image/jpeg"}},
		}, nil
	}
}

// shownPart is a part as GET shows it.
type shownPart struct {
	Kind, Name, State string
	JobID             string `json:"job_id"`
	Error             *struct{ Code string }
	Results           map[string]any
}

func shownParts(t *testing.T, job Job) (out []shownPart) {
	t.Helper()
	if err := json.Unmarshal(job.Parts, &out); err != nil {
		t.Fatalf("parts %s: %v", job.Parts, err)
	}
	return out
}

// full is a request for a film and the named parts.
func full(n int, more string) Submission {
	s, err := ParseSubmission(TypeFull, fmt.Appendf(nil, `{"hash":"%064x","source":"in/%d.mp4","callback_url":%q%s}`, n, n, hook, more))
	if err != nil {
		panic(err)
	}
	return s
}

// A failed part does not fail its film, is told, and is made again alone; its
// publication is a pointer swap that leaves the film as it is.
func TestPartFailsAlone(t *testing.T) {
	h := newHouse(t)
	h.store = h.store.WithCallbacks(&webhook.Targets{})
	d, _ := h.dispatcher(nil)
	films, parts := newScript(), newPartScript()
	h.worker(films, func(c *Config) { c.Store, c.Wake, c.Parts = h.store, d.Wake, parts })
	sub := full(1, coverOnly+`,"metadata":{"z":1,"a":"ü"}`)
	job := h.submit(sub)
	d.Wake()
	if got := shownParts(t, h.get(job.ID)); len(got) != 1 || got[0].Kind != "cover" || got[0].JobID == "" {
		t.Fatalf("parts %+v", got)
	}
	partJob := shownParts(t, h.get(job.ID))[0].JobID

	c := parts.next(t)
	if c.req.Hash != job.Hash || c.req.SourceKey != job.Source || c.req.Nice != partNice || c.req.Prefix == job.Fence().Prefix() {
		t.Errorf("request %+v", c.req)
	}
	if known, err := c.req.Verified(t.Context(), "etag"); known || err != nil {
		t.Errorf("nobody has looked at the source: %v, %v", known, err)
	}
	h.eventually("the part runs", func() bool { return shownParts(t, h.get(job.ID))[0].State == "running" })
	c.fail(errPermanent)
	h.await(partJob, StateFailed)
	film := films.next(t)
	film.succeed()
	done := h.await(job.ID, StateSucceeded)
	if p := shownParts(t, done)[0]; p.State != "failed" || p.Error == nil || p.Error.Code != "source_empty" {
		t.Errorf("part %+v", p)
	}
	wantEvents(t, h.events(job.ID), "job.started", "job.completed")
	wantEvents(t, h.events(partJob), "job.failed")
	if string(done.Metadata) != `{"a":"ü","z":1}` || string(h.get(partJob).Metadata) != string(done.Metadata) {
		t.Errorf("metadata %s, %s", done.Metadata, h.get(partJob).Metadata)
	}

	// Again, alone.
	if _, err := h.store.RetryPart(t.Context(), job.Hash, "cover", "", tester); err != nil {
		t.Fatal(err)
	}
	d.Wake()
	c = parts.next(t)
	if known, err := c.req.Verified(t.Context(), "etag"); known || err != nil {
		t.Errorf("verified by a film without an ETag: %v, %v", known, err)
	}
	c.succeed()
	h.await(partJob, StateSucceeded)
	if p := shownParts(t, h.get(job.ID))[0]; p.State != "ready" || p.Error != nil || p.Results["poster"] != "poster.jpg" {
		t.Errorf("part %+v", p)
	}
	wantEvents(t, h.events(partJob), "job.failed", "job.completed")
	entry, err := h.store.Entry(t.Context(), job.Hash)
	if err != nil || entry.Generation != 1 || len(entry.Parts) != 1 || entry.Parts[0].Kind != "cover" {
		t.Fatalf("entry %+v, %v", entry, err)
	}
	prefix, err := h.store.PartObject(t.Context(), job.Hash, "poster.jpg")
	if err != nil || prefix != entry.Parts[0].Prefix {
		t.Errorf("prefix %q, %v", prefix, err)
	}
	o, err := h.store.Object(t.Context(), job.Hash, prefix, "poster.jpg")
	if err != nil || o.Kind != "cover" || o.Size != 5 || !o.Encrypted {
		t.Errorf("object %+v, %v", o, err)
	}
	var listed []shownPart
	if doc, err := h.store.AssetParts(t.Context(), job.Hash); err != nil || json.Unmarshal(doc, &listed) != nil ||
		len(listed) != 1 || listed[0].State != "ready" || listed[0].JobID != partJob || listed[0].Results["poster"] != "poster.jpg" {
		t.Errorf("listed %s, %v", doc, err)
	}
	if _, err := h.store.RetryPart(t.Context(), job.Hash, "cover", "", tester); !errors.Is(err, ErrNotRetryable) {
		t.Errorf("retry of a part that is ready: %v", err)
	}
	if _, err := h.store.RetryPart(t.Context(), job.Hash, "preview", "", tester); !errors.Is(err, ErrJobNotFound) {
		t.Errorf("retry of a part that nobody asked for: %v", err)
	}

	// The same request is the same jobs; another cover takes the place of the first.
	again, created, err := h.store.Submit(t.Context(), sub, "")
	if err != nil || created || again.ID != job.ID {
		t.Errorf("again: %s %v %v", again.ID, created, err)
	}
	other, err := ParseSubmission(TypeCover, fmt.Appendf(nil, `{"hash":%q,"source":"in/1.mp4","options":{"time":3}}`, job.Hash))
	if err != nil {
		t.Fatal(err)
	}
	second := h.submit(other)
	d.Wake()
	c = parts.next(t)
	if cover, ok := c.req.Part.(pipeline.Cover); !ok || cover.Time == nil || *cover.Time != 3 {
		t.Errorf("part %+v", c.req.Part)
	}
	if known, err := c.req.Verified(t.Context(), "etag"); !known || err != nil {
		t.Errorf("the source was verified: %v, %v", known, err)
	}
	c.succeed()
	h.await(second.ID, StateSucceeded)
	if now, err := h.store.PartObject(t.Context(), job.Hash, "poster.jpg"); err != nil || now == prefix {
		t.Errorf("prefix %q, %v", now, err)
	}
	if _, err := h.store.Object(t.Context(), job.Hash, prefix, "poster.jpg"); err != nil {
		t.Errorf("the part before: %v", err)
	}
	h.invariants()
}

const coverOnly = `,"options":{"preview":false,"storyboard":false,"text":false}`

// Cancelling a film cancels its parts, and trying it again makes both again.
func TestPartsAreCancelledAndRetried(t *testing.T) {
	h := newHouse(t)
	h.store = h.store.WithCallbacks(&webhook.Targets{})
	d, _ := h.dispatcher(nil)
	films, parts := newScript(), newPartScript()
	h.worker(films, func(c *Config) { c.Store, c.Wake, c.Parts = h.store, d.Wake, parts })
	job := h.submit(full(1, coverOnly))
	d.Wake()
	c := parts.next(t)
	films.next(t)
	if _, _, err := h.store.Cancel(t.Context(), job.ID, tester); err != nil {
		t.Fatal(err)
	}
	<-c.ctx.Done()
	part := shownParts(t, h.get(job.ID))[0]
	if part.State != "cancelled" {
		t.Errorf("part %+v", part)
	}
	if _, err := h.store.Retry(t.Context(), job.ID, tester); err != nil {
		t.Fatal(err)
	}
	d.Wake()
	parts.next(t).succeed()
	h.await(part.JobID, StateSucceeded)
	films.next(t).succeed()
	done := h.await(job.ID, StateSucceeded)
	var results struct{ Poster string }
	if err := json.Unmarshal(done.Results, &results); err != nil || results.Poster != "https://v.example/stream/"+job.Hash+"/poster.jpg" {
		t.Errorf("results %s, %v", done.Results, err)
	}
	h.invariants()
}

// Without its film nothing of a part is served; deleting the asset takes it off
// and ends it.
func TestPartsAreDeleted(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	parts := newPartScript()
	h.worker(newScript(), func(c *Config) { c.Wake, c.Parts = d.Wake, parts })
	cover := func(options string) Job {
		s, err := ParseSubmission(TypeCover, fmt.Appendf(nil, `{"hash":"%064x","source":"in/1.mp4","options":%s}`, 1, options))
		if err != nil {
			t.Fatal(err)
		}
		job := h.submit(s)
		d.Wake()
		return job
	}
	first := cover(`{}`)
	parts.next(t).succeed()
	h.await(first.ID, StateSucceeded)
	if _, err := h.store.PartObject(t.Context(), first.Hash, "poster.jpg"); !errors.Is(err, ErrPublicationNotFound) {
		t.Errorf("served without a film: %v", err)
	}
	second := cover(`{"time":1}`)
	c := parts.next(t)
	inUse, err := h.store.prefixesInUse(t.Context(), first.Hash)
	if err != nil || !inUse[first.prefix()] || !inUse[c.req.Prefix] {
		t.Errorf("in use %v, %v", inUse, err)
	}
	deleted, err := h.store.DeleteAsset(t.Context(), first.Hash, Origin{Actor: "test"}, h.keys)
	if err != nil || deleted.Parts != 1 || deleted.Generations != 0 || deleted.RequestedAt == nil {
		t.Errorf("%+v, %v", deleted, err)
	}
	if diff := cmp.Diff([]string{second.ID}, deleted.Cancelled); diff != "" {
		t.Error(diff)
	}
	<-c.ctx.Done()
	if inUse, err = h.store.prefixesInUse(t.Context(), first.Hash); err != nil || len(inUse) != 0 {
		t.Errorf("in use %v, %v", inUse, err)
	}
	third := cover(`{}`)
	if third.ID == first.ID {
		t.Error("the job of a deleted part stands for a new request")
	}
	parts.next(t).succeed()
	h.await(third.ID, StateSucceeded)
	h.invariants()
}

// prefix is that of a job's first attempt.
func (j Job) prefix() string { return Fence{j.ID, 1}.Prefix() }

// The collector keeps a current part, keeps a replaced one for a while, and
// removes the leavings of failed attempts.
func TestPartsAreCollected(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	parts := newPartScript()
	h.worker(newScript(), func(c *Config) { c.Wake, c.Parts = d.Wake, parts })
	var jobs []Job
	for i, end := range []func(*partCall){(*partCall).succeed, (*partCall).succeed, func(c *partCall) { c.fail(errPermanent) }} {
		s, err := ParseSubmission(TypeCover, fmt.Appendf(nil, `{"hash":"%064x","source":"x","options":{"time":%d}}`, 1, i))
		if err != nil {
			t.Fatal(err)
		}
		job := h.submit(s)
		d.Wake()
		end(parts.next(t))
		h.eventually("it ends", func() bool { return h.get(job.ID).State.Final() })
		jobs = append(jobs, job)
	}
	h.exec(`UPDATE jobs SET finished_at = now() - interval '2 hours'`)
	folders := map[string][]string{jobs[0].Hash: {jobs[0].prefix(), jobs[1].prefix(), jobs[2].prefix()}}
	want := func(first string) {
		t.Helper()
		fates, err := h.store.fates(t.Context(), folders, time.Hour, 24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]string{jobs[0].prefix(): first, jobs[1].prefix(): fateKept, jobs[2].prefix(): WhyDead}, fates); diff != "" {
			t.Error(diff)
		}
	}
	want(fateKept)
	h.exec(`UPDATE asset_parts SET replaced_at = now() - interval '25 hours' WHERE replaced_at IS NOT NULL`)
	want(WhyRetired)
	for prefix, gone := range map[string]bool{jobs[0].prefix(): true, jobs[1].prefix(): false, jobs[2].prefix(): false} {
		if got, err := h.store.retire(t.Context(), prefix); err != nil || got != gone {
			t.Errorf("%s: retired %v, %v", prefix, got, err)
		}
	}
	h.invariants()
}

// An old attempt publishes no part.
func TestPartIsFenced(t *testing.T) {
	h := newHouse(t)
	s, err := ParseSubmission(TypeCover, fmt.Appendf(nil, `{"hash":"%064x","source":"x"}`, 1))
	if err != nil {
		t.Fatal(err)
	}
	job := h.submit(s)
	job, err = h.store.Claim(t.Context(), job.ID, job.DispatchSeq, "w", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.store.Requeue(t.Context(), job.Fence(), Release{}); err != nil {
		t.Fatal(err)
	}
	err = h.store.PublishPart(t.Context(), PublishPart{
		Fence: job.Fence(), Hash: job.Hash, Kind: "cover", Facts: pipeline.Facts{}, Results: json.RawMessage(`{}`),
		Objects: []pipeline.Object{{Name: "poster.jpg"}},
	})
	if !errors.Is(err, ErrFenced) {
		t.Errorf("%v", err)
	}
	h.invariants()
}

func TestParseParts(t *testing.T) {
	parse := func(options string) (Submission, error) {
		return ParseSubmission(TypeFull, fmt.Appendf(nil, `{"hash":"%064x","source":"x","options":%s}`, 1, options))
	}
	plain, err := parse(`{}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, same := range []string{`{"transcode":{}}`, `{"cover":true}`, `{"cover":{}}`, `{"preview":true,"storyboard":{}}`} {
		if s, err := parse(same); err != nil || s.Digest != plain.Digest {
			t.Errorf("%s is another request: %v", same, err)
		}
	}
	for _, other := range []string{`{"cover":false}`, `{"cover":{"time":0}}`, `{"preview":{"format":"gif"}}`, `{"storyboard":{"interval":2}}`, `{"storyboard":false}`} {
		s, err := parse(other)
		if err != nil || s.Digest == plain.Digest {
			t.Errorf("%s is the same request: %v", other, err)
		}
		if back, err := ParseSubmission(TypeFull, s.Payload()); err != nil || back.Digest != s.Digest {
			t.Errorf("%s: its payload %s is another request: %v", other, s.Payload(), err)
		}
	}
	for bad, names := range map[string]string{
		`{"cover":null}`:                  `"options.cover"`,
		`{"cover":1}`:                     `"options.cover"`,
		`{"cover":{"time":-1}}`:           "options.cover.time",
		`{"cover":{"x":1}}`:               `"options.cover.x"`,
		`{"preview":{"fps":99}}`:          "options.preview.fps",
		`{"preview":{"length":"3"}}`:      `"options.preview.length"`,
		`{"preview":{"format":"avi"}}`:    "options.preview.format",
		`{"storyboard":{"interval":0.1}}`: "options.storyboard.interval",
		`{"storyboard":{"width":9999}}`:   "options.storyboard.width",
	} {
		if _, err := parse(bad); err == nil || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
