package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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

// Times of the listening connection.
const (
	listenPing  = 10 * time.Second // a quiet connection is asked whether it lives
	listenPause = time.Second      // before the next one
)

// listen hears of cancelled jobs until ctx ends. It has a connection of its
// own; while that is away the heartbeats find out, a little later.
func (w *Worker) listen(ctx context.Context) {
	away := false
	for {
		err := w.cfg.Store.listen(ctx, w.cfg.Name, func() error {
			if away {
				w.cfg.Log.Info("listening to postgres again")
			}
			away = false
			return w.catchUp(ctx)
		}, w.watch.cancelled)
		if ctx.Err() != nil {
			return
		}
		w.cfg.Metrics.dependencyError(err)
		if !away {
			w.cfg.Log.Warn("not listening to postgres, cancelled jobs end with a heartbeat", "error", err)
		}
		away = true
		if !sleep(ctx, listenPause) {
			return
		}
	}
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

// listen calls listening once notices will arrive, then heard for each. It
// ends with an error when the connection does.
func (s *JobStore) listen(ctx context.Context, name string, listening func() error, heard func(Fence)) error {
	cfg := s.pool.Config().ConnConfig
	cfg.RuntimeParams["application_name"] = "sealcast listener"
	dial, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(dial, cfg)
	if err != nil {
		return fmt.Errorf("listen as %s: %w", name, err)
	}
	defer closeConn(ctx, conn)
	if _, err := conn.Exec(dial, "LISTEN "+cancelChannel); err != nil {
		return fmt.Errorf("listen as %s: %w", name, err)
	}
	if err := listening(); err != nil {
		return err
	}
	for {
		notice, err := nextNotice(ctx, conn)
		if err != nil {
			return err
		}
		if notice == nil {
			continue
		}
		if f, ok := parseCancelNotice(notice.Payload); ok {
			heard(f)
		}
	}
}

// nextNotice waits for a notice, or gives nil when the connection was quiet
// for a while and still lives.
func nextNotice(ctx context.Context, conn *pgx.Conn) (*pgconn.Notification, error) {
	wait, cancel := context.WithTimeout(ctx, listenPing)
	defer cancel()
	notice, err := conn.WaitForNotification(wait)
	if err == nil {
		return notice, nil
	}
	if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || conn.IsClosed() {
		return nil, fmt.Errorf("wait for notices: %w", err)
	}
	ping, cancelPing := context.WithTimeout(ctx, queryTimeout)
	defer cancelPing()
	if err := conn.Ping(ping); err != nil {
		return nil, fmt.Errorf("ping the listening connection: %w", err)
	}
	return nil, nil //nolint:nilnil // quiet, and alive
}

func closeConn(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
