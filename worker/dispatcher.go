package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// taskTimeout is asynq's limit for one doorbell. asynq's own default, 30
// minutes, kills long transcodes; an attempt has its own limits.
const taskTimeout = 7 * 24 * time.Hour

// DispatcherConfig is what a Dispatcher needs. Zero durations mean the default.
type DispatcherConfig struct {
	Store       *JobStore
	Redis       redis.UniversalClient
	MaxAttempts int // default 3
	Metrics     *Metrics
	Log         *slog.Logger

	Poll      time.Duration // between looks at the outbox, 250 ms
	ReapEvery time.Duration // between rounds of reaper and reconciler, 2 s
	LostAfter time.Duration // a queued job is quiet for so long before Redis is asked for its doorbell; also the time between looks at archived tasks; 30 s

	ForgetEvery time.Duration // between deletions of old idempotency keys, 10 min

	Keys        RetiredKeys   // nil: nobody revokes
	RevokeEvery time.Duration // between looks for retiring keys whose time is over, 1 min
}

// RetiredKeys ends content keys; keystore.Postgres has it.
type RetiredKeys interface {
	// RevokeRetired revokes some keys whose time is over, and says how many.
	RevokeRetired(ctx context.Context) (int64, error)
}

// Dispatcher brings outbox rows to Redis, ends expired leases, replaces lost
// doorbells, rescues tasks that asynq archived by accident, and revokes content
// keys that have retired. Any number may run side by side.
type Dispatcher struct {
	cfg       DispatcherConfig
	inspector *asynq.Inspector
	wake      chan struct{}

	mu     sync.Mutex
	client *asynq.Client
}

// NewDispatcher returns a dispatcher that does nothing until Run.
func NewDispatcher(cfg DispatcherConfig) *Dispatcher {
	setDefault(&cfg.MaxAttempts, defaultMaxAttempts)
	setDefault(&cfg.Poll, 250*time.Millisecond)
	setDefault(&cfg.ReapEvery, 2*time.Second)
	setDefault(&cfg.LostAfter, 30*time.Second)
	setDefault(&cfg.ForgetEvery, 10*time.Minute)
	setDefault(&cfg.RevokeEvery, time.Minute)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	return &Dispatcher{
		cfg:       cfg,
		inspector: asynq.NewInspectorFromRedisClient(cfg.Redis),
		client:    asynq.NewClientFromRedisClient(cfg.Redis),
		wake:      make(chan struct{}, 1),
	}
}

// Wake makes Run look at the outbox now. It never blocks.
func (d *Dispatcher) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends, and returns nil then. Postgres or Redis being
// away delays it and is logged once per outage.
func (d *Dispatcher) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { d.every(ctx, "dispatch", d.cfg.Poll, d.wake, d.dispatch) })
	wg.Go(func() { d.every(ctx, "reap", d.cfg.ReapEvery, nil, d.reap) })
	wg.Go(func() { d.every(ctx, "reconcile", d.cfg.ReapEvery, nil, d.reconcile) })
	wg.Go(func() { d.every(ctx, "forget idempotency keys", d.cfg.ForgetEvery, nil, d.forgetKeys) })
	if d.cfg.Keys != nil {
		wg.Go(func() { d.every(ctx, "revoke retired keys", d.cfg.RevokeEvery, nil, d.revokeKeys) })
	}
	wg.Go(func() { d.every(ctx, "rescue", d.cfg.LostAfter, nil, d.rescue) })
	wg.Wait()
	return nil
}

// every runs round again and again; with a fault the pauses grow to 2 s at least.
func (d *Dispatcher) every(ctx context.Context, what string, pause time.Duration, wake <-chan struct{}, round func(context.Context) error) {
	away := false
	wait := pause
	for {
		err := round(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			d.cfg.Metrics.dependencyError(err)
			wait = max(pause, min(2*wait, 2*time.Second))
			if !away {
				d.cfg.Log.Error("dispatcher round", "round", what, "error", err)
			}
		case away:
			d.cfg.Log.Info("dispatcher round works again", "round", what)
		}
		if away = err != nil; !away {
			wait = pause
		}
		select {
		case <-ctx.Done():
			return
		case <-wake:
		case <-time.After(wait):
		}
	}
}

