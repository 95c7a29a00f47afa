package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/sealcast/sealcast/api"
	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/internal/player"
	"github.com/sealcast/sealcast/internal/proc"
	"github.com/sealcast/sealcast/internal/sandbox"
	"github.com/sealcast/sealcast/keystore/audit"
	"github.com/sealcast/sealcast/migrations"
	"github.com/sealcast/sealcast/pipeline"
	"github.com/sealcast/sealcast/worker"
)

// shutdownTimeout bounds how long requests may take to end at shutdown.
const shutdownTimeout = 5 * time.Second

// roles says which parts a process runs. The dispatcher runs in all of them:
// any number may run side by side.
type roles struct{ api, work bool }

// apiGCPercent is for the API alone, whose heap is some megabytes: the default
// would collect it a hundred times a second under load.
const apiGCPercent = 400

func (r roles) name() string {
	switch {
	case r.api && r.work:
		return "serve"
	case r.api:
		return "api"
	}
	return "worker"
}

func apiNeeds(c *config) []any {
	return []any{
		&c.Public, &c.Listen, &c.Metrics, &c.Database, &c.Redis, &c.S3, &c.Source, &c.Media, &c.Audit,
		&c.APIKey, &c.Token, &c.KEK, &c.Viewer, &c.Streams, &c.Limit, &c.Admit, &c.Webhook, &c.Log,
	}
}

func workerNeeds(c *config) []any {
	return []any{
		&c.Public, &c.Metrics, &c.Database, &c.Redis, &c.S3, &c.Source, &c.Media, &c.Audit, &c.KEK, &c.Limit, &c.Webhook, &c.Work, &c.GCMode, &c.GC, &c.Log,
	}
}

func serveNeeds(c *config) []any {
	return []any{
		&c.Public, &c.Listen, &c.Metrics, &c.Database, &c.Redis, &c.S3, &c.Source, &c.Media, &c.Audit,
		&c.APIKey, &c.Token, &c.KEK, &c.Viewer, &c.Streams, &c.Limit, &c.Admit, &c.Webhook, &c.Work, &c.GCMode, &c.GC, &c.Log,
	}
}

const serviceLong = `
It refuses to start on a database that is not migrated, a Redis that evicts, a bucket
that is missing, or a KEK that is not the one its version had before. SIGTERM or
Ctrl-C ends it in good order, a second one at once.`

func serveCommand() *command {
	return serviceCommand("serve", "run the API and the worker in one process", serveNeeds, roles{api: true, work: true},
		"Serves jobs, content keys and published media on LISTEN_ADDR, works on the queue, and\nserves /metrics on METRICS_ADDR.")
}

func apiCommand() *command {
	return serviceCommand("api", "run the API", apiNeeds, roles{api: true},
		"Serves jobs, content keys and published media on LISTEN_ADDR, sends accepted jobs to\nthe queue, and serves /metrics on METRICS_ADDR.")
}

func workerCommand() *command {
	return serviceCommand("worker", "run the worker", workerNeeds, roles{work: true},
		"Works on the queue: ffmpeg, ffprobe and packager must be in PATH. At shutdown running\njobs have DRAIN_TIMEOUT to end; then they go back to the queue. Serves /metrics on\nMETRICS_ADDR.")
}

func serviceCommand(name, summary string, needs func(*config) []any, r roles, long string) *command {
	return &command{
		name: name, summary: summary, long: long + serviceLong, needs: needs,
		exits: []int{exitOK, exitFailure, exitUsage},
		newFlags: func(*flag.FlagSet) action {
			return func(ctx context.Context, s *session) error {
				log := newLogger(s.cfg.Log, s.stdout)
				return runServices(ctx, s.cfg, r, log, func() {})
			}
		},
	}
}

func migrateCommand() *command {
	return &command{
		name: "migrate", summary: "bring the database's schema up to date",
		long: `Applies the migrations that the database lacks, under a lock: any number may run at
once. The schema before stays usable by the programs before.`,
		needs: func(c *config) []any { return []any{&c.Database, &c.Log} },
		exits: []int{exitOK, exitFailure, exitUsage},
		newFlags: func(*flag.FlagSet) action {
			return func(ctx context.Context, s *session) error {
				err := migrations.Apply(ctx, s.cfg.Database.URL.reveal(), newLogger(s.cfg.Log, s.stderr))
				if err == nil {
					fmt.Fprintln(s.stdout, "The database is up to date.")
				}
				return err
			}
		},
	}
}

