package api

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"
)

const defaultEventPoll = 500 * time.Millisecond // and so at most two events per second and job

// hub tells the event streams of this process what becomes of their jobs. One
// goroutine reads all the jobs that somebody listens to with one query; it
// runs only while there is somebody.
type hub struct {
	jobs     JobService
	metrics  *metrics
	log      *slog.Logger
	every    time.Duration
	limit    int           // of streams
	draining chan struct{} // closed when the streams shall end

	mu        sync.Mutex
	open      int // streams, also those that do not listen yet
	listeners map[*listener]struct{}
	stop      context.CancelFunc // of the poller, while there are listeners
	drained   bool
}

// listener waits for news of one job.
type listener struct {
	id   string
	news chan *Job // holds the newest; nil: the job is gone
}

func newHub(cfg Config, m *metrics) *hub {
	h := &hub{
		jobs: cfg.Jobs, metrics: m, log: cfg.Log, every: cfg.eventPoll, limit: cfg.EventStreams,
		draining: make(chan struct{}), listeners: map[*listener]struct{}{},
	}
	if h.every <= 0 {
		h.every = defaultEventPoll
	}
	return h
}

// enter takes one of the streams that this process may have open.
func (h *hub) enter() (leave func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.drained || h.open >= h.limit {
		p := problem(http.StatusServiceUnavailable, "too_many_streams", "no more event streams are open at once, try again later")
		p.RetryAfter = 5 * time.Second
		return nil, p
	}
	h.open++
	h.metrics.streams.Inc()
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.open--
		h.metrics.streams.Dec()
	}, nil
}

// listen gives what the job is from the next look on.
func (h *hub) listen(id string) (l *listener, leave func()) {
	l = &listener{id: id, news: make(chan *Job, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listeners[l] = struct{}{}
	if h.stop == nil {
		ctx, stop := context.WithCancel(context.Background())
		h.stop = stop
		go h.poll(ctx)
	}
	return l, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if delete(h.listeners, l); len(h.listeners) == 0 {
			h.stop()
			h.stop = nil
		}
	}
}

// drain ends all streams and lets no new ones in.
func (h *hub) drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.drained {
		h.drained = true
		close(h.draining)
	}
}

func (h *hub) poll(ctx context.Context) {
	tick := time.NewTicker(h.every)
	defer tick.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		err := h.round(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			h.metrics.dependency.WithLabelValues(depPostgres).Inc()
			if !away {
				h.log.Warn("event streams have no news", "error", err)
			}
		}
		away = err != nil
	}
}

// round reads the jobs once. Only who listened before the look gets what it
// saw, so that nobody goes back in time.
func (h *hub) round(ctx context.Context) error {
	waiting := map[string][]*listener{}
	var ids []string
	h.mu.Lock()
	for l := range h.listeners {
		if waiting[l.id] == nil {
			ids = append(ids, l.id)
		}
		waiting[l.id] = append(waiting[l.id], l)
	}
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	jobs, err := h.jobs.GetMany(ctx, ids)
	if err != nil {
		return err
	}
	found := map[string]*Job{}
	for _, job := range jobs {
		found[job.ID] = &job
	}
	for id, listeners := range waiting {
		for _, l := range listeners {
			l.tell(found[id])
		}
	}
	return nil
}

// tell replaces news that nobody has read. It never waits.
func (l *listener) tell(job *Job) {
	select {
	case <-l.news:
	default:
	}
	select {
	case l.news <- job:
	default:
	}
}
