package worker

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/pipeline"
)

func TestJobLife(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	reg := prometheus.NewRegistry()
	m := NewMetrics(reg)
	if err := RegisterQueues(reg, h.redis, m); err != nil {
		t.Fatal(err)
	}
	h.worker(p, func(c *Config) { c.Wake, c.Metrics, c.MaxSourceBytes = d.Wake, m, 12345 })
	job := h.submit(request(1, ""))
	d.Wake()

	c := p.next(t)
	if c.req.Hash != job.Hash || c.req.SourceKey != "in/1.mp4" || c.req.MaxSourceBytes != 12345 || !strings.HasSuffix(c.req.Prefix, "-1") {
		t.Errorf("request %+v", c.req)
	}
	cmaf, ts := c.req.Keys["cmaf"], c.req.Keys["ts"]
	if cmaf.Content.Equal(ts.Content) || cmaf.KID == ts.KID || len(c.req.Keys) != 2 {
		t.Error("one key for two outputs")
	}
	bare := "https://v.example/api/key/" + job.Hash
	if cmaf.URI != bare || ts.URI != bare+"?kid="+ts.KID.String() {
		t.Errorf("key URIs %s and %s", cmaf.URI, ts.URI)
	}
	if k, err := h.keys.Get(t.Context(), job.Hash, ts.KID); err != nil || k.Scheme != cenc.SchemeAES128 {
		t.Errorf("key of ts: %v, %v", k.Scheme, err)
	}
	c.req.Progress(pipeline.Progress{Stage: pipeline.StageEncode, Percent: 40, ETA: 90 * time.Second})
	h.eventually("progress is seen", func() bool {
		job = h.get(job.ID)
		return job.Stage == "encode" && job.Progress == 40 && job.ETASeconds != nil && *job.ETASeconds == 90
	})
	c.succeed()

	job = h.await(job.ID, StateSucceeded)
	var got results
	if err := json.Unmarshal(job.Results, &got); err != nil {
		t.Fatal(err)
	}
	if got.Streaming.MasterPlaylist != "https://v.example/stream/"+job.Hash+"/master.m3u8" || !got.Streaming.Encrypted ||
		got.Encryption.KID != cmaf.KID.String() || got.Encryption.KEKVersion != 1 || len(got.Encryption.Outputs) != 2 {
		t.Errorf("results %s", job.Results)
	}
	if n := testutil.ToFloat64(m.jobs.WithLabelValues(TypeTranscode, outcomeSucceeded)); n != 1 {
		t.Errorf("%v jobs counted", n)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
	if n, err := testutil.GatherAndCount(reg, "sealcast_queue_tasks", "sealcast_queue_age_seconds"); err != nil || n != 30 { // two queues of tasks, three of doorbells
		t.Errorf("%d queue metrics, %v", n, err)
	}
	h.invariants()
}

// An upload service's task is adopted while every slot is taken: its id can be
// asked for, and garbage is archived, however long the running job takes.
// A publish transaction that takes longer than the fence is patient is not cut
// off by its own keeper: the row is locked, so nobody else can take the job.
func TestSlowPublication(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	const fence = 700 * time.Millisecond
	h.worker(p, func(c *Config) {
		c.Wake, c.Lease, c.HeartbeatEvery, c.FenceAfter = d.Wake, time.Second, 100*time.Millisecond, fence
	})
	job := h.submit(request(1, ""))
	d.Wake()
	c := p.next(t)

	// Somebody holds the inventory's table, so that the COPY waits.
	tx, err := h.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE publication_objects IN EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	c.succeed()
	h.eventually("the publication waits", func() bool {
		return count(h, `SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'publication_objects'::regclass`) == 1
	})
	time.Sleep(3 * fence) // the time itself is what is tested; the lease ends in it, too
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if job = h.await(job.ID, StateSucceeded); job.Attempt != 1 {
		t.Errorf("attempt %d", job.Attempt)
	}
	h.invariants()
}

// A job that ran out of memory gets one attempt with less of it; a second such
// end is the last one. The row says in which stage it was, though it was
// written a moment before.
func TestSealedWhileQueuedFails(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake = d.Wake })
	sealed, clear := h.submit(request(1, "")), request(1, `{"encrypt":false}`)
	c := p.next(t)
	late := h.submit(clear)
	c.succeed()
	h.await(sealed.ID, StateSucceeded)
	wantError(t, h.await(late.ID, StateFailed), CodeEncryptionSealed)
	h.invariants()
}

func TestClearAsset(t *testing.T) {
	h := newHouse(t)
	h.dispatcher(nil)
	p := newScript()
	h.worker(p, nil)
	job := h.submit(request(1, `{"encrypt":false}`))
	c := p.next(t)
	if c.req.Keys != nil || c.req.StoredKey != nil {
		t.Error("keys for a clear asset")
	}
	c.succeed()
	job = h.await(job.ID, StateSucceeded)
	if strings.Contains(string(job.Results), `"encryption"`) || strings.Contains(string(job.Results), `"scheme"`) {
		t.Errorf("results %s", job.Results)
	}
	h.invariants()
}

