package worker

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/pipeline"
)

// TypePlan is the type of the job that a request with dry_run becomes: its
// result is the plan, it publishes nothing, and it runs beside films.
const TypePlan = "video:plan"

// Planner plans without encoding; pipeline.Runner has it.
type Planner interface {
	DryRun(context.Context, pipeline.Request) (*pipeline.DryRun, error)
}

// planOptions is what the row of such a job keeps.
type planOptions struct {
	Transcode pipeline.Options `json:"transcode"`
	Parts     []string         `json:"parts"`
}

func (s Submission) planOptions() planOptions {
	o := planOptions{Transcode: s.Options, Parts: []string{}}
	for _, p := range s.Parts {
		o.Parts = append(o.Parts, p.Kind)
	}
	return o
}

// planResults is the results object of a dry run: the wire contract.
type planResults struct {
	Made bool `json:"dry_run"` // true
	*pipeline.DryRun
	Parts    []string `json:"parts"`
	Estimate estimate `json:"estimate"`
	Actuals  actuals  `json:"actuals"` // of the dry run itself
}

// estimate is what the job would use. Errors say by which part nine of ten past
// jobs were off; nil: fewer than minPast jobs are known, and the figures are
// those of a machine of ours.
type estimate struct {
	MediaSeconds float64  `json:"media_seconds"`
	CPUSeconds   float64  `json:"cpu_seconds"`
	CPUError     *float64 `json:"cpu_error"`
	BytesIn      int64    `json:"bytes_in"`
	StorageBytes int64    `json:"storage_bytes"` // of every object of the film
	StorageError *float64 `json:"storage_error"`
	PastJobs     int      `json:"past_jobs"`
}

// pastJob is what a film took: CPU seconds and bytes per million pixels.
type pastJob struct{ CPU, Bytes float64 }

const (
	minPast     = 3
	maxPast     = 50
	defaultCPU  = 0.0156 // seconds per million pixels, of the figures in the README
	defaultFill = 0.6    // part of the caps that films use, of the same
	soundCPU    = 0.02   // seconds for each second of a rendition of sound alone
)

func estimateOf(d *pipeline.DryRun, past []pastJob) estimate {
	outputs := float64(len(d.Outputs))
	e := estimate{MediaSeconds: d.Seconds, BytesIn: d.Source.Bytes, PastJobs: len(past)}
	cpu, storage := defaultCPU*d.Work, outputs*(defaultFill*d.Bounds.Video+d.Bounds.Audio)
	if len(past) >= minPast {
		var perCPU, perByte float64
		perCPU, e.CPUError = typical(past, func(p pastJob) float64 { return p.CPU })
		perByte, e.StorageError = typical(past, func(p pastJob) float64 { return p.Bytes })
		cpu, storage = perCPU*d.Work, outputs*perByte*d.Kept
	}
	if d.Kept == 0 { // sound alone: films tell nothing of it
		e.PastJobs, e.CPUError, e.StorageError = 0, nil, nil
		cpu, storage = soundCPU*d.Sound, outputs*d.Bounds.Audio
	}
	e.CPUSeconds, e.StorageBytes = math.Round(cpu*10)/10, int64(storage)
	return e
}

// typical gives the median of a figure, and how far nine of ten are from it.
func typical(past []pastJob, figure func(pastJob) float64) (median float64, off *float64) {
	values := make([]float64, len(past))
	for i, p := range past {
		values[i] = figure(p)
	}
	slices.Sort(values)
	median = values[len(values)/2]
	if median <= 0 {
		return 0, nil
	}
	for i, v := range values {
		values[i] = math.Abs(v/median - 1)
	}
	slices.Sort(values)
	nine := math.Round(1000*values[(len(values)*9-1)/10]) / 1000
	return median, &nine
}

// processPlan is the recipe of a dry run.
func (a *attempt) processPlan(held, working context.Context, reporter *reporter, rest func()) error {
	var options planOptions
	if err := json.Unmarshal(a.job.Options, &options); err != nil {
		return fmt.Errorf("options of job %s: %w", a.job.ID, err)
	}
	d, err := a.w.cfg.Plans.DryRun(working, pipeline.Request{
		Hash: a.job.Hash, Prefix: a.job.Fence().Prefix(), SourceKey: a.job.Source, MaxSourceBytes: a.w.cfg.MaxSourceBytes,
		Options: options.Transcode, Nice: partNice, Light: a.job.Light, Progress: reporter.Report, Log: a.log,
	})
	if err != nil {
		return err
	}
	past, err := a.w.cfg.Store.pastJobs(working)
	if err != nil {
		return err
	}
	results, err := json.Marshal(planResults{
		Made: true, Parts: options.Parts, Estimate: estimateOf(d, past), Actuals: actualsOf(0, d.Stages, d.Children),
		DryRun: d,
	})
	if err != nil {
		return fmt.Errorf("results of job %s: %w", a.job.ID, err)
	}
	rest()
	if err := context.Cause(held); err != nil {
		return err
	}
	return a.persist(held, func() error { return a.w.cfg.Store.endPlan(held, a.job, results) })
}

// endPlan makes a dry run succeeded. It stands for no later request: a plan is
// made anew each time.
func (s *JobStore) endPlan(ctx context.Context, job Job, results json.RawMessage) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if err := holdFence(ctx, tx, job.Fence(), job.Hash, false); err != nil {
			return err
		}
		if err := succeed(ctx, tx, job.Fence(), results, map[string]any{}); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `UPDATE jobs SET superseded_at = now() WHERE id = $1`, job.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("end dry run %s: %w", job.ID, err)
	}
	return nil
}

// pastJobs reads what the newest films took, for each million pixels that was
// encoded, and kept in one output.
func (s *JobStore) pastJobs(ctx context.Context) ([]pastJob, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		SELECT cpu * outputs / encoded, bytes / kept
		FROM (
			SELECT (results->'actuals'->>'cpu_seconds')::float8 AS cpu, (results->>'bytes')::float8 AS bytes,
			       jsonb_array_length(results->'streaming'->'outputs') AS outputs, results->'video_tracks' AS tracks
			FROM jobs
			WHERE state = 'succeeded' AND type IN ('video:transcode', 'video:full') AND results ? 'actuals'
			ORDER BY created_at DESC LIMIT $1) films,
		LATERAL (
			SELECT sum(pixels) AS kept, sum(pixels) FILTER (WHERE NOT copied) AS encoded
			FROM (SELECT (t->>'width')::float8 * (t->>'height')::float8 * (t->>'frames')::float8 / 1e6 AS pixels,
			             coalesce((t->>'copied')::boolean, false) AS copied
			      FROM jsonb_array_elements(tracks) t) each) sums
		WHERE kept > 0 AND encoded > 0`, maxPast)
	if err != nil {
		return nil, fmt.Errorf("read past jobs: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[pastJob])
}
