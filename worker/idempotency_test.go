package worker

import (
	"errors"
	"sync"
	"testing"
	"time"
)

func keyedRequest(n int, key string) Submission {
	s := request(n, "")
	s.IdempotencyKey = key
	return s
}

func TestIdempotencyKey(t *testing.T) {
	h := newHouse(t)
	first := h.submit(keyedRequest(1, "k1"))
	same := func(when string) {
		t.Helper()
		job, created, err := h.store.Submit(t.Context(), keyedRequest(1, "k1"), "")
		if err != nil || created || job.ID != first.ID {
			t.Errorf("%s: %s, created %v, %v", when, job.ID, created, err)
		}
		if known, err := h.store.Known(t.Context(), keyedRequest(1, "k1")); err != nil || !known {
			t.Errorf("%s: known %v, %v", when, known, err)
		}
	}
	same("while queued")
	var reused *RequestError
	if _, _, err := h.store.Submit(t.Context(), keyedRequest(2, "k1"), ""); !errors.As(err, &reused) || reused.Code != CodeKeyReused {
		t.Errorf("another request: %v", err)
	}
	if _, err := h.store.Known(t.Context(), keyedRequest(2, "k1")); !errors.As(err, &reused) {
		t.Errorf("another request, known: %v", err)
	}
	job, err := h.store.Claim(t.Context(), first.ID, 1, "w", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.store.Fail(t.Context(), job.Fence(), "x", "x"); err != nil {
		t.Fatal(err)
	}
	same("after it failed")

	// Without the key the request is a new one after the failure, and a key
	// that comes later stands for that job too.
	if known, err := h.store.Known(t.Context(), request(1, "")); err != nil || known {
		t.Errorf("without the key: known %v, %v", known, err)
	}
	second := h.submit(request(1, ""))
	if known, err := h.store.Known(t.Context(), keyedRequest(1, "k2")); err != nil || !known {
		t.Errorf("a new key for a live job: known %v, %v", known, err)
	}
	if job, created, err := h.store.Submit(t.Context(), keyedRequest(1, "k2"), ""); err != nil || created || job.ID != second.ID {
		t.Errorf("a key for a live job: %s, %v, %v", job.ID, created, err)
	}
	if n := count(h, `SELECT count(*) FROM idempotency_keys`); n != 2 {
		t.Errorf("%d keys", n)
	}
}

func TestIdempotencyKeyAtOnce(t *testing.T) {
	h := newHouse(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	ids, reused := map[string]int{}, 0
	for i := range 16 {
		wg.Go(func() {
			job, _, err := h.store.Submit(t.Context(), keyedRequest(i%2, "k"), "")
			var bad *RequestError
			mu.Lock()
			defer mu.Unlock()
			if errors.As(err, &bad) && bad.Code == CodeKeyReused {
				reused++
			} else if err != nil {
				t.Error(err)
			} else {
				ids[job.ID]++
			}
		})
	}
	wg.Wait()
	if jobs := count(h, `SELECT count(*) FROM jobs`); len(ids) != 1 || reused != 8 || jobs != 1 {
		t.Errorf("jobs %v, %d refused, %d rows", ids, reused, jobs)
	}
}

func TestIdempotencyKeysAreForgotten(t *testing.T) {
	h := newHouse(t)
	_, req := h.claimed(1, "")
	old := h.get(req.Fence.JobID)
	h.exec(`INSERT INTO idempotency_keys (key, request_digest, job_id) VALUES ('done', $1, $2)`, old.digest, old.ID)
	h.submit(keyedRequest(2, "waits"))
	h.submit(keyedRequest(3, "new"))
	if err := h.store.Fail(t.Context(), req.Fence, "x", "x"); err != nil {
		t.Fatal(err)
	}
	h.exec(`UPDATE idempotency_keys SET created_at = now() - interval '25 hours' WHERE key <> 'new'`)
	if n, err := h.store.forgetKeys(t.Context()); err != nil || n != 0 {
		t.Errorf("%d keys forgotten right after the end, %v", n, err)
	}
	h.exec(`UPDATE jobs SET finished_at = now() - interval '25 hours' WHERE id = $1`, old.ID)
	h.dispatcher(nil)
	h.eventually("the key of the old job is gone", func() bool {
		return count(h, `SELECT count(*) FROM idempotency_keys WHERE key = 'done'`) == 0
	})
	if n := count(h, `SELECT count(*) FROM idempotency_keys`); n != 2 {
		t.Errorf("%d keys are left, want the one of the waiting job and the new one", n)
	}
}
