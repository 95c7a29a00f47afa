package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// Config is what a Worker needs. Zero values mean the default.
type Config struct {
	Store    *JobStore
	Redis    redis.UniversalClient
	Keys     Keys
	Pipeline Pipeline
	Parts    PartMaker // nil: this worker makes no parts and no plans
	Plans    Planner   // there when Parts is
	Wake     func()    // tells the dispatcher that the outbox has news
	BaseURL  string    // public origin, without a trailing slash
	Name     string    // of this process in job rows; default: host and a random part

	Concurrency      int   // attempts at once from QueueDefault, 1
	LargeConcurrency int   // attempts at once from QueueLarge, 1
	PartConcurrency  int   // attempts on parts at once, 1
	MaxSourceBytes   int64 // 0: no limit
	// AttemptMemory is reserved for each attempt, in bytes: without it none
	// begins. 0: nothing is reserved.
	AttemptMemory int64
	Memory        func() (Memory, error) // HostMemory
	MaxAttempts   int                    // 3
	DrainTimeout  time.Duration          // how long a shutdown lets attempts go on, 10 min; negative: not at all
	RetryBackoff  time.Duration          // before the second attempt, then doubling, 5 s

	KeyRetention time.Duration // how long keys are served after a repackaging, 30 days

	Lease          time.Duration // 15 s
	HeartbeatEvery time.Duration // 4 s
	FenceAfter     time.Duration // without a heartbeat an attempt ends itself, 11 s
	ProgressEvery  time.Duration // 1 s

	Metrics *Metrics
	Log     *slog.Logger
}

// Worker runs attempts.
type Worker struct {
	cfg    Config
	gate   *gate
	memory *admission
	watch  *watch

	inspector *asynq.Inspector
	handlers  sync.WaitGroup
	draining  chan struct{} // closed when a shutdown begins
	now       chan struct{} // closed by Abort
	once      sync.Once
}