func TestJobsOnOneAssetRunOneAfterTheOther(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake, c.Concurrency = d.Wake, 4 })
	a, b := h.submit(request(1, "")), h.submit(request(1, `{"outputs":["ts"]}`))
	first := p.next(t)
	waits := a.ID
	if h.get(a.ID).State == StateRunning {
		waits = b.ID
	}
	h.eventually("the other job is put off", func() bool { return h.get(waits).DispatchSeq > 1 })
	if got := h.get(waits); got.State != StateQueued || got.Attempt != 0 {
		t.Errorf("the other job is %s", got.State)
	}
	first.succeed()
	h.exec(`UPDATE outbox SET not_before = now()`) // it would be rung in 3 s
	d.Wake()
	p.next(t).succeed()
	h.await(a.ID, StateSucceeded)
	h.await(b.ID, StateSucceeded)
	if n := count(h, `SELECT generation FROM assets`); n != 2 {
		t.Errorf("generation %d", n)
	}
	h.invariants()
}

func TestRedisForgetsEverything(t *testing.T) {
	h := newHouse(t)
	d, stop := h.dispatcher(nil)
	job := h.submit(request(1, ""))
	d.Wake()
	h.eventually("the doorbell is in Redis", func() bool { return h.redis.LLen(t.Context(), "asynq:{run:default}:pending").Val() == 1 })
	if err := h.redis.FlushDB(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake = d.Wake })
	p.next(t).succeed()
	h.await(job.ID, StateSucceeded)
	// asynq knows its queues again.
	if names, err := asynq.NewInspectorFromRedisClient(h.redis).Queues(); err != nil || len(names) != 1 {
		t.Errorf("queues %v, %v", names, err)
	}
	stop()
	h.invariants()
}

func TestWaitingDoorbellsAreNotDoubled(t *testing.T) {
	h := newHouse(t)
	rounds := make(chan struct{}, 1000)
	h.dispatcher(func(c *DispatcherConfig) { c.LostAfter = time.Millisecond })
	job := h.submit(request(1, ""))
	h.eventually("the doorbell is in Redis", func() bool { return h.redis.LLen(t.Context(), "asynq:{run:default}:pending").Val() == 1 })
	before := h.get(job.ID).UpdatedAt
	h.eventually("the reconciler has looked twice", func() bool {
		now := h.get(job.ID).UpdatedAt
		if now.After(before) {
			before = now
			rounds <- struct{}{}
		}
		return len(rounds) >= 2
	})
	if n := h.redis.LLen(t.Context(), "asynq:{run:default}:pending").Val(); n != 1 {
		t.Errorf("%d doorbells", n)
	}
}

func TestWorkerRefusesARedisThatEvicts(t *testing.T) {
	for policy, ok := range map[string]bool{"noeviction": true, "allkeys-lru": false, "": true} {
		err := policyVerdict(policy, func(string) {})
		if (err == nil) != ok {
			t.Errorf("policy %q: %v", policy, err)
		}
	}
}

func TestNewWantsItsParts(t *testing.T) {
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), "Store") {
		t.Error(err)
	}
	h := newHouse(t)
	_, err := New(Config{Store: h.store, Redis: h.redis, Keys: h.keys, Pipeline: newScript(), BaseURL: "x", Lease: time.Second})
	if err == nil {
		t.Error("a lease shorter than the fence is taken")
	}
}

func TestRunSaysThatRedisIsAway(t *testing.T) {
	h := newHouse(t)
	_ = h.redis.Close()
	w, err := New(Config{Store: h.store, Redis: h.redis, Keys: h.keys, Pipeline: newScript(), BaseURL: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Run(context.Background()); err == nil {
		t.Error("Run without Redis")
	}
}

// With key periods an attempt has its keys issued while it runs: under tracks
// of their own, insert-only, each with a URI of its own, and none of them the
// title's default; all are active once it is published.
func TestKeyPeriodsAreIssuedWhileTheAttemptRuns(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake = d.Wake })
	job := h.submit(request(1, `{"outputs":["ts"],"key_period_seconds":60}`))
	d.Wake()
	c := p.next(t)
	if len(c.req.Keys) != 0 || c.req.Options.KeyPeriodSeconds != 60 {
		t.Errorf("keys %d, options %+v", len(c.req.Keys), c.req.Options)
	}
	var keys []pipeline.Key
	for _, period := range []int{1, 2, 1, 30} {
		key, err := c.req.PeriodKey(c.ctx, "ts", period)
		if err != nil {
			t.Fatal(err)
		}
		if stored, err := c.req.StoredKey(c.ctx, key.KID); err != nil || !stored.Equal(key.Content) {
			t.Errorf("stored key of period %d: %v", period, err)
		}
		if want := "https://v.example/api/key/" + job.Hash + "?kid=" + key.KID.String(); key.URI != want {
			t.Errorf("key URI %s", key.URI)
		}
		keys = append(keys, key)
	}
	if keys[0].KID != keys[2].KID || !keys[0].Content.Equal(keys[2].Content) {
		t.Error("the first period got another key when it was asked for again")
	}
	if keys[0].KID == keys[1].KID || keys[0].Content.Equal(keys[1].Content) || keys[1].KID == keys[3].KID {
		t.Error("two periods have one key")
	}
	if _, err := h.keys.Served(t.Context(), job.Hash, &keys[0].KID); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("a key is served before it is published: %v", err)
	}
	c.succeed()
	h.await(job.ID, StateSucceeded)
	for _, key := range keys {
		if got, err := h.keys.Served(t.Context(), job.Hash, &key.KID); err != nil || !got.Content.Equal(key.Content) || !strings.HasPrefix(got.Track, "ts-p00") {
			t.Errorf("key of track %q: %v", got.Track, err)
		}
	}
	if _, err := h.keys.Served(t.Context(), job.Hash, nil); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("one period's key is the title's default: %v", err)
	}
}
