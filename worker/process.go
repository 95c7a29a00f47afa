package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealcast/sealcast/pipeline"
)

// attempt is one run of a job on this worker.
type attempt struct {
	w    *Worker
	job  Job
	log  *slog.Logger
	made *pipeline.Presentation // once the pipeline has returned a film
	part *pipeline.MadePart     // once it has returned a part

	expected *expectation
	early    *earlyWriter
}

// runJob answers the doorbells of a queue. A handler returns nil once Postgres has the outcome, or
// will get it from the reaper; and only after every child is reaped.
func (w *Worker) runJob(queue string) asynq.HandlerFunc {
	return func(ctx context.Context, task *asynq.Task) error { return w.rung(ctx, task, queue) }
}

func (w *Worker) rung(ctx context.Context, task *asynq.Task, queue string) error {
	bell, bad := parseDoorbell(task.Payload())
	if bad != nil {
		w.cfg.Log.Error("foreign doorbell refused", "error", bad)
		return refuse(bad)
	}
	leave, ok := w.gate.enter(queue)
	if !ok {
		return errLater // shutting down, or every slot is taken
	}
	defer leave()
	giveBack, ok := w.memory.enter(w.draining, shareOf(queue))
	if !ok {
		return errLater
	}
	defer giveBack()
	expected := w.watch.expect(bell.JobID)
	defer expected.forget()
	asked := time.Now()
	job, err := w.cfg.Store.Claim(ctx, bell.JobID, bell.DispatchSeq, w.cfg.Name, w.cfg.Lease)
	switch {
	case errors.Is(err, ErrNotClaimable), errors.Is(err, ErrAssetBusy):
		w.cfg.Log.Debug("doorbell without work", "job_id", bell.JobID, "dispatch_seq", bell.DispatchSeq, "reason", err)
		return nil
	case err != nil:
		w.cfg.Metrics.dependencyError(err)
		return err // asynq rings again
	}
	// asynq's context ends when Redis is away for 30 s. The lease that
	// counts is in Postgres, so the attempt has a context of its own.
	a := &attempt{w: w, job: job, expected: expected, log: w.cfg.Log.With("job_id", job.ID, "attempt", job.Attempt)}
	a.run(context.WithoutCancel(ctx), asked)
	return nil
}

// run keeps the lease, does the work and records the outcome.
func (a *attempt) run(ctx context.Context, asked time.Time) {
	m := a.w.cfg.Metrics
	m.running.WithLabelValues(a.job.Queue).Inc()
	defer m.running.WithLabelValues(a.job.Queue).Dec()
	a.log.Info("attempt started", "type", a.job.Type, "hash", a.job.Hash)

	// held ends with the lease; working ends with the shutdown too.
	held, lose := context.WithCancelCause(ctx)
	working, stop := context.WithCancelCause(held)
	defer a.w.gate.onAbort(stop)()
	a.expected.begin(a.job.Attempt, lose)

	reporter := newReporter(a.w.cfg.ProgressEvery, func(ctx context.Context, p pipeline.Progress) {
		if err := a.progress(ctx, p); errors.Is(err, ErrFenced) {
			lose(lossOf(err))
		}
	})
	a.early = newEarlyWriter(earlyEvery, func(ctx context.Context, objects []pipeline.EarlyObject) error {
		err := a.showEarly(ctx, objects)
		if errors.Is(err, ErrFenced) {
			lose(lossOf(err))
		}
		return err
	})
	side, endSide := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() { a.keeper(lose).run(side, asked) })
	wg.Go(func() { reporter.run(side) })
	wg.Go(func() { a.early.run(side) })

	// The publish transaction holds the row, which the keeper would wait for;
	// so the keeper rests then, and the row's lock keeps the reaper away.
	rest := func() { endSide(); wg.Wait() }
	err := a.guard(func() error { return a.process(held, working, reporter, rest) })
	rest()
	cause := context.Cause(working)
	stop(nil)
	lose(nil)
	a.settle(ctx, err, cause, reporter, time.Since(asked))
}