// runServices runs the parts until ctx ends or one of them fails, and returns
// when all have ended. ready is called once requests and jobs are taken.
func runServices(ctx context.Context, cfg *config, r roles, log *slog.Logger, ready func()) error {
	for _, w := range cfg.warnings() {
		log.Warn("weak configuration", "detail", w)
	}
	if !r.work && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(apiGCPercent)
	}
	redis.SetLogger(redisLog{log})
	if err := proc.NoCoreDumps(); err != nil {
		return fmt.Errorf("forbid core dumps, which would hold keys: %w", err)
	}
	p, err := openPlatform(ctx, cfg, r, log)
	if err != nil {
		return err
	}
	defer p.close()
	stopMetrics, err := p.serveMetrics(ctx)
	if err != nil {
		return err
	}
	defer stopMetrics()

	dispatcher := worker.NewDispatcher(worker.DispatcherConfig{Store: p.jobs, Redis: p.redis, Keys: p.keys, Metrics: p.metrics, Log: log})
	group, ctx := errgroup.WithContext(ctx)
	start, err := p.prepare(ctx, r, dispatcher)
	if err != nil {
		return err
	}
	if cfg.KEK.File != "" {
		start = append(start, p.reloadKEKs)
	}
	for _, f := range append(start, dispatcher.Run) {
		group.Go(func() error { return f(ctx) })
	}
	log.Info("started", "role", r.name(), "base_url", string(cfg.Public.BaseURL), "metrics_addr", string(cfg.Metrics.Addr))
	ready()
	err = group.Wait()
	log.Info("ended", "role", r.name())
	return err
}

// prepare makes the parts ready, so that what can fail does so before any of
// them works.
func (p *platform) prepare(ctx context.Context, r roles, dispatcher *worker.Dispatcher) (parts []func(context.Context) error, err error) {
	parts = append(parts, audit.NewAnchorer(p.pool, p.anchors(), time.Duration(p.cfg.Audit.Every), p.log).Run)
	if r.work {
		w, err := p.newWorker(dispatcher)
		if err != nil {
			return nil, err
		}
		remover := worker.NewRemover(worker.RemoverConfig{
			Store: p.jobs, Media: p.store.Bucket(string(p.cfg.Media.Bucket)), Sources: p.store.Bucket(string(p.cfg.Source.Bucket)),
			Metrics: p.metrics, Log: p.log,
		})
		parts = append(parts, w.Run, remover.Run)
		n, err := p.newNotifier(ctx)
		if err != nil {
			return nil, err
		}
		if n != nil {
			parts = append(parts, n.Run)
		}
		if mode := p.cfg.GCMode.Mode; mode != gcOff {
			parts = append(parts, p.newCollector(mode == gcDryRun).Run)
		}
	}
	if r.api {
		gate, err := p.openGate(ctx)
		if err != nil {
			return nil, err
		}
		h, err := p.newAPI(dispatcher, gate)
		if err != nil {
			return nil, err
		}
		ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", string(p.cfg.Listen.Addr))
		if err != nil {
			return nil, fmt.Errorf("listen on LISTEN_ADDR: %w", err)
		}
		parts = append(parts, gate.Run, p.keys.Listen, func(ctx context.Context) error { return p.serveAPI(ctx, h, ln) })
	}
	return parts, nil
}

func (p *platform) newWorker(dispatcher *worker.Dispatcher) (*worker.Worker, error) {
	runner, err := pipeline.New(pipeline.Config{
		Sources:     p.store.Bucket(string(p.cfg.Source.Bucket)),
		Media:       p.store.Bucket(string(p.cfg.Media.Bucket)),
		Sandbox:     sandbox.Mode(p.cfg.Work.Sandbox),
		ChildMemory: p.childMemory(),
		TrustHash:   !bool(p.cfg.Work.VerifySourceHash),
		Registry:    p.registry,
		Log:         p.log,
	})
	if err != nil {
		return nil, err
	}
	return worker.New(worker.Config{
		Store:            p.jobs,
		Redis:            p.redis,
		Keys:             p.keys,
		Pipeline:         runner,
		Parts:            runner,
		Plans:            runner,
		Wake:             dispatcher.Wake,
		BaseURL:          string(p.cfg.Public.BaseURL),
		Concurrency:      int(p.cfg.Work.Concurrency),
		LargeConcurrency: int(p.cfg.Work.LargeConcurrency),
		MaxSourceBytes:   int64(p.cfg.Limit.MaxSourceBytes),
		KeyRetention:     time.Duration(p.cfg.GC.Retention),
		AttemptMemory:    int64(p.cfg.Work.AttemptMemory),
		DrainTimeout:     time.Duration(p.cfg.Work.DrainTimeout),
		Metrics:          p.metrics,
		Log:              p.log,
	})
}

