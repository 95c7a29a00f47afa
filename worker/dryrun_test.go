package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/pipeline"
)

// planner plans the same each time.
type planner struct{ seen chan pipeline.Request }

func (p planner) DryRun(_ context.Context, req pipeline.Request) (*pipeline.DryRun, error) {
	p.seen <- req
	return &pipeline.DryRun{
		Source: pipeline.SourceFacts{Bytes: 1000, DurationSeconds: 10}, Outputs: req.Options.Outputs, Work: 100, Kept: 100,
		Bounds: pipeline.ForecastBytes{Video: 1000, Audio: 100}, Seconds: 4,
	}, nil
}

func dryRun(n int, options string) Submission {
	s, err := ParseSubmission(TypeFull, fmt.Appendf(nil, `{"hash":"%064x","source":"in/%d.mp4","dry_run":true,"private":true,"options":%s}`, n, n, options))
	if err != nil {
		panic(err)
	}
	return s
}

// A dry run is a job whose result is the plan: it publishes nothing, asks for no
// part, closes nothing, and is made anew each time. Its estimate follows what
// films before took.
func TestDryRunJob(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	films, plans := newScript(), planner{make(chan pipeline.Request, 10)}
	h.worker(films, func(c *Config) { c.Wake, c.Parts, c.Plans = d.Wake, newPartScript(), plans })
	sub := dryRun(1, `{"transcode":{"ladder":["720p"]},"preview":false}`)
	if real := full(1, `,"options":{"transcode":{"ladder":["720p"]},"preview":false}`); real.Digest == sub.Digest {
		t.Error("a dry run is the same request as the job")
	}
	var results struct {
		DryRun   bool `json:"dry_run"`
		Parts    []string
		Estimate struct {
			MediaSeconds float64  `json:"media_seconds"`
			CPU          float64  `json:"cpu_seconds"`
			CPUError     *float64 `json:"cpu_error"`
			Storage      int64    `json:"storage_bytes"`
			StorageError *float64 `json:"storage_error"`
			PastJobs     int      `json:"past_jobs"`
		}
	}
	plan := func() Job {
		t.Helper()
		job := h.submit(sub)
		d.Wake()
		if req := <-plans.seen; req.SourceKey != "in/1.mp4" || len(req.Options.Ladder) != 1 || req.Nice != partNice {
			t.Errorf("request %+v", req)
		}
		job = h.await(job.ID, StateSucceeded)
		if err := json.Unmarshal(job.Results, &results); err != nil || job.Type != TypePlan || !results.DryRun {
			t.Errorf("%s: %s, %v", job.Type, job.Results, err)
		}
		return job
	}
	first := plan()
	if diff := cmp.Diff([]string{"cover", "storyboard", "text"}, results.Parts); diff != "" {
		t.Error(diff)
	}
	if e := results.Estimate; e.CPU != math.Round(defaultCPU*1000)/10 || e.Storage != 1400 || e.MediaSeconds != 4 || e.CPUError != nil || e.PastJobs != 0 {
		t.Errorf("estimate %+v", e)
	}
	if n := count(h, `SELECT count(*) FROM jobs`) + count(h, `SELECT count(*) FROM asset_policies`) + count(h, `SELECT count(*) FROM publications`); n != 1 {
		t.Errorf("%d rows", n)
	}
	for n := 2; n < 6; n++ {
		job := h.submit(request(n, ""))
		d.Wake()
		films.next(t).succeed()
		h.await(job.ID, StateSucceeded)
	}
	second := plan()
	if second.ID == first.ID {
		t.Error("the plan before stands for a new request")
	}
	// somePresentation: 2.25 s for one track of 600 frames at 720p, 777 bytes.
	pixels := 1280 * 720 * 600 / 1e6
	e := results.Estimate
	if want := math.Round(2*2.25/pixels*100*10) / 10; e.PastJobs != 4 || e.CPU != want || e.CPUError == nil || *e.CPUError != 0 {
		t.Errorf("estimate %+v, want %v CPU seconds", e, want)
	}
	if perByte := 777 / pixels; e.Storage != int64(2*perByte*100) || e.StorageError == nil {
		t.Errorf("estimate %+v", e)
	}
	h.invariants()
}

func TestTypical(t *testing.T) {
	var past []pastJob
	for i := range 10 {
		past = append(past, pastJob{CPU: 1 + float64(i)/10})
	}
	median, off := typical(past, func(p pastJob) float64 { return p.CPU })
	if median != 1.5 || off == nil || math.Abs(*off-0.267) > 0.001 {
		t.Errorf("%v, %v", median, *off)
	}
	if _, err := ParseSubmission(TypeCover, fmt.Appendf(nil, `{"hash":"%064x","source":"x","dry_run":true}`, 1)); err == nil {
		t.Error("a dry run of a cover")
	}
	if _, err := ParseSubmission(TypePlan, fmt.Appendf(nil, `{"hash":"%064x","source":"x"}`, 1)); err == nil {
		t.Error("a plan by its name")
	}
}