func (d *Dispatcher) dispatch(ctx context.Context) error {
	const batch = 100
	for {
		sent, err := d.cfg.Store.dispatch(ctx, batch, d.send)
		if err != nil || sent < batch {
			return err
		}
	}
}

// send rings one doorbell.
func (d *Dispatcher) send(ctx context.Context, bell Doorbell, queue string) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	_, err := d.asynqClient().EnqueueContext(ctx, asynq.NewTask(TypeRun, bell.payload()),
		asynq.Queue(runQueue(queue)), asynq.TaskID(bell.TaskID()), asynq.Timeout(taskTimeout), asynq.MaxRetry(1000))
	if err != nil && !errors.Is(err, asynq.ErrTaskIDConflict) {
		return &redisError{fmt.Errorf("enqueue %s: %w", bell.TaskID(), err)}
	}
	return nil
}

func (d *Dispatcher) reap(ctx context.Context) error {
	r, err := d.cfg.Store.reap(ctx, d.cfg.MaxAttempts)
	if err != nil {
		return err
	}
	for _, id := range r.Requeued {
		d.cfg.Metrics.attemptEnded(outcomeLost)
		d.cfg.Log.Warn("lease expired, job is queued again", "job_id", id)
	}
	for _, j := range r.Failed {
		d.cfg.Metrics.attemptEnded(outcomeLost)
		d.cfg.Metrics.jobEnded(j.Type, outcomeFailed)
		d.cfg.Log.Error("lease expired, attempts are used up", "job_id", j.ID)
	}
	if len(r.Requeued) > 0 {
		d.Wake()
	}
	return nil
}

func (d *Dispatcher) reconcile(ctx context.Context) error {
	lost, err := d.cfg.Store.reconcile(ctx, d.cfg.LostAfter, d.alive)
	if err != nil || len(lost) == 0 {
		return err
	}
	for _, id := range lost {
		d.cfg.Log.Warn("doorbell was lost, job is rung again", "job_id", id)
	}
	d.Wake()
	return nil
}

func (d *Dispatcher) forgetKeys(ctx context.Context) error {
	n, err := d.cfg.Store.forgetKeys(ctx)
	if n > 0 {
		d.cfg.Log.Info("old idempotency keys deleted", "keys", n)
	}
	return err
}

func (d *Dispatcher) revokeKeys(ctx context.Context) error {
	for {
		n, err := d.cfg.Keys.RevokeRetired(ctx)
		if err != nil || n == 0 {
			return err
		}
		d.cfg.Log.Info("retired content keys revoked", "keys", n)
	}
}

// alive reports whether a doorbell will still ring.
func (d *Dispatcher) alive(_ context.Context, bell Doorbell, queue string) (bool, error) {
	info, err := d.inspector.GetTaskInfo(runQueue(queue), bell.TaskID())
	switch {
	case errors.Is(err, asynq.ErrQueueNotFound):
		// Redis has lost everything. asynq writes a queue's name once per
		// client: without a new client the queue would stay unknown.
		d.renewClient()
		return false, nil
	case errors.Is(err, asynq.ErrTaskNotFound):
		return false, nil
	case err != nil:
		return false, &redisError{fmt.Errorf("look up %s: %w", bell.TaskID(), err)}
	}
	return info.State != asynq.TaskStateArchived && info.State != asynq.TaskStateCompleted, nil
}

func (d *Dispatcher) asynqClient() *asynq.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.client
}

func (d *Dispatcher) renewClient() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.client = asynq.NewClientFromRedisClient(d.cfg.Redis)
}

// redisError marks an error as Redis's.
type redisError struct{ err error }

func (e *redisError) Error() string { return e.err.Error() }
func (e *redisError) Unwrap() error { return e.err }

func setDefault[T int | time.Duration](v *T, otherwise T) {
	if *v <= 0 {
		*v = otherwise
	}
}