// childMemory is CHILD_MEMORY, or all that there is. The kernel counts what a
// child could write to, stacks and arenas of its threads too: for ffmpeg almost
// twice what it uses. 0, no bound, where memory cannot be read.
func (p *platform) childMemory() int64 {
	if p.cfg.Work.ChildMemory > 0 {
		return int64(p.cfg.Work.ChildMemory)
	}
	m, err := worker.HostMemory()
	if err != nil {
		p.log.Warn("children have no memory limit", "error", err)
		return 0
	}
	return max(m.Capacity, 4<<30)
}

func (p *platform) newAPI(dispatcher *worker.Dispatcher, gate *access.Gate) (http.Handler, error) {
	var err error
	if p.journal, err = audit.NewJournal(p.pool, p.log, p.registry); err != nil {
		return nil, err
	}
	apiKey, err := api.NewAPIKey(p.cfg.APIKey.Key.reveal())
	if err != nil {
		return nil, err
	}
	jobs := jobService{
		store: p.jobs, metrics: p.metrics, wake: dispatcher.Wake, sources: p.store.Bucket(string(p.cfg.Source.Bucket)),
		maxBytes: int64(p.cfg.Limit.MaxSourceBytes), largeBytes: int64(p.cfg.Admit.LargeSourceBytes),
	}
	cfg := api.Config{
		BaseURL: string(p.cfg.Public.BaseURL),
		APIKey:  apiKey,
		Gate:    gate,
		Admin:   gate,

		Environment:   string(p.cfg.Viewer.Environment),
		Keys:          p.keys,
		Audit:         p.journal,
		Jobs:          jobs,
		Tracks:        jobs,
		Webhooks:      webhooks{p.jobs},
		Assets:        assets{p.jobs, p.keys},
		Publications:  publications{p.jobs},
		Objects:       objects{p.store.Bucket(string(p.cfg.Media.Bucket))},
		Originals:     originals{p.jobs, p.store.Bucket(string(p.cfg.Source.Bucket))},
		Pages:         player.NewSite(),
		Embeds:        gate,
		KeysPerToken:  int(p.cfg.Viewer.KeyLimitPerToken),
		KeysPerClient: int(p.cfg.Viewer.KeyLimitPerClient),
		Redis:         p.redis,
		EventStreams:  int(p.cfg.Streams.EventStreams),
		Ready: map[string]func(context.Context) error{
			"postgres": p.pool.Ping,
			"redis":    func(ctx context.Context) error { return p.redis.Ping(ctx).Err() },
			"s3": func(ctx context.Context) error {
				return checkBucket(ctx, p.store, "MEDIA_BUCKET", p.cfg.Media.Bucket)
			},
		},
		Registry: p.registry,
		Log:      p.log,
	}
	for _, o := range p.cfg.Viewer.CORSOrigins {
		cfg.CORSOrigins = append(cfg.CORSOrigins, string(o))
	}
	for _, t := range p.cfg.Viewer.TrustedProxies {
		cfg.TrustedProxies = append(cfg.TrustedProxies, t.Prefix)
	}
	return api.New(cfg)
}

// serveAPI serves until ctx ends, then lets requests end.
func (p *platform) serveAPI(ctx context.Context, h http.Handler, ln net.Listener) error {
	srv := api.NewServer(ln.Addr().String(), h)
	srv.ErrorLog = slog.NewLogLogger(p.log.Handler(), slog.LevelWarn)
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(ln) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve the API: %w", err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := srv.Shutdown(end); err != nil {
		p.log.Warn("requests were cut off", "error", err)
		_ = srv.Close()
	}
	return nil
}

// serveMetrics serves /metrics until stop is called.
func (p *platform) serveMetrics(ctx context.Context) (stop func(), err error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", string(p.cfg.Metrics.Addr))
	if err != nil {
		return nil, fmt.Errorf("listen on METRICS_ADDR: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(p.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelWarn), Registry: p.registry, Timeout: 10 * time.Second,
	}))
	srv := newHTTPServer(mux)
	go func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("metrics server ended", "error", err)
		}
	}()
	return func() { _ = srv.Close() }, nil
}
