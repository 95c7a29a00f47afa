package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/internal/proc"
	"github.com/sealcast/sealcast/internal/sandbox"
)

// Config is what a Runner needs.
type Config struct {
	Sources ObjectStore // the source bucket
	Media   ObjectStore // the media bucket
	// FFmpeg, FFprobe and Packager name the tools; empty means ffmpeg,
	// ffprobe and packager in PATH.
	FFmpeg, FFprobe, Packager string
	// SinkBytes bounds the finished segments in memory per attempt; 0 means 64 MiB.
	SinkBytes int64
	// StallAfter ends an attempt in which nothing moves for so long; 0 means two minutes.
	StallAfter time.Duration
	// Sandbox says how the tools are confined; empty means sandbox.Auto.
	Sandbox sandbox.Mode
	// ChildMemory bounds the writable memory of each child; 0: no bound.
	ChildMemory int64
	// TrustHash: a request's hash is only a name, the source's bytes are not
	// compared with it.
	TrustHash bool
	Registry  prometheus.Registerer // may be nil
	Log       *slog.Logger
}

// Runner runs attempts.
type Runner struct {
	cfg     Config
	box     *sandbox.Sandbox
	metrics *metrics
	tap     func(rendition string) io.Writer // tests see the encoder's streams
	budget  func(*Source, Plan) time.Duration
	oom     []string // files that count the kernel's kills
}