// process is the recipe of an attempt.
func (a *attempt) process(held, working context.Context, reporter *reporter, rest func()) error {
	switch {
	case a.job.Type == TypePlan:
		return a.processPlan(held, working, reporter, rest)
	case a.job.PartKind != "":
		return a.processPart(held, working, reporter, rest)
	}
	return a.processFilm(held, working, reporter, rest)
}

func (a *attempt) processFilm(held, working context.Context, reporter *reporter, rest func()) error {
	var options pipeline.Options
	if err := json.Unmarshal(a.job.Options, &options); err != nil {
		return fmt.Errorf("options of job %s: %w", a.job.ID, err)
	}
	published, err := a.w.cfg.Store.plan(working, a.job.Hash, options.Encrypt)
	if err != nil {
		return err
	}
	keys, err := a.issueKeys(working, options, published)
	if err != nil {
		return err
	}
	req := a.request(options, keys, reporter)
	if options.EarlyPublish && !published {
		req.Show = a.early.show
	}
	a.made, err = a.w.cfg.Pipeline.Run(working, req)
	if err != nil {
		return err
	}
	// A shutdown waits for the publication: it takes a moment, and the work is done.
	results, err := buildResults(a.w.cfg.BaseURL, a.job.Hash, a.made, keys.first())
	if err != nil {
		return fmt.Errorf("results of job %s: %w", a.job.ID, err)
	}
	rest()
	if err := context.Cause(held); err != nil {
		return err
	}
	return a.publish(held, PublishRequest{
		Fence: a.job.Fence(), Hash: a.job.Hash, Encrypted: options.Encrypt,
		Keys: keys.count(), First: !published, Objects: a.made.Objects, Results: results,
		Retention:  a.w.cfg.KeyRetention,
		Poster:     a.w.cfg.BaseURL + "/stream/" + a.job.Hash + "/" + pipeline.CoverName,
		Source:     verifiedSource(a.job.Source, a.made.SourceETag, a.made.SourceVerified),
		SourceETag: a.made.SourceETag,
	})
}

// largeNice is the priority of the children of large jobs: who waits for a
// short film does not wait for a long one beside it. The number of threads is
// no way to share cores: the encoder's output depends on it.
const largeNice = 5

func (a *attempt) request(options pipeline.Options, keys *issuedKeys, reporter *reporter) pipeline.Request {
	req := pipeline.Request{
		Hash: a.job.Hash, Prefix: a.job.Fence().Prefix(),
		SourceKey: a.job.Source, MaxSourceBytes: a.w.cfg.MaxSourceBytes,
		Options: options, Light: a.job.Light,
		Progress: reporter.Report, Log: a.log,
	}
	if a.job.Queue == QueueLarge {
		req.Nice = largeNice
	}
	if a.job.EncodeAll {
		req.NotCopied = "an attempt before this one failed to encode, package or verify"
	}
	if !options.Encrypt {
		return req
	}
	req.LicenceURI = a.w.cfg.BaseURL + "/api/license/clearkey/" + a.job.Hash
	req.Keys = make(map[string]pipeline.Key, len(keys.fixed))
	for output, k := range keys.fixed {
		req.Keys[output] = pipelineKey(k)
	}
	req.PeriodKey, req.StoredKey = keys.forPeriod, keys.stored
	return req
}

var errPanic = errors.New("panic in the attempt")

// guard turns a panic into an error, so that the lease ends and the job is told.
func (a *attempt) guard(work func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			a.log.Error("panic in the attempt", "panic", v, "stack", string(debug.Stack()))
			err = errPanic
		}
	}()
	return work()
}

// publishPatience bounds the tries to publish while the lease is held.
const publishPatience = time.Minute

// publish tries again while the lease is held and the database is away: the
// work is done.
func (a *attempt) publish(ctx context.Context, req PublishRequest) error {
	return a.persist(ctx, func() error { return a.w.cfg.Store.Publish(ctx, req, a.w.cfg.Keys) })
}

func (a *attempt) persist(ctx context.Context, publish func() error) error {
	giveUp := time.Now().Add(publishPatience)
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, time.Second) {
		err := publish()
		if err == nil || !unanswered(err) || errors.Is(err, errCommitUnknown) || time.Now().After(giveUp) {
			return err
		}
		a.w.cfg.Metrics.dependencyError(err)
		a.log.Warn("publication is tried again", "error", err)
		if !sleep(ctx, pause) {
			return err
		}
	}
}

