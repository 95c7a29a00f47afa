package worker

import (
	"bytes"
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/sealcast/sealcast/pipeline"
)

// deaf is a Pipeline that goes on after its context has ended, as an attempt
// on a worker that hangs does.
type deaf struct{ *script }

func (d deaf) Run(ctx context.Context, req pipeline.Request) (*pipeline.Presentation, error) {
	return d.script.Run(context.WithoutCancel(ctx), req)
}

func TestLostWorkerIsReplacedAndChangesNothing(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	old := newScript()
	// The first worker's heartbeats do not arrive: its database is cut off below.
	cut, pool := h.cuttable()
	slow := h.worker(deaf{old}, func(c *Config) { c.Store, c.Wake = NewJobStore(pool), d.Wake })
	job := h.submit(request(1, ""))
	first := old.next(t)
	cut.Store(true)
	h.expire(job)
	h.await(job.ID, StateQueued)
	young := newScript()
	h.worker(young, func(c *Config) { c.Wake = d.Wake })
	second := young.next(t)
	cut.Store(false)
	first.succeed() // too late: the pipeline returns, nothing is published
	second.succeed()
	job = h.await(job.ID, StateSucceeded)
	slow.stop()
	if entry, err := h.store.Entry(t.Context(), job.Hash); err != nil || entry.Prefix != second.req.Prefix || job.Attempt != 2 {
		t.Errorf("published %+v, %v, after %d attempts", entry, err, job.Attempt)
	}
	h.invariants()
}

// expire ends the lease of a running job.
func (h *house) expire(job Job) {
	h.t.Helper()
	h.exec(`UPDATE jobs SET lease_until = clock_timestamp() WHERE id = $1 AND state = 'running'`, job.ID)
}

// cuttable is a pool on the house's database that stops working while cut is set.
func (h *house) cuttable() (*atomic.Bool, *pgxpool.Pool) {
	cut := new(atomic.Bool)
	return cut, h.through(func(c net.Conn) net.Conn { return &cutConn{c, cut} })
}

type cutConn struct {
	net.Conn
	cut *atomic.Bool
}

func (c *cutConn) Write(b []byte) (int, error) {
	if c.cut.Load() {
		_ = c.Close()
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func (h *house) through(wrap func(net.Conn) net.Conn) *pgxpool.Pool {
	h.t.Helper()
	cfg, err := pgxpool.ParseConfig(h.dsn)
	if err != nil {
		h.t.Fatal(err)
	}
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return wrap(conn), nil
	}
	pool, err := pgxpool.NewWithConfig(h.t.Context(), cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(pool.Close)
	return pool
}

// cuttableRedis makes the house's Redis stop working while cut is set.
func (h *house) cuttableRedis() *atomic.Bool {
	h.t.Helper()
	cut := new(atomic.Bool)
	options := *h.redis.Options()
	options.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil || cut.Load() {
			return nil, errors.Join(err, net.ErrClosed)
		}
		return &cutConn{conn, cut}, nil
	}
	_ = h.redis.Close()
	h.redis = redis.NewClient(&options)
	h.t.Cleanup(func() { _ = h.redis.Close() })
	return cut
}

func TestRedisOutageDelaysAndLosesNothing(t *testing.T) {
	h := newHouse(t)
	cut := h.cuttableRedis()
	m := NewMetrics(nil)
	d, _ := h.dispatcher(func(c *DispatcherConfig) { c.Metrics = m })
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake = d.Wake })
	running := h.submit(request(1, ""))
	c := p.next(t)
	cut.Store(true)
	waiting := h.submit(request(2, ""))
	h.eventually("the dispatcher notices", func() bool { return testutil.ToFloat64(m.dependencies.WithLabelValues("redis")) > 0 })
	c.succeed()
	h.await(running.ID, StateSucceeded)
	cut.Store(false)
	p.next(t).succeed()
	h.await(waiting.ID, StateSucceeded)
	h.invariants()
}

func TestCutOffWorkerFencesItself(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	cut, pool := h.cuttable()
	h.worker(p, func(c *Config) {
		c.Store, c.Wake = NewJobStore(pool), d.Wake
		c.HeartbeatEvery, c.FenceAfter, c.MaxAttempts = 50*time.Millisecond, time.Second, 1000
	})
	job := h.submit(request(1, ""))
	c := p.next(t)
	cut.Store(true)
	select {
	case <-c.ctx.Done():
	case <-time.After(patience):
		t.Fatal("the attempt goes on without a lease")
	}
	if cause := context.Cause(c.ctx); !errors.Is(cause, errSelfFenced) {
		t.Errorf("cause %v", cause)
	}
	if got := h.get(job.ID); got.State != StateRunning { // the lease is still there, as far as the database knows
		t.Errorf("job is %s", got.State)
	}
	cut.Store(false)
	h.expire(job)
	h.finish(p, job.ID) // with a lease this short more than one attempt may be needed
	h.invariants()
}