// New checks that the tools are there and chooses their sandbox, for which
// sandbox.MaybeChild must have been called.
func New(cfg Config) (*Runner, error) {
	if cfg.SinkBytes <= 0 {
		cfg.SinkBytes = 64 << 20
	}
	if cfg.StallAfter <= 0 {
		cfg.StallAfter = 2 * time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	for _, tool := range []struct {
		path *string
		name string
	}{{&cfg.FFmpeg, "ffmpeg"}, {&cfg.FFprobe, "ffprobe"}, {&cfg.Packager, "packager"}} {
		if *tool.path == "" {
			*tool.path = tool.name
		}
		found, err := exec.LookPath(*tool.path)
		if err != nil {
			return nil, fmt.Errorf("%s is not in PATH: run `make deps`, or install it: %w", tool.name, err)
		}
		*tool.path = found
	}
	if cfg.Sandbox == "" {
		cfg.Sandbox = sandbox.Auto
	}
	box, err := chooseSandbox(cfg)
	if err != nil {
		return nil, err
	}
	showSandbox(cfg.Registry, box.Level)
	return &Runner{cfg: cfg, box: box, metrics: newMetrics(cfg.Registry), budget: encodeBudget, oom: oomCounters()}, nil
}

var prefixPattern = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z_-]{0,63}$`)

// attempt is one run.
type attempt struct {
	cfg     Config
	box     *sandbox.Sandbox
	metrics *metrics
	tap     func(rendition string) io.Writer
	planned func(*Source, Plan) time.Duration // the budget after the probe
	budget  time.Duration                     // the current one
	req     Request
	log     *slog.Logger
	track   *tracker
	dog     *watchdog
	gateway *gateway
	sink    *sink
	loop    *loopback
	up      *uploader

	film       Film // that a part belongs to
	filmKey    func(context.Context, *cenc.KID) (cenc.ContentKey, error)
	filmKeys   map[string]cenc.ContentKey // by key URI, as far as they were asked for
	filmRead   atomic.Int64               // bytes of its objects
	renditions []*rendition
	plan       Plan
	memory     *memoryGuard
	watermark  []byte
	starved    atomic.Bool // a child ran out of memory

	mu       sync.Mutex
	children []ChildUsage
}

// Run makes a presentation of a source: probe, encode, pack, verify, publish.
// When it returns nil everything lies in the store below the request's prefix
// and nothing refers to it yet. When it returns an error — always an *Error,
// or the cause of ctx's end — every child has ended; objects that were
// uploaded stay below the prefix, which nothing refers to.
func (r *Runner) Run(ctx context.Context, req Request) (*Presentation, error) {
	if err := checkRequest(req); err != nil {
		return nil, err
	}
	return attempted(ctx, r, req, (*attempt).run)
}

// attempted opens an attempt, does its work and ends it.
func attempted[Made any](ctx context.Context, r *Runner, req Request, work func(*attempt, context.Context, context.CancelCauseFunc) (*Made, error)) (*Made, error) {
	ctx, abort := context.WithCancelCause(ctx)
	defer abort(nil)
	a, end, err := r.open(ctx, abort, req)
	if err != nil {
		return nil, err
	}
	defer end()
	made, err := work(a, ctx, abort)
	r.metrics.observe(a)
	if err != nil {
		return nil, a.firstCause(ctx, err)
	}
	return made, nil
}

// open prepares an attempt: nothing runs yet but its watchdog and its endpoint
// for children, until end is called.
func (r *Runner) open(ctx context.Context, abort context.CancelCauseFunc, req Request) (a *attempt, end func(), err error) {
	log := req.Log
	if log == nil {
		log = r.cfg.Log
	}
	a = &attempt{cfg: r.cfg, box: r.box, metrics: r.metrics, tap: r.tap, planned: r.budget, req: req, log: log, track: newTracker(req.Progress), dog: &watchdog{}}
	a.gateway = &gateway{store: r.cfg.Sources, abort: abort, dog: a.dog}
	if !r.cfg.TrustHash {
		a.gateway.sum = newSourceHash()
	}
	a.memory = newMemoryGuard(r.oom)
	room := r.cfg.SinkBytes
	if req.Light {
		room /= 2
	}
	a.sink = newSink(req.Options, newContentKeys(req, a.dog), a.dog, room)
	a.sink.abort = abort
	a.up = newUploader(r.cfg.Media, a.dog, KeyPrefix(req.Hash, req.Prefix))
	a.track.moved = func() (in, out int64) { return a.gateway.read.Load() + a.filmRead.Load(), a.up.bytes.Load() }
	loop, err := newLoopback(ctx, a.gateway, a.sink, log)
	if err != nil {
		return nil, nil, asError(err, CodeEncodeFailed, "the attempt could not start")
	}
	a.loop = loop
	go a.dog.run(ctx, r.cfg.StallAfter, abort)
	return a, loop.close, nil
}

// firstCause gives the reason why an attempt failed: the first cause counts,
// not what broke because of it.
func (a *attempt) firstCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err := a.starvation(err); err != nil {
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return asError(err, CodeEncodeFailed, "the attempt failed")
}

func checkRequest(req Request) error {
	if err := req.Options.Validate(); err != nil {
		return err
	}
	if !cenc.IsHash(req.Hash) || !prefixPattern.MatchString(req.Prefix) {
		return permanent(CodeOptionsInvalid, "the asset's hash or the attempt's prefix is malformed", nil)
	}
	for _, out := range req.Options.Outputs {
		changes := req.Options.ChangesKeys(out)
		if _, ok := req.Keys[out]; ok != (req.Options.Encrypt && !changes) || changes && req.PeriodKey == nil {
			return permanent(CodeKeyUnavailable, "every output of an encrypted asset needs a content key", nil)
		}
	}
	if _, ok := req.Keys[OutputCMAF]; ok && req.LicenceURI == "" {
		return permanent(CodeKeyUnavailable, "an encrypted cmaf output needs a licence URI", nil)
	}
	if req.Options.Encrypt && req.StoredKey == nil {
		return permanent(CodeKeyUnavailable, "the verify gate needs the stored keys", nil)
	}
	return nil
}

// prepare probes the source and says what is made of it: whole is the source as
// it is, src the part of it that is wanted.
func (a *attempt) prepare(ctx context.Context, abort context.CancelCauseFunc) (whole, src *Source, plan Plan, err error) {
	a.track.enter(StageProbe, 0)
	if whole, err = a.probe(ctx, abort); err != nil {
		return nil, nil, Plan{}, err
	}
	part := *whole
	part.Audio = slices.Clone(whole.Audio)
	if err = part.clip(a.req.Options.Clip); err != nil {
		return nil, nil, Plan{}, err
	}
	if plan, err = newPlan(&part, a.req.Options); err != nil {
		return nil, nil, Plan{}, err
	}
	if plan, err = a.loadWatermark(ctx, plan); err != nil {
		return nil, nil, Plan{}, err
	}
	if plan, err = a.tryCopy(ctx, &part, plan); err != nil {
		return nil, nil, Plan{}, err
	}
	return whole, &part, plan, a.req.Options.checkPeriods(plan.segments(part.Duration.Seconds()))
}

func (a *attempt) run(ctx context.Context, abort context.CancelCauseFunc) (*Presentation, error) {
	_, src, plan, err := a.prepare(ctx, abort)
	if err != nil {
		return nil, err
	}
	a.log.Info("source probed", "demuxer", src.Demuxer, "codec", src.Video.Codec, "duration", src.Duration.String(),
		"bytes", src.Size, "rate", plan.Rate.String(), "rungs", len(plan.Video), "audio_tracks", len(plan.Audio),
		"copied", plan.KeyFrames != nil, "not_copied_because", plan.NotCopied)

	plan.FilterThreads = filterThreads(runtime.GOMAXPROCS(0))
	if a.req.Light {
		plan = plan.light()
	}
	made := a.limitTime(a.planned(src, plan), abort)
	defer made()
	if plan, err = a.measureLoudness(ctx, src, plan); err != nil {
		return nil, err
	}
	rs := renditions(plan)
	for _, r := range rs {
		r.Facts.Most = src.Duration.Seconds() + tolerance(src.Duration.Seconds()) + 1
	}
	plan.Early = a.req.Show != nil
	a.renditions, a.plan = rs, plan
	a.sink.early = newEarly(a, plan, rs, abort)
	gate := newGate(a, abort, src, plan, rs)
	a.sink.upload = func(seg *segment, body []byte, held int64) {
		gate.uploads.Add(1)
		go func() {
			defer gate.uploads.Done()
			defer a.sink.room.release(held)
			if err := a.up.put(ctx, seg.Object, body); err != nil {
				abort(err)
				return
			}
			a.sink.early.durable(seg)
			gate.durable(ctx, seg)
		}()
	}
	a.track.enter(StageEncode, percentProbed)
	encodeEnd, err := a.encodeAndPack(ctx, abort, src, plan, rs)
	a.sink.close()
	if err != nil {
		gate.wait()
		return nil, err
	}
	hashing, stopHashing := context.WithCancel(ctx)
	var hashed errgroup.Group
	hashed.Go(func() error { return a.checkSource(hashing) })
	defer func() { stopHashing(); _ = hashed.Wait() }()
	// Segments are durable when the last upload has ended.
	gate.uploads.Wait()
	if err := context.Cause(ctx); err != nil {
		gate.wait()
		return nil, err
	}
	a.track.enter(StageVerify, percentPacked)
	packed, err := gate.verify(ctx)
	if err != nil {
		return nil, err
	}
	if err := hashed.Wait(); err != nil {
		return nil, err
	}
	made()
	a.track.enter(StagePublish, percentVerified)
	p, err := a.publish(ctx, packed)
	if err != nil {
		return nil, err
	}
	p.SourceBytes, p.EncodeEnd, p.NotCopied = src.Size, encodeEnd, plan.NotCopied
	p.SourceETag, p.SourceVerified = src.ETag, a.gateway.sum != nil
	p.Stages = a.track.finish()
	p.Children = a.usage()
	return p, nil
}

// usage returns what the children used.
func (a *attempt) usage() []ChildUsage {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.children)
}

func (a *attempt) sourceURL() string { return a.loop.sourceURL() }

// child runs a child process to its end and counts what it used.
func (a *attempt) child(ctx context.Context, spec proc.Spec) (proc.Result, error) {
	return a.childOf(ctx, stageOfTool[spec.Name], spec)
}

// childOf is child for one whose work belongs to another stage than its tool's.
func (a *attempt) childOf(ctx context.Context, stage Stage, spec proc.Spec) (proc.Result, error) {
	p, err := a.start(ctx, spec)
	if err != nil {
		return proc.Result{}, err
	}
	return a.wait(p, spec.Name, stage)
}

// stageOfTool is the stage that a tool's work belongs to, as a rule.
var stageOfTool = map[string]Stage{"ffprobe": StageProbe, "ffmpeg": StageEncode, "packager": StagePack}

func (a *attempt) wait(p *proc.Process, name string, stage Stage) (proc.Result, error) {
	res, err := p.Wait()
	a.mu.Lock()
	a.children = append(a.children, ChildUsage{Name: name, Stage: stage, CPU: res.CPU, MaxRSS: res.MaxRSS, BytesWritten: res.BytesWritten})
	a.mu.Unlock()
	if a.memory.blames(err) {
		a.starved.Store(true)
	}
	a.log.Debug("child ended", "child", name, "cpu_seconds", res.CPU.Seconds(), "max_rss_bytes", res.MaxRSS)
	if err != nil && !errors.Is(err, context.Canceled) {
		a.log.Warn("child failed", "child", name, "error", err, "stderr", redactKeys(res.Stderr))
	}
	return res, err
}

// keyArgument is how the packager echoes a malformed key argument.
var keyArgument = regexp.MustCompile(`(?i)(key(_id)?=|\b)[0-9a-f]{32}\b`)

// redactKeys keeps anything that looks like a key out of the log.
func redactKeys(s string) string { return keyArgument.ReplaceAllString(s, "${1}[redacted]") }
