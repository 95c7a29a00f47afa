package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// ErrNotRecorded says that the entry cannot be kept, so nothing may be handed out.
var ErrNotRecorded = errors.New("the audit entry cannot be queued")

const (
	maxQueued  = 1 << 16                // entries, some 500 bytes each
	maxBatch   = 8192                   // entries of one transaction
	flushEvery = 200 * time.Millisecond // what a killed process may lose
	retryAfter = time.Second            // after a failed write
	writeTime  = 10 * time.Second       // for one transaction
	closeTime  = 8 * time.Second        // for what is queued at the end
)

// Journal queues what viewers do in memory and writes it to the chain in
// batches: one writer per process, in the order of first occurrence. It is safe
// for concurrent use.
type Journal struct {
	pool    *pgxpool.Pool
	log     *slog.Logger
	metrics *metrics
	most    int
	ending  time.Duration // how long Close tries

	mu      sync.Mutex
	open    bool
	queue   []*record
	known   map[Access]*record // those of queue
	writing int                // taken from the queue, and not written yet

	full chan struct{} // wakes the writer before its time
	done chan struct{} // closed when the writer has ended
	stop chan struct{}
}

// NewJournal returns a journal that queues at once and writes until Close.
// reg may be nil.
func NewJournal(pool *pgxpool.Pool, log *slog.Logger, reg prometheus.Registerer) (*Journal, error) {
	return newJournal(pool, log, reg, maxQueued)
}

func newJournal(pool *pgxpool.Pool, log *slog.Logger, reg prometheus.Registerer, most int) (*Journal, error) {
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	j := &Journal{
		pool: pool, log: log, metrics: m, most: most, ending: closeTime, open: true, known: map[Access]*record{},
		full: make(chan struct{}, 1), done: make(chan struct{}), stop: make(chan struct{}),
	}
	go j.run()
	return j, nil
}

// Record queues an entry. After ErrNotRecorded nothing may be handed out.
func (j *Journal) Record(a Access, requestID string) error {
	now := time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.open {
		j.metrics.dropped.Inc()
		return fmt.Errorf("%w: the process is ending", ErrNotRecorded)
	}
	if r, ok := j.known[a]; ok {
		r.count++
		r.last = now
		return nil
	}
	queued := len(j.queue) + j.writing
	if queued >= j.most {
		j.metrics.dropped.Inc()
		return fmt.Errorf("%w: %d wait for the database", ErrNotRecorded, queued)
	}
	r := &record{Access: a, first: now, last: now, count: 1, requestID: requestID}
	j.queue = append(j.queue, r)
	j.known[a] = r
	j.metrics.queued.Set(float64(queued + 1))
	if len(j.queue) == maxBatch {
		select {
		case j.full <- struct{}{}:
		default:
		}
	}
	return nil
}

// Close queues nothing any more, writes what is queued, and returns when all is
// written or the database did not take it.
func (j *Journal) Close() error {
	j.mu.Lock()
	wasOpen := j.open
	j.open = false
	j.mu.Unlock()
	if wasOpen {
		close(j.stop)
	}
	<-j.done
	j.mu.Lock()
	defer j.mu.Unlock()
	if lost := len(j.queue) + j.writing; lost > 0 {
		return fmt.Errorf("%d audit entries are lost: the database did not take them", lost)
	}
	return nil
}

// run writes until stop, then once more.
func (j *Journal) run() {
	defer close(j.done)
	pause := time.NewTimer(flushEvery)
	defer pause.Stop()
	w := writer{pool: j.pool}
	for {
		select {
		case <-j.stop:
			j.drain(&w)
			return
		case <-j.full:
		case <-pause.C:
		}
		wait := flushEvery
		if err := j.flush(context.Background(), &w); err != nil {
			j.metrics.failures.Inc()
			j.log.Error("audit entries wait for the database", "error", err, "entries", j.waiting())
			wait = retryAfter
		}
		pause.Reset(wait)
	}
}

// drain writes what is left while there is time.
func (j *Journal) drain(w *writer) {
	ctx, cancel := context.WithTimeout(context.Background(), j.ending)
	defer cancel()
	for j.waiting() > 0 && ctx.Err() == nil {
		if err := j.flush(ctx, w); err != nil {
			j.metrics.failures.Inc()
			select {
			case <-ctx.Done():
			case <-time.After(retryAfter / 4):
			}
		}
	}
}

func (j *Journal) waiting() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.queue) + j.writing
}

// flush writes all that is queued now. A batch that fails stays in w and comes
// first the next time.
func (j *Journal) flush(ctx context.Context, w *writer) error {
	for {
		if len(w.batch) == 0 {
			w.take(j.take())
		}
		if len(w.batch) == 0 {
			return nil
		}
		if err := w.write(ctx); err != nil {
			return err
		}
		j.mu.Lock()
		j.writing = 0
		j.metrics.queued.Set(float64(len(j.queue)))
		j.mu.Unlock()
		j.metrics.written.Add(float64(len(w.batch)))
		w.batch = nil
	}
}

// take gives the oldest entries of the queue, at most maxBatch.
func (j *Journal) take() []*record {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := min(len(j.queue), maxBatch)
	batch := j.queue[:n:n]
	if j.queue = j.queue[n:]; len(j.queue) == 0 {
		j.queue = nil
	}
	for _, r := range batch {
		delete(j.known, r.Access)
	}
	j.writing = n
	return batch
}