// New checks the configuration. Nothing runs until Run.
func New(cfg Config) (*Worker, error) {
	var missing []string
	for name, there := range map[string]bool{
		"Store": cfg.Store != nil, "Redis": cfg.Redis != nil, "Keys": cfg.Keys != nil,
		"Pipeline": cfg.Pipeline != nil, "BaseURL": cfg.BaseURL != "",
	} {
		if !there {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, fmt.Errorf("worker config: missing %s", strings.Join(missing, ", "))
	}
	setDefault(&cfg.Concurrency, 1)
	setDefault(&cfg.LargeConcurrency, 1)
	setDefault(&cfg.PartConcurrency, 1)
	setDefault(&cfg.MaxAttempts, defaultMaxAttempts)
	setDefault(&cfg.KeyRetention, 30*24*time.Hour)
	setDefault(&cfg.RetryBackoff, 5*time.Second)
	setDefault(&cfg.Lease, 15*time.Second)
	setDefault(&cfg.HeartbeatEvery, 4*time.Second)
	setDefault(&cfg.FenceAfter, 11*time.Second)
	setDefault(&cfg.ProgressEvery, time.Second)
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = 10 * time.Minute
	}
	if cfg.HeartbeatEvery >= cfg.FenceAfter || cfg.FenceAfter >= cfg.Lease {
		return nil, errors.New("worker config: want HeartbeatEvery < FenceAfter < Lease")
	}
	if cfg.Name == "" {
		host, _ := os.Hostname()
		cfg.Name = host + "/" + uuid.NewString()[:8]
	}
	if cfg.Wake == nil {
		cfg.Wake = func() {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	if cfg.Memory == nil {
		cfg.Memory = HostMemory
	}
	memory, err := newAdmission(cfg.AttemptMemory, cfg.Memory, cfg.Metrics.waiting, cfg.Log)
	if err != nil {
		return nil, err
	}
	return &Worker{
		cfg:    cfg,
		memory: memory,
		gate:   newGate(map[string]int{QueueDefault: cfg.Concurrency, QueueLarge: cfg.LargeConcurrency, QueueParts: cfg.PartConcurrency}),
		watch:  newWatch(),

		inspector: asynq.NewInspectorFromRedisClient(cfg.Redis),
		draining:  make(chan struct{}),
		now:       make(chan struct{}),
	}, nil
}

// Abort makes Run end its attempts at once instead of waiting for
// DrainTimeout.
func (w *Worker) Abort() { w.once.Do(func() { close(w.now) }) }

// Run takes tasks until ctx ends, then drains: no new work, running attempts
// go on for DrainTimeout, then they are ended and their jobs released. It
// returns only when every handler has returned, and so every child is reaped.
func (w *Worker) Run(ctx context.Context) error {
	if err := CheckPolicy(ctx, w.cfg.Redis, w.cfg.Log); err != nil {
		return err
	}
	// Cancelling works until the last attempt has ended.
	listening, stopListening := context.WithCancel(context.WithoutCancel(ctx))
	var listener sync.WaitGroup
	listener.Go(func() { w.listen(listening) })
	defer func() { stopListening(); listener.Wait() }()
	leave := w.attend(ctx)
	defer leave()
	var servers []*asynq.Server
	for _, s := range w.counters() {
		srv := asynq.NewServerFromRedisClient(newSleeper(w.cfg.Redis, s.queue, w.draining), asynq.Config{
			Concurrency:              s.slots,
			Queues:                   map[string]int{s.queue: 1},
			TaskCheckInterval:        s.look,
			DelayedTaskCheckInterval: time.Second,
			// asynq must not push a task back while its handler runs.
			ShutdownTimeout: max(0, w.cfg.DrainTimeout) + time.Hour,
			RetryDelayFunc:  askAgainDelay,
			IsFailure:       isFailure,
			Logger:          asynqLog{w.cfg.Log},
			LogLevel:        asynq.WarnLevel,
		})
		if err := srv.Start(s.handler); err != nil {
			w.shutdown(servers)
			return fmt.Errorf("start a queue server: %w", err)
		}
		servers = append(servers, srv)
	}
	w.cfg.Log.Info("worker started", "worker", w.cfg.Name, "concurrency", w.cfg.Concurrency, "large_concurrency", w.cfg.LargeConcurrency)
	<-ctx.Done()
	w.cfg.Log.Info("worker is draining", "worker", w.cfg.Name, "timeout", w.cfg.DrainTimeout.String())
	w.shutdown(servers)
	w.cfg.Log.Info("worker stopped", "worker", w.cfg.Name)
	return nil
}

// counter is a place where tasks of one queue are taken.
type counter struct {
	queue   string
	slots   int
	look    time.Duration // between two looks where Redis does not wake it; each costs some 0.6 ms
	handler asynq.HandlerFunc
}

func (w *Worker) counters() []counter {
	adopt := w.answer(w.adopt, requestTypes()...)
	of := func(queue string, slots int, look time.Duration) counter {
		return counter{runQueue(queue), slots, look, w.answer(w.runJob(queue), TypeRun)}
	}
	all := []counter{
		{QueueDefault, adopters, 50 * time.Millisecond, adopt},
		{QueueLarge, adopters, 50 * time.Millisecond, adopt},
		of(QueueDefault, w.cfg.Concurrency, 50*time.Millisecond),
		of(QueueLarge, w.cfg.LargeConcurrency, 500*time.Millisecond),
	}
	if w.cfg.Parts != nil {
		all = append(all, of(QueueParts, w.cfg.PartConcurrency, 100*time.Millisecond))
	}
	return all
}

func (w *Worker) shutdown(servers []*asynq.Server) {
	close(w.draining)
	idle := w.gate.close()
	var stopping sync.WaitGroup
	for _, srv := range servers { // Stop waits for a poll of Redis to return
		stopping.Go(srv.Stop)
	}
	timer := time.NewTimer(max(0, w.cfg.DrainTimeout))
	defer timer.Stop()
	select {
	case <-idle:
	case <-w.now:
	case <-timer.C:
	}
	w.gate.abort(errDraining)
	<-idle
	stopping.Wait()
	for _, srv := range servers {
		stopping.Go(srv.Shutdown)
	}
	stopping.Wait()
	w.handlers.Wait()
}

// adopters is how many tasks of upload services are taken over at once, of each queue.
const adopters = 4

// answer handles the given types of tasks and refuses all others.
func (w *Worker) answer(handle asynq.HandlerFunc, types ...string) asynq.HandlerFunc {
	return func(ctx context.Context, task *asynq.Task) error {
		w.handlers.Add(1)
		defer w.handlers.Done()
		if slices.Contains(types, task.Type()) {
			return handle(ctx, task)
		}
		w.cfg.Metrics.adopted.WithLabelValues(adoptedRefused).Inc()
		w.cfg.Log.Error("foreign task refused", "type", name(task.Type()))
		return refuse(&RequestError{CodeTypeUnknown, "unknown task type " + name(task.Type())})
	}
}

// CheckPolicy refuses a Redis that may throw tasks away when it is full.
func CheckPolicy(ctx context.Context, rdb redis.UniversalClient, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if err := rdb.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("reach redis: %w", err)
	}
	const key = "maxmemory-policy"
	policy := ""
	if values, err := rdb.ConfigGet(ctx, key).Result(); err == nil {
		policy = values[key]
	}
	if policy == "" { // managed services often forbid CONFIG
		info, _ := rdb.Info(ctx, "memory").Result()
		for line := range strings.Lines(info) {
			if v, ok := strings.CutPrefix(line, "maxmemory_policy:"); ok {
				policy = strings.TrimSpace(v)
			}
		}
	}
	return policyVerdict(policy, func(text string) { log.Warn(text) })
}

func policyVerdict(policy string, warn func(string)) error {
	switch policy {
	case "noeviction":
		return nil
	case "":
		warn("redis does not tell its maxmemory-policy: it must be noeviction")
		return nil
	}
	return fmt.Errorf("redis has maxmemory-policy %s and may drop tasks: set it to noeviction", policy)
}

// asynqLog brings asynq's messages to slog.
type asynqLog struct{ log *slog.Logger }

func (l asynqLog) Debug(args ...any) { l.log.Debug("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLog) Info(args ...any)  { l.log.Info("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLog) Warn(args ...any)  { l.log.Warn("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLog) Error(args ...any) { l.log.Error("asynq", "text", fmt.Sprint(args...)) }
func (l asynqLog) Fatal(args ...any) { l.log.Error("asynq", "text", fmt.Sprint(args...)) }
