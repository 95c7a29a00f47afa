package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/pipeline"
)

func TestMain(m *testing.M) { os.Exit(localstacktest.RunWhole(m)) }

// patience bounds every wait of a test; nothing is decided by it when all is well.
const patience = 60 * time.Second

// house is a database, a Redis and a key store of a test's own.
type house struct {
	t     *testing.T
	dsn   string
	pool  *pgxpool.Pool
	redis *redis.Client
	keys  *keystore.Postgres
	store *JobStore
	log   *slog.Logger
}

func newHouse(t *testing.T) *house {
	t.Helper()
	t.Parallel()
	h := &house{t: t, dsn: localstacktest.DSN(t), log: slog.New(slog.NewTextHandler(t.Output(), nil))}
	h.pool = localstacktest.Connect(t, h.dsn)
	h.store = NewJobStore(h.pool)
	options, err := redis.ParseURL(localstacktest.RedisURL(t))
	if err != nil {
		t.Fatal(err)
	}
	h.redis = redis.NewClient(options)
	t.Cleanup(func() { _ = h.redis.Close() })
	ring, err := keystore.NewKeyring(1, map[int][]byte{1: []byte("0123456789abcdef0123456789ABCDEF")})
	if err != nil {
		t.Fatal(err)
	}
	if h.keys, err = keystore.Open(t.Context(), h.pool, ring, nil); err != nil {
		t.Fatal(err)
	}
	h.exec(`CREATE TABLE steps (id text, was text, became text)`)
	h.exec(`CREATE FUNCTION note_step() RETURNS trigger LANGUAGE plpgsql AS
		$$ BEGIN INSERT INTO steps VALUES (NEW.id, OLD.state, NEW.state); RETURN NULL; END $$`)
	h.exec(`CREATE TRIGGER note_step AFTER UPDATE ON jobs FOR EACH ROW
		WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION note_step()`)
	return h
}

func (h *house) exec(sql string, args ...any) {
	h.t.Helper()
	if _, err := h.pool.Exec(h.t.Context(), sql, args...); err != nil {
		h.t.Fatal(err)
	}
}

func count(h *house, sql string, args ...any) (n int) {
	h.t.Helper()
	if err := h.pool.QueryRow(h.t.Context(), sql, args...).Scan(&n); err != nil {
		h.t.Fatal(err)
	}
	return n
}

// request is a submission for asset n.
func request(n int, options string) Submission {
	if options == "" {
		options = "{}"
	}
	s, err := ParseSubmission(TypeTranscode, fmt.Appendf(nil, `{"hash":"%064x","source":"in/%d.mp4","options":%s}`, n, n, options))
	if err != nil {
		panic(err)
	}
	return s
}

func (h *house) submit(s Submission) Job {
	h.t.Helper()
	job, created, err := h.store.Submit(h.t.Context(), s, "")
	if err != nil || !created {
		h.t.Fatalf("submit: created %v, %v", created, err)
	}
	return job
}

func (h *house) get(id string) Job {
	h.t.Helper()
	job, err := h.store.Get(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return job
}

// eventually waits for what no event tells.
func (h *house) eventually(what string, ok func() bool) {
	h.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("never happened: %s", what)
		}
	}
}

func (h *house) await(id string, s State) (job Job) {
	h.t.Helper()
	h.eventually("job "+id+" is "+string(s), func() bool {
		job = h.get(id)
		if job.State != s && job.State.Final() {
			h.t.Fatalf("job is %s (%s), want %s", job.State, job.ErrorCode, s)
		}
		return job.State == s
	})
	return job
}

// invariants hold whatever happened.
func (h *house) invariants() {
	h.t.Helper()
	rows, err := h.pool.Query(h.t.Context(), `SELECT was, became FROM steps`)
	if err != nil {
		h.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var was, became State
		if err := rows.Scan(&was, &became); err != nil {
			h.t.Fatal(err)
		}
		if !was.CanBecome(became) {
			h.t.Errorf("a job went from %s to %s", was, became)
		}
	}
	for what, sql := range map[string]string{
		"succeeded without exactly one publication": `SELECT count(*) FROM jobs j WHERE (state = 'succeeded') <>
			(1 = (SELECT count(*) FROM publications p WHERE p.job_id = j.id AND j.part_kind = '')
			   + (SELECT count(*) FROM asset_parts p WHERE p.job_id = j.id AND j.part_kind = p.kind)) AND asset_deleted_at IS NULL AND type <> 'video:plan'`,
		"part without inventory": `SELECT count(*) FROM asset_parts p WHERE collected_at IS NULL AND NOT EXISTS
			(SELECT 1 FROM asset_part_objects o WHERE o.prefix = p.prefix)`,
		"published and deleted": `SELECT count(*) FROM jobs j JOIN publications p ON p.job_id = j.id WHERE asset_deleted_at IS NOT NULL`,
		"keys of other attempts are active": `SELECT count(*) FROM content_keys k WHERE state NOT IN ('pending', 'shredded') AND NOT EXISTS
			(SELECT 1 FROM publications p WHERE p.job_id = k.job_id AND p.attempt = k.attempt)`,
		"keys of the publication are not active": `SELECT count(*) FROM content_keys k WHERE state = 'pending' AND EXISTS
			(SELECT 1 FROM publications p WHERE p.job_id = k.job_id AND p.attempt = k.attempt)`,
		"shown by an attempt that has ended": `SELECT count(*) FROM early_publications e WHERE NOT EXISTS
			(SELECT 1 FROM jobs j WHERE j.id = e.job_id AND j.attempt = e.attempt AND j.state = 'running')`,
		"publication without inventory": `SELECT count(*) FROM publications p WHERE collected_at IS NULL AND NOT EXISTS
			(SELECT 1 FROM publication_objects o WHERE o.prefix = p.prefix)`,
	} {
		if n := count(h, sql); n != 0 {
			h.t.Errorf("%s: %d", what, n)
		}
	}
}

