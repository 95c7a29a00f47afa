package worker

import (
	"errors"
	"testing"
	"time"

	"github.com/sealcast/sealcast/pipeline"
)

func TestTransientErrorIsRetried(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake = d.Wake })
	job := h.submit(request(1, ""))
	first := p.next(t)
	first.fail(errTransient)
	second := p.next(t)
	if first.req.Prefix == second.req.Prefix || first.req.Keys["cmaf"].KID == second.req.Keys["cmaf"].KID {
		t.Error("two attempts share a prefix or a key")
	}
	if got := h.get(job.ID); got.Attempt != 2 || got.Failures != 1 || got.ErrorCode != "" {
		t.Errorf("second attempt: %+v", got)
	}
	second.succeed()
	h.await(job.ID, StateSucceeded)
	h.invariants()
}

func TestAttemptsAreUsedUp(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake = d.Wake })
	job := h.submit(request(1, ""))
	for range 3 {
		c := p.next(t)
		c.req.Progress(pipeline.Progress{Stage: pipeline.StagePack, Percent: 50, ETA: -1})
		h.eventually("the stage is seen", func() bool { return h.get(job.ID).Stage == "pack" })
		c.fail(errTransient)
	}
	got := h.await(job.ID, StateFailed)
	wantError(t, got, "store_unavailable")
	if got.Attempt != 3 || got.Stage != "pack" {
		t.Errorf("%+v", got)
	}
	h.invariants()
}

func TestOutOfMemoryGetsOneLightAttempt(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake, c.ProgressEvery, c.MaxAttempts = d.Wake, time.Hour, 2 })
	job := h.submit(request(1, ""))
	hungry := &pipeline.Error{Code: pipeline.CodeOutOfMemory, Message: "Hungry.", Err: errors.New("secret host")}
	first := p.next(t)
	first.fail(hungry)
	second := p.next(t)
	if first.req.Light || !second.req.Light {
		t.Errorf("light: %v, then %v", first.req.Light, second.req.Light)
	}
	for _, stage := range []pipeline.Stage{pipeline.StageProbe, pipeline.StageEncode, pipeline.StagePack} {
		second.req.Progress(pipeline.Progress{Stage: stage, Percent: 40, ETA: -1})
		if stage == pipeline.StageProbe {
			h.eventually("the first stage is written", func() bool { return h.get(job.ID).Stage == "probe" })
		}
	}
	second.fail(hungry)
	got := h.await(job.ID, StateFailed)
	wantError(t, got, "out_of_memory")
	if got.Attempt != 2 || got.Stage != "pack" {
		t.Errorf("%+v", got)
	}
	// A retry from outside starts with what the first attempt had.
	if again, err := h.store.Retry(t.Context(), job.ID, tester); err != nil || again.Light {
		t.Errorf("%+v, %v", again, err)
	}
	h.invariants()
}

func TestPermanentErrorAndPanic(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake, c.MaxAttempts = d.Wake, 1 })
	job := h.submit(request(1, ""))
	p.next(t).fail(errPermanent)
	got := h.await(job.ID, StateFailed)
	wantError(t, got, "source_empty")
	if got.Attempt != 1 {
		t.Errorf("%d attempts", got.Attempt)
	}
	job = h.submit(request(2, ""))
	c := p.next(t)
	c.end <- func() (*pipeline.Presentation, error) { panic("secret") }
	wantError(t, h.await(job.ID, StateFailed), "internal_error")
	h.invariants()
}
