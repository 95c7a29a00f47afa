package worker

import (
	"context"
	"sync"

	"github.com/sealcast/sealcast/internal/notices"
)

// watch knows the attempts of this process and ends those whose job is
// cancelled. Whoever claims a job expects it first, so that no notice falls
// between the claim and the attempt.
type watch struct {
	mu       sync.Mutex
	expected map[*expectation]struct{}
}

// expectation is a job that this process has claimed or is about to claim.
type expectation struct {
	w         *watch
	job       string
	attempt   int // 0 until it is known
	cancelled int // the newest attempt that a notice named
	stop      context.CancelCauseFunc
}

func newWatch() *watch { return &watch{expected: map[*expectation]struct{}{}} }

func (w *watch) expect(job string) *expectation {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := &expectation{w: w, job: job}
	w.expected[e] = struct{}{}
	return e
}

// begin says which attempt it is and how it is ended.
func (e *expectation) begin(attempt int, stop context.CancelCauseFunc) {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	e.attempt, e.stop = attempt, stop
	e.check()
}

func (e *expectation) forget() {
	e.w.mu.Lock()
	defer e.w.mu.Unlock()
	delete(e.w.expected, e)
}

func (e *expectation) check() {
	if e.stop != nil && e.cancelled >= e.attempt {
		e.stop(errCancelled)
	}
}

// cancelled ends the attempt, if it runs here.
func (w *watch) cancelled(f Fence) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for e := range w.expected {
		if e.job == f.JobID {
			e.cancelled = max(e.cancelled, f.Attempt)
			e.check()
		}
	}
}

func (w *watch) running() (attempts []Fence) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for e := range w.expected {
		if e.stop != nil {
			attempts = append(attempts, Fence{e.job, e.attempt})
		}
	}
	return attempts
}

// listen hears of cancelled jobs until ctx ends. It has a connection of its
// own; while that is away the heartbeats find out, a little later.
func (w *Worker) listen(ctx context.Context) {
	away := false
	notices.Listener{
		Pool: w.cfg.Store.pool, Channel: cancelChannel, Name: "sealcast listener",
		Up: func(ctx context.Context) error {
			if away {
				w.cfg.Log.Info("listening to postgres again")
			}
			away = false
			return w.catchUp(ctx)
		},
		Heard: func(payload string) {
			if f, ok := parseCancelNotice(payload); ok {
				w.watch.cancelled(f)
			}
		},
		Down: func(err error) {
			w.cfg.Metrics.dependencyError(err)
			if !away {
				w.cfg.Log.Warn("not listening to postgres, cancelled jobs end with a heartbeat", "error", err)
			}
			away = true
		},
	}.Run(ctx)
}

// catchUp looks for what was cancelled while nobody listened.
func (w *Worker) catchUp(ctx context.Context) error {
	attempts := w.watch.running()
	if len(attempts) == 0 {
		return nil
	}
	cancelled, err := w.cfg.Store.cancelledOf(ctx, attempts)
	for _, f := range cancelled {
		w.watch.cancelled(f)
	}
	return err
}