// stage is where a test conducts the runs of what a worker calls.
type stage[Request, Made any] struct{ runs chan *run[Request, Made] }

type run[Request, Made any] struct {
	ctx context.Context
	req Request
	end chan func() (*Made, error)
}

func newStage[Request, Made any]() stage[Request, Made] {
	return stage[Request, Made]{make(chan *run[Request, Made], 100)}
}

func (s stage[Request, Made]) perform(ctx context.Context, req Request) (*Made, error) {
	r := &run[Request, Made]{ctx: ctx, req: req, end: make(chan func() (*Made, error), 1)}
	s.runs <- r
	select {
	case end := <-r.end:
		return end()
	case <-ctx.Done():
		return nil, &pipeline.Error{Code: "encode_failed", Message: "The child was killed.", Err: context.Cause(ctx)}
	}
}

// begun is the next run that begins.
func (s stage[Request, Made]) begun(t *testing.T) *run[Request, Made] {
	t.Helper()
	select {
	case r := <-s.runs:
		return r
	case <-time.After(patience):
		t.Fatal("no attempt began")
		return nil
	}
}

func (r *run[Request, Made]) fail(err error) {
	r.end <- func() (*Made, error) { return nil, err }
}

// script is a Pipeline whose runs the test conducts.
type script struct {
	stage[pipeline.Request, pipeline.Presentation]
}

type call struct {
	*run[pipeline.Request, pipeline.Presentation]
}

func newScript() *script { return &script{newStage[pipeline.Request, pipeline.Presentation]()} }

func (s *script) Run(ctx context.Context, req pipeline.Request) (*pipeline.Presentation, error) {
	return s.perform(ctx, req)
}

func (s *script) next(t *testing.T) *call { t.Helper(); return &call{s.begun(t)} }

// finish lets every run succeed until the job has.
func (h *house) finish(p *script, id string) Job {
	h.t.Helper()
	h.eventually("job "+id+" has succeeded", func() bool {
		select {
		case r := <-p.runs:
			(&call{r}).succeed()
		default:
		}
		return h.get(id).State == StateSucceeded
	})
	return h.get(id)
}

func (c *call) succeed() {
	c.end <- func() (*pipeline.Presentation, error) {
		p := somePresentation()
		p.Outputs = p.Outputs[:0:0]
		for _, o := range somePresentation().Outputs {
			if k, ok := c.req.Keys[o.Name]; ok {
				stored, err := c.req.StoredKey(c.ctx, k.KID)
				if err != nil || !stored.Equal(k.Content) {
					return nil, fmt.Errorf("stored key of %s: %w", o.Name, err)
				}
			} else {
				o.Scheme = ""
			}
			p.Outputs = append(p.Outputs, o)
		}
		return p, nil
	}
}

// staff is a running worker.
type staff struct {
	*Worker
	stop func() // SIGTERM; waits for Run
	done chan struct{}
}

func (h *house) dispatcher(change func(*DispatcherConfig)) (d *Dispatcher, stop func()) {
	cfg := DispatcherConfig{
		Store: h.store, Redis: h.redis, Log: h.log,
		Poll: 20 * time.Millisecond, ReapEvery: 50 * time.Millisecond, LostAfter: 300 * time.Millisecond,
	}
	if change != nil {
		change(&cfg)
	}
	d = NewDispatcher(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = d.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	h.t.Cleanup(stop)
	return d, stop
}

func (h *house) worker(p Pipeline, change func(*Config)) *staff {
	h.t.Helper()
	cfg := Config{
		Store: h.store, Redis: h.redis, Keys: h.keys, Pipeline: p, BaseURL: "https://v.example", Log: h.log,
		RetryBackoff: 10 * time.Millisecond, ProgressEvery: 10 * time.Millisecond, DrainTimeout: patience,
		// A busy machine must not end leases; tests that want it end them by hand.
		Lease: 2 * patience, HeartbeatEvery: 200 * time.Millisecond, FenceAfter: patience,
	}
	if change != nil {
		change(&cfg)
	}
	w, err := New(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	s := &staff{Worker: w, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(s.done)
		if err := w.Run(ctx); err != nil {
			h.t.Errorf("worker: %v", err)
		}
	}()
	s.stop = func() { cancel(); <-s.done }
	h.t.Cleanup(func() { w.Abort(); s.stop() })
	return s
}

func (h *house) enqueue(taskType string, payload []byte, options ...asynq.Option) {
	h.t.Helper()
	if _, err := asynq.NewClientFromRedisClient(h.redis).Enqueue(asynq.NewTask(taskType, payload), options...); err != nil {
		h.t.Fatal(err)
	}
}

var (
	errTransient = &pipeline.Error{Code: "store_unavailable", Message: "The store is away.", Err: errors.New("secret host")}
	errPermanent = &pipeline.Error{Code: "source_empty", Message: "The source is empty.", Permanent: true, Err: errors.New("secret host")}
)

func wantError(t *testing.T, job Job, code string) {
	t.Helper()
	if job.ErrorCode != code || job.ErrorMessage == "" || strings.Contains(job.ErrorMessage, "secret") {
		t.Errorf("error is %q %q, want %q", job.ErrorCode, job.ErrorMessage, code)
	}
}