// settle records how the attempt ended.
func (a *attempt) settle(ctx context.Context, err, cause error, reporter *reporter, wall time.Duration) {
	v := judge(err, cause, a.job.Failures, a.w.cfg.MaxAttempts, a.job.Light, a.w.cfg.RetryBackoff)
	store, fence := a.w.cfg.Store, a.job.Fence()
	if v.outcome == outcomeFailed || v.outcome == outcomeRetried {
		reporter.flush(context.WithoutCancel(ctx)) // the row says in which stage it was
	}
	var recorded error
	switch v.outcome {
	case outcomeSucceeded:
		if a.made != nil {
			a.w.cfg.Metrics.published(a.made, wall)
		}
	case outcomeFailed:
		recorded = record(ctx, func(ctx context.Context) error { return store.Fail(ctx, fence, v.code, v.message) })
	case outcomeRetried:
		recorded = record(ctx, func(ctx context.Context) error {
			return store.Requeue(ctx, fence, Release{Delay: v.delay, Failure: true, Light: v.light, EncodeAll: encodeAll(v.code), Code: v.code, Message: v.message})
		})
	case outcomeReleased:
		recorded = record(ctx, func(ctx context.Context) error { return store.Requeue(ctx, fence, Release{}) })
	case outcomeFenced:
		// Perhaps the row is still ours and the database is back: then the
		// job need not wait for the reaper.
		if errors.Is(cause, errSelfFenced) {
			recorded = store.Requeue(ctx, fence, Release{})
		}
	}
	if recorded != nil && v.outcome != outcomeFenced {
		a.log.Error("outcome not recorded, the reaper will end the attempt", "outcome", v.outcome, "error", recorded)
		v.outcome = outcomeFenced
	}
	a.count(v, err)
	a.log.Log(ctx, levelOf(v.outcome), "attempt ended", "outcome", v.outcome, "code", v.code,
		"seconds", wall.Seconds(), "retry_seconds", v.delay.Seconds(), "cause", cause, "error", err)
	a.w.cfg.Wake()
}

// encodeAll reports whether a failure may come of pictures that were copied:
// the source may only look as if it conforms.
func encodeAll(code string) bool {
	return slices.Contains([]string{pipeline.CodeEncodeFailed, pipeline.CodePackFailed, pipeline.CodeVerifyFailed}, code)
}

func (a *attempt) count(v verdict, err error) {
	var p *pipeline.Error
	if errors.As(err, &p) {
		a.w.cfg.Metrics.dependencyError(err)
	}
	a.w.cfg.Metrics.attemptEnded(v.outcome)
	if v.outcome == outcomeSucceeded || v.outcome == outcomeFailed {
		a.w.cfg.Metrics.jobEnded(a.job.Type, v.outcome)
	}
}

func levelOf(outcome string) slog.Level {
	switch outcome {
	case outcomeSucceeded, outcomeReleased, outcomeCancelled:
		return slog.LevelInfo
	case outcomeRetried, outcomeFenced:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// keeper extends this attempt's lease and calls lose when it cannot.
func (a *attempt) keeper(lose context.CancelCauseFunc) keeper {
	c := a.w.cfg
	return keeper{
		beat:       func(ctx context.Context) error { return c.Store.Heartbeat(ctx, a.job.Fence(), c.Lease) },
		every:      c.HeartbeatEvery,
		fenceAfter: c.FenceAfter,
		lost:       lose,
		missed: func(err error) {
			c.Metrics.dependencyError(err)
			a.log.Warn("heartbeat failed", "error", err)
		},
	}
}

// progress writes to the job row. Only a lost fence matters to the caller.
func (a *attempt) progress(ctx context.Context, p pipeline.Progress) error {
	percent := math.Round(10*min(max(p.Percent, 0), 100)) / 10
	err := a.w.cfg.Store.Progress(ctx, a.job.Fence(), string(p.Stage), percent, p.ETA)
	if err != nil && !errors.Is(err, ErrFenced) && ctx.Err() == nil {
		a.log.Warn("progress not recorded", "error", err)
	}
	return err
}