func TestAttemptEndsWhenItsFenceIsLost(t *testing.T) {
	h := newHouse(t)
	p := newScript()
	_, stopDispatcher := h.dispatcher(nil)
	h.worker(p, nil)
	job := h.submit(request(1, ""))
	c := p.next(t)
	stopDispatcher()
	if err := h.store.Fail(t.Context(), h.get(job.ID).Fence(), "taken_away", "Taken away."); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.ctx.Done():
	case <-time.After(patience):
		t.Fatal("the attempt goes on")
	}
	if cause := context.Cause(c.ctx); !errors.Is(cause, errFenceLost) {
		t.Errorf("cause %v", cause)
	}
	wantError(t, h.get(job.ID), "taken_away")
}

func TestDrainLetsAttemptsFinish(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	w := h.worker(p, func(c *Config) { c.Wake = d.Wake })
	job := h.submit(request(1, ""))
	c := p.next(t)
	stopped := make(chan struct{})
	go func() { w.stop(); close(stopped) }()
	<-w.draining
	other := h.submit(request(2, ""))
	c.succeed()
	<-stopped
	if got := h.get(job.ID); got.State != StateSucceeded {
		t.Errorf("the running job is %s", got.State)
	}
	if got := h.get(other.ID); got.State != StateQueued || got.Attempt != 0 {
		t.Errorf("the waiting job is %s", got.State)
	}
	// Another worker takes it.
	h.worker(p, func(c *Config) { c.Wake = d.Wake })
	p.next(t).succeed()
	h.await(other.ID, StateSucceeded)
	h.invariants()
}

func TestDrainReleasesWhatDoesNotFinish(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"timeout":       func(c *Config) { c.DrainTimeout = time.Millisecond },
		"no patience":   func(c *Config) { c.DrainTimeout = -1 },
		"second signal": nil,
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			d, _ := h.dispatcher(nil)
			p := newScript()
			w := h.worker(p, func(c *Config) {
				c.Wake = d.Wake
				if change != nil {
					change(c)
				}
			})
			job := h.submit(request(1, ""))
			c := p.next(t)
			if change == nil {
				go func() { <-w.draining; w.Abort() }()
			}
			w.stop()
			if cause := context.Cause(c.ctx); !errors.Is(cause, errDraining) {
				t.Errorf("cause %v", cause)
			}
			got := h.get(job.ID)
			if got.State != StateQueued || got.Failures != 0 || got.DispatchSeq != 2 || got.ErrorCode != "" {
				t.Errorf("released job: %+v", got)
			}
			young := newScript()
			h.worker(young, func(c *Config) { c.Wake = d.Wake })
			young.next(t).succeed()
			if got := h.await(job.ID, StateSucceeded); got.Attempt != 2 {
				t.Errorf("%d attempts", got.Attempt)
			}
			h.invariants()
		})
	}
}

// commitConn breaks the connection around one COMMIT.
type commitConn struct {
	net.Conn
	armed  *atomic.Bool
	arrive bool // the COMMIT reaches the server, its answer does not come back
}

func (c *commitConn) Write(b []byte) (int, error) {
	if !bytes.Contains(b, []byte("commit\x00")) || !c.armed.CompareAndSwap(true, false) {
		return c.Conn.Write(b)
	}
	defer func() { _ = c.Close() }()
	if !c.arrive {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Write(b)
	if err != nil {
		return n, err
	}
	_, err = c.Read(make([]byte, 1)) // the server has answered
	return n, err
}

func TestLostAnswerToCommit(t *testing.T) {
	for name, arrive := range map[string]bool{"committed": true, "not committed": false} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			d, _ := h.dispatcher(nil)
			armed := new(atomic.Bool)
			pool := h.through(func(c net.Conn) net.Conn { return &commitConn{c, armed, arrive} })
			p := newScript()
			h.worker(p, func(c *Config) { c.Store, c.Wake = NewJobStore(pool), d.Wake })
			job := h.submit(request(1, ""))
			c := p.next(t)
			armed.Store(true)
			c.succeed()
			job = h.await(job.ID, StateSucceeded)
			if armed.Load() || job.Attempt != 1 {
				t.Errorf("armed %v, %d attempts", armed.Load(), job.Attempt)
			}
			h.invariants()
		})
	}
}

func TestPublishReadsTheRowAfterALostCommit(t *testing.T) {
	for name, arrive := range map[string]bool{"committed": true, "not committed": false} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			armed := new(atomic.Bool)
			store := NewJobStore(h.through(func(c net.Conn) net.Conn { return &commitConn{c, armed, arrive} }))
			job, req := h.claimed(1, "")
			armed.Store(true)
			err := store.Publish(t.Context(), req, h.keys)
			want := StateRunning
			if arrive {
				want = StateSucceeded
			}
			if got := h.get(job.ID); got.State != want || (err == nil) != arrive || armed.Load() {
				t.Errorf("job is %s, error %v", got.State, err)
			}
			h.invariants()
		})
	}
}

func TestPublishInACancelledContextChangesNothing(t *testing.T) {
	h := newHouse(t)
	job, req := h.claimed(1, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := h.store.Publish(ctx, req, h.keys); err == nil {
		t.Error("published")
	}
	if got := h.get(job.ID); got.State != StateRunning {
		t.Errorf("job is %s", got.State)
	}
	h.invariants()
}
