package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/pipeline"
)

func TestIdenticalSubmissionsAtOnceAreOneJob(t *testing.T) {
	h := newHouse(t)
	const n = 16
	ids, created := make([]string, n), make([]bool, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			job, isNew, err := h.store.Submit(t.Context(), request(1, ""), "")
			if err != nil {
				t.Error(err)
			}
			ids[i], created[i] = job.ID, isNew
		})
	}
	wg.Wait()
	news := 0
	for i := range n {
		if created[i] {
			news++
		}
		if ids[i] != ids[0] {
			t.Errorf("two ids: %s and %s", ids[0], ids[i])
		}
	}
	if rows := count(h, `SELECT count(*) FROM outbox`); news != 1 || rows != 1 {
		t.Errorf("%d created, %d doorbells", news, rows)
	}
}

func TestSubmitAgain(t *testing.T) {
	h := newHouse(t)
	first := h.submit(request(1, ""))
	if job, created, err := h.store.Submit(t.Context(), request(1, ""), "another-id"); err != nil || created || job.ID != first.ID {
		t.Errorf("while queued: %v %v %v", job.ID, created, err)
	}
	job, err := h.store.Claim(t.Context(), first.ID, 1, "w", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.store.Fail(t.Context(), job.Fence(), "x", "x"); err != nil {
		t.Fatal(err)
	}
	again, created, err := h.store.Submit(t.Context(), request(1, ""), "")
	if err != nil || !created || again.ID == first.ID {
		t.Errorf("after a failure: %v %v %v", again.ID, created, err)
	}
	if _, _, err := h.store.Submit(t.Context(), request(2, ""), first.ID); !errors.Is(err, errIDTaken) {
		t.Errorf("another request under a taken id: %v", err)
	}
	if _, _, err := h.store.Submit(t.Context(), request(2, ""), "bad id"); err == nil {
		t.Error("a malformed id is taken")
	}
	if _, err := h.store.Get(t.Context(), "nothing"); !errors.Is(err, ErrJobNotFound) {
		t.Errorf("unknown job: %v", err)
	}
}

func TestClaimIsWonByOne(t *testing.T) {
	h := newHouse(t)
	job := h.submit(request(1, ""))
	var mu sync.Mutex
	var wg sync.WaitGroup
	won := 0
	for range 16 {
		wg.Go(func() {
			_, err := h.store.Claim(t.Context(), job.ID, 1, "w", time.Minute)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, ErrNotClaimable) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := h.get(job.ID); won != 1 || got.Attempt != 1 || got.State != StateRunning {
		t.Errorf("%d won; job is %s, attempt %d", won, got.State, got.Attempt)
	}
	if _, err := h.store.Claim(t.Context(), job.ID, 2, "w", time.Minute); !errors.Is(err, ErrNotClaimable) {
		t.Error("a running job is claimed:", err)
	}
}

func TestBusyAssetIsRungAgainLater(t *testing.T) {
	h := newHouse(t)
	a, b := h.submit(request(1, "")), h.submit(request(1, `{"outputs":["ts"]}`))
	if _, err := h.store.Claim(t.Context(), a.ID, 1, "w", time.Minute); err != nil {
		t.Fatal(err)
	}
	h.exec(`DELETE FROM outbox`)
	if _, err := h.store.Claim(t.Context(), b.ID, 1, "w", time.Minute); !errors.Is(err, ErrAssetBusy) {
		t.Fatal(err)
	}
	if got := h.get(b.ID); got.State != StateQueued || got.DispatchSeq != 2 {
		t.Errorf("waiting job: %s, doorbell %d", got.State, got.DispatchSeq)
	}
	if n := count(h, `SELECT count(*) FROM outbox WHERE job_id = $1 AND dispatch_seq = 2 AND not_before > now()`, b.ID); n != 1 {
		t.Errorf("%d doorbells", n)
	}
}

// claimed submits asset n and claims it; its content keys are issued.
func (h *house) claimed(n int, options string) (Job, PublishRequest) {
	h.t.Helper()
	job := h.submit(request(n, options))
	return h.claim(job)
}

func (h *house) claim(job Job) (Job, PublishRequest) {
	h.t.Helper()
	job, err := h.store.Claim(h.t.Context(), job.ID, job.DispatchSeq, "w", time.Minute)
	if err != nil {
		h.t.Fatal(err)
	}
	var options pipeline.Options
	if err := json.Unmarshal(job.Options, &options); err != nil {
		h.t.Fatal(err)
	}
	published, err := h.store.plan(h.t.Context(), job.Hash, options.Encrypt)
	if err != nil {
		h.t.Fatal(err)
	}
	w, err := New(Config{Store: h.store, Redis: h.redis, Keys: h.keys, Pipeline: newScript(), BaseURL: "https://v.example"})
	if err != nil {
		h.t.Fatal(err)
	}
	keys, err := (&attempt{w: w, job: job}).issueKeys(h.t.Context(), options, published)
	if err != nil {
		h.t.Fatal(err)
	}
	return job, PublishRequest{
		Fence: job.Fence(), Hash: job.Hash, Encrypted: options.Encrypt, Keys: keys.count(), First: !published,
		Objects: somePresentation().Objects, Results: json.RawMessage(`{"a":1}`),
	}
}

func TestPublish(t *testing.T) {
	h := newHouse(t)
	job, req := h.claimed(1, "")
	if _, err := h.store.Entry(t.Context(), job.Hash); !errors.Is(err, ErrPublicationNotFound) {
		t.Error("visible before it is published:", err)
	}
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	got := h.get(job.ID)
	if got.State != StateSucceeded || got.Progress != 100 || string(got.Results) != `{"a": 1, "generation": 1}` {
		t.Errorf("%s %v %s", got.State, got.Progress, got.Results)
	}
	entry, err := h.store.Entry(t.Context(), job.Hash)
	if want := (Publication{Hash: job.Hash, Generation: 1, Prefix: job.Fence().Prefix(), Encrypted: true, Parts: []AssetPart{}}); err != nil || !reflect.DeepEqual(entry, want) {
		t.Errorf("entry %+v, %v", entry, err)
	}
	o, err := h.store.Object(t.Context(), job.Hash, entry.Prefix, "v/1.m4s")
	if err != nil || o.Size != 770 || o.SHA256 != [32]byte{2} || !o.Encrypted || o.ContentType != "video/iso.segment" {
		t.Errorf("object %+v, %v", o, err)
	}
	for _, name := range []string{"v/2.m4s", "", "../master.m3u8", "a\x00", "\xff"} {
		if _, err := h.store.Object(t.Context(), job.Hash, entry.Prefix, name); !errors.Is(err, ErrPublicationNotFound) {
			t.Errorf("object %q: %v", name, err)
		}
	}
	bare, err := h.keys.Served(t.Context(), job.Hash, nil)
	if err != nil || bare.Track != pipeline.OutputCMAF || bare.KeyURI != "https://v.example/api/key/"+job.Hash {
		t.Errorf("bare key: %+v, %v", bare, err)
	}
	if err := h.store.Publish(t.Context(), req, h.keys); !errors.Is(err, ErrFenced) {
		t.Error("published twice:", err)
	}

	// A second generation has keys that are asked for by KID only.
	_, second := h.claimed(1, `{"outputs":["ts"]}`)
	if err := h.store.Publish(t.Context(), second, h.keys); err != nil {
		t.Fatal(err)
	}
	if entry, _ := h.store.Entry(t.Context(), job.Hash); entry.Generation != 2 {
		t.Errorf("generation %d", entry.Generation)
	}
	if again, err := h.keys.Served(t.Context(), job.Hash, nil); err != nil || again.KID != bare.KID {
		t.Error("the bare key has changed:", err)
	}
	if _, err := h.store.Object(t.Context(), job.Hash, job.Fence().Prefix(), "v/1.m4s"); err != nil {
		t.Error("the first generation is gone:", err)
	}
	h.invariants()
}

func TestPublishIsFenced(t *testing.T) {
	for name, lose := range map[string]func(h *house, job Job){
		"lease over": func(h *house, job Job) {
			h.exec(`UPDATE jobs SET lease_until = clock_timestamp() - interval '1 ms' WHERE id = $1`, job.ID)
		},
		"queued again": func(h *house, job Job) {
			if err := h.store.Requeue(h.t.Context(), job.Fence(), Release{}); err != nil {
				h.t.Fatal(err)
			}
		},
		"newer attempt runs": func(h *house, job Job) {
			if err := h.store.Requeue(h.t.Context(), job.Fence(), Release{}); err != nil {
				h.t.Fatal(err)
			}
			h.claim(h.get(job.ID))
		},
		"failed": func(h *house, job Job) {
			if err := h.store.Fail(h.t.Context(), job.Fence(), "x", "x"); err != nil {
				h.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			job, req := h.claimed(1, "")
			lose(h, job)
			before := h.get(job.ID)
			if err := h.store.Publish(t.Context(), req, h.keys); !errors.Is(err, ErrFenced) {
				t.Errorf("publish: %v", err)
			}
			if err := h.store.Heartbeat(t.Context(), job.Fence(), time.Minute); !errors.Is(err, ErrFenced) {
				t.Errorf("heartbeat: %v", err)
			}
			if err := h.store.Progress(t.Context(), job.Fence(), "encode", 50, -1); !errors.Is(err, ErrFenced) {
				t.Errorf("progress: %v", err)
			}
			if name != "lease over" { // its row is still its own until the reaper comes
				if err := h.store.Fail(t.Context(), job.Fence(), "late", "x"); !errors.Is(err, ErrFenced) {
					t.Errorf("fail: %v", err)
				}
				if err := h.store.Requeue(t.Context(), job.Fence(), Release{}); !errors.Is(err, ErrFenced) {
					t.Errorf("requeue: %v", err)
				}
			}
			if after := h.get(job.ID); after.State != before.State || after.Attempt != before.Attempt || after.ErrorCode != before.ErrorCode {
				t.Errorf("changed from %+v to %+v", before, after)
			}
			h.invariants()
		})
	}
}

func TestSeal(t *testing.T) {
	h := newHouse(t)
	late, _, err := h.store.Submit(t.Context(), request(1, `{"encrypt":false}`), "")
	if err != nil {
		t.Fatal(err)
	}
	_, req := h.claimed(1, "")
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	var sealed *RequestError
	if _, _, err := h.store.Submit(t.Context(), request(1, `{"encrypt":false,"outputs":["ts"]}`), ""); !errors.As(err, &sealed) || sealed.Code != CodeEncryptionSealed {
		t.Errorf("submit with the other choice: %v", err)
	}
	if _, err := h.store.plan(t.Context(), late.Hash, false); !errors.As(err, &sealed) {
		t.Errorf("an attempt with the other choice: %v", err)
	}
	job, err := h.store.Claim(t.Context(), late.ID, 1, "w", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	clear := PublishRequest{Fence: job.Fence(), Hash: job.Hash, Objects: somePresentation().Objects, Results: json.RawMessage(`{}`)}
	if err := h.store.Publish(t.Context(), clear, h.keys); !errors.As(err, &sealed) || sealed.Code != CodeEncryptionSealed {
		t.Errorf("publish with the other choice: %v", err)
	}
	if got := h.get(late.ID); got.State != StateRunning {
		t.Errorf("the refused job is %s", got.State)
	}
}

func TestPublishWantsEveryKey(t *testing.T) {
	h := newHouse(t)
	job, req := h.claimed(1, "")
	req.Keys = 3
	if err := h.store.Publish(t.Context(), req, h.keys); !errors.Is(err, errKeyCount) || unanswered(err) {
		t.Errorf("publish: %v", err)
	}
	if got := h.get(job.ID); got.State != StateRunning {
		t.Errorf("job is %s", got.State)
	}
	h.invariants()
}

func TestReaper(t *testing.T) {
	h := newHouse(t)
	var jobs []Job
	for n := range 4 {
		job, _ := h.claimed(n, "")
		jobs = append(jobs, job)
	}
	h.exec(`DELETE FROM outbox`)
	h.exec(`UPDATE jobs SET lease_until = clock_timestamp() - interval '1 s' WHERE id <> $1`, jobs[0].ID)
	h.exec(`UPDATE jobs SET failures = 2 WHERE id = $1`, jobs[1].ID)

	// A row that is being published is left alone.
	tx, err := h.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE`, jobs[2].ID); err != nil {
		t.Fatal(err)
	}
	r, err := h.store.reap(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.Requeued) != 1 || r.Requeued[0] != jobs[3].ID || len(r.Failed) != 1 || r.Failed[0].ID != jobs[1].ID {
		t.Errorf("reaped %+v", r)
	}
	for i, want := range []State{StateRunning, StateFailed, StateRunning, StateQueued} {
		if got := h.get(jobs[i].ID); got.State != want {
			t.Errorf("job %d is %s, want %s", i, got.State, want)
		}
	}
	wantError(t, h.get(jobs[1].ID), "attempts_exhausted")
	if n := count(h, `SELECT count(*) FROM outbox WHERE job_id = $1 AND dispatch_seq = 2`, jobs[3].ID); n != 1 {
		t.Errorf("%d doorbells", n)
	}
	h.invariants()
}

func TestReaperStaysOutWhenAnotherHoldsTheLock(t *testing.T) {
	h := newHouse(t)
	job, _ := h.claimed(1, "")
	h.exec(`UPDATE jobs SET lease_until = clock_timestamp() - interval '1 s'`)
	err := pgx.BeginFunc(t.Context(), h.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock($1)`, int64(lockReaper)); err != nil {
			return err
		}
		r, err := h.store.reap(t.Context(), 3)
		if len(r.Requeued) != 0 {
			t.Error("two reapers")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := h.get(job.ID); got.State != StateRunning {
		t.Errorf("job is %s", got.State)
	}
}

func TestDispatch(t *testing.T) {
	h := newHouse(t)
	a, b, c := h.submit(request(1, "")), h.submit(request(2, "")), h.submit(request(3, ""))
	h.exec(`UPDATE outbox SET not_before = now() + interval '1 hour' WHERE job_id = $1`, b.ID)
	if _, err := h.store.Claim(t.Context(), c.ID, 1, "w", time.Minute); err != nil { // its doorbell is stale now
		t.Fatal(err)
	}
	away := errors.New("away")
	if _, err := h.store.dispatch(t.Context(), 10, func(context.Context, Doorbell, string) error { return away }); !errors.Is(err, away) {
		t.Errorf("redis away: %v", err)
	}
	if n := count(h, `SELECT count(*) FROM outbox WHERE job_id = $1`, a.ID); n != 1 {
		t.Error("the doorbell is lost")
	}
	var sent []Doorbell
	n, err := h.store.dispatch(t.Context(), 10, func(_ context.Context, d Doorbell, queue string) error {
		sent = append(sent, d)
		if queue != QueueDefault {
			t.Errorf("queue %s", queue)
		}
		return nil
	})
	if err != nil || n != 1 || len(sent) != 1 || sent[0] != (Doorbell{a.ID, 1}) {
		t.Errorf("sent %+v, %v", sent, err)
	}
	if n := count(h, `SELECT count(*) FROM outbox`); n != 1 {
		t.Errorf("%d rows are left, want the one that is not due", n)
	}
}

func TestReconcile(t *testing.T) {
	h := newHouse(t)
	lost, waiting, fresh, pending := h.submit(request(1, "")), h.submit(request(2, "")), h.submit(request(3, "")), h.submit(request(4, ""))
	h.exec(`DELETE FROM outbox WHERE job_id <> $1`, pending.ID)
	h.exec(`UPDATE jobs SET updated_at = now() - interval '1 min' WHERE id <> $1`, fresh.ID)
	away := errors.New("away")
	if _, err := h.store.reconcile(t.Context(), 30*time.Second, func(context.Context, Doorbell, string) (bool, error) { return false, away }); !errors.Is(err, away) {
		t.Error(err)
	}
	rung := func() []string {
		t.Helper()
		ids, err := h.store.reconcile(t.Context(), 30*time.Second, func(_ context.Context, d Doorbell, _ string) (bool, error) {
			return d.JobID == waiting.ID, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return ids
	}
	if got := fmt.Sprint(rung()); got != fmt.Sprint([]string{lost.ID}) {
		t.Errorf("rung %s", got)
	}
	if got := h.get(lost.ID); got.DispatchSeq != 2 {
		t.Errorf("doorbell %d", got.DispatchSeq)
	}
	if n := count(h, `SELECT count(*) FROM outbox WHERE job_id = $1`, lost.ID); n != 1 {
		t.Errorf("%d doorbells", n)
	}
	if got := rung(); len(got) != 0 {
		t.Errorf("rung again: %v", got)
	}
}

func TestRecordRefused(t *testing.T) {
	h := newHouse(t)
	for range 2 {
		if _, err := h.store.RecordRefused(t.Context(), request(1, ""), "t1", errSealed(true)); err != nil {
			t.Fatal(err)
		}
	}
	job := h.get("t1")
	wantError(t, job, CodeEncryptionSealed)
	if job.State != StateFailed || job.FinishedAt == nil || job.Attempt != 0 {
		t.Errorf("%+v", job)
	}
}

var _ Keys = (*keystore.Postgres)(nil)
