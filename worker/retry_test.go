package worker

import (
	"errors"
	"sync"
	"testing"
)

func (h *house) failed(n int, options, code string) Job {
	h.t.Helper()
	job, _ := h.claimed(n, options)
	if err := h.store.Fail(h.t.Context(), job.Fence(), code, "It failed."); err != nil {
		h.t.Fatal(err)
	}
	return h.get(job.ID)
}

func TestRetry(t *testing.T) {
	h := newHouse(t)
	failed := h.failed(1, "", "source_empty")
	cancelled := h.submit(request(2, ""))
	h.cancel(cancelled.ID)
	for _, before := range []Job{failed, h.get(cancelled.ID)} {
		job, err := h.store.Retry(t.Context(), before.ID, tester)
		if err != nil {
			t.Fatal(err)
		}
		if job.State != StateQueued || job.Failures != 0 || job.DispatchSeq != before.DispatchSeq+1 || job.Attempt != before.Attempt ||
			job.ErrorCode != "" || job.FinishedAt != nil || job.Progress != 0 || job.Stage != "" {
			t.Errorf("retried: %+v", job)
		}
		if n := count(h, `SELECT count(*) FROM outbox WHERE job_id = $1 AND dispatch_seq = $2`, job.ID, job.DispatchSeq); n != 1 {
			t.Errorf("%d doorbells", n)
		}
		if _, err := h.store.Retry(t.Context(), job.ID, tester); !errors.Is(err, ErrNotRetryable) {
			t.Errorf("retry a queued job: %v", err)
		}
	}
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake = d.Wake })
	for range 2 {
		p.next(t).succeed()
	}
	if job := h.await(failed.ID, StateSucceeded); job.Attempt != 2 {
		t.Errorf("attempt %d", job.Attempt)
	}
	h.await(cancelled.ID, StateSucceeded)
	if _, err := h.store.Retry(t.Context(), failed.ID, tester); !errors.Is(err, ErrNotRetryable) {
		t.Errorf("retry a succeeded job: %v", err)
	}
	if _, err := h.store.Retry(t.Context(), "nobody", tester); !errors.Is(err, ErrJobNotFound) {
		t.Errorf("retry nobody: %v", err)
	}
	h.invariants()
}

// A job that was cancelled with a doorbell on its way starts once, by the new one.
func TestRetryAfterCancelHasOneDoorbell(t *testing.T) {
	h := newHouse(t)
	job, req := h.claimed(1, "")
	h.cancel(job.ID)
	again, err := h.store.Retry(t.Context(), job.ID, tester)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.store.Publish(t.Context(), req, h.keys); !errors.Is(err, ErrFenced) {
		t.Errorf("the cancelled attempt publishes: %v", err)
	}
	if _, err := h.store.Claim(t.Context(), job.ID, 1, "w", patience); !errors.Is(err, ErrNotClaimable) {
		t.Errorf("the old doorbell: %v", err)
	}
	_, req = h.claim(again)
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Error(err)
	}
	if got := h.get(job.ID); got.State != StateSucceeded || got.Attempt != 2 {
		t.Errorf("%+v", got)
	}
	h.invariants()
}

func TestRetryConflicts(t *testing.T) {
	h := newHouse(t)
	failed := h.failed(1, "", "source_empty")
	other := h.submit(request(1, "")) // the same request, made anew
	var duplicate *DuplicateError
	if _, err := h.store.Retry(t.Context(), failed.ID, tester); !errors.As(err, &duplicate) || duplicate.JobID != other.ID {
		t.Errorf("retry beside a live job: %v", err)
	}
	_, req := h.claim(other)
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	if _, err := h.store.Retry(t.Context(), failed.ID, tester); !errors.As(err, &duplicate) || duplicate.JobID != other.ID {
		t.Errorf("retry beside a published job: %v", err)
	}
	// Once other options are the current publication, nothing stands in the way.
	_, req = h.claimed(1, `{"outputs":["ts"]}`)
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	if _, err := h.store.Retry(t.Context(), failed.ID, tester); err != nil {
		t.Errorf("retry of what is not current: %v", err)
	}
	if got := h.get(failed.ID); got.State != StateQueued {
		t.Errorf("job is %s", got.State)
	}

	clear := h.failed(3, `{"encrypt":false}`, "x")
	_, req = h.claimed(3, "")
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	var sealed *RequestError
	if _, err := h.store.Retry(t.Context(), clear.ID, tester); !errors.As(err, &sealed) || sealed.Code != CodeEncryptionSealed {
		t.Errorf("retry of the other choice: %v", err)
	}
	if got := h.get(clear.ID); got.State != StateFailed || got.ErrorCode != "x" {
		t.Errorf("%+v", got)
	}
	h.invariants()
}

func TestRetriesAtOnceAreOne(t *testing.T) {
	h := newHouse(t)
	job := h.failed(1, "", "x")
	var wg sync.WaitGroup
	errs := make(chan error, 8)
	for range cap(errs) {
		wg.Go(func() { _, err := h.store.Retry(t.Context(), job.ID, tester); errs <- err })
	}
	wg.Wait()
	close(errs)
	done := 0
	for err := range errs {
		if err == nil {
			done++
		} else if !errors.Is(err, ErrNotRetryable) {
			t.Error(err)
		}
	}
	if got := h.get(job.ID); done != 1 || got.DispatchSeq != 2 {
		t.Errorf("%d retries, doorbell %d", done, got.DispatchSeq)
	}
}

// Request A, then B, then A again: the third is a new job, because the first
// one's publication is not the current one any more.
func TestRepeatedRequestIsTheSameJobWhileItsPublicationIsCurrent(t *testing.T) {
	h := newHouse(t)
	publish := func(job Job) {
		t.Helper()
		_, req := h.claim(job)
		if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
			t.Fatal(err)
		}
	}
	a, b := request(1, ""), request(1, `{"outputs":["ts"]}`)
	first := h.submit(a)
	publish(first)
	same, created, err := h.store.Submit(t.Context(), a, "")
	if err != nil || created || same.ID != first.ID {
		t.Errorf("repeated: %s, %v, %v", same.ID, created, err)
	}
	second := h.submit(b)
	if same, created, _ := h.store.Submit(t.Context(), a, ""); created || same.ID != first.ID {
		t.Error("B is not published yet: A is still current")
	}
	publish(second)
	third := h.submit(a)
	publish(third)
	if entry, err := h.store.Entry(t.Context(), first.Hash); err != nil || entry.Generation != 3 || entry.Prefix != (Fence{third.ID, 1}).Prefix() {
		t.Errorf("%+v, %v", entry, err)
	}
	if same, created, _ := h.store.Submit(t.Context(), a, ""); created || same.ID != third.ID {
		t.Error("the third is current now")
	}
	if got := h.get(first.ID); got.State != StateSucceeded || got.Results == nil {
		t.Errorf("the first job: %+v", got)
	}
	h.invariants()
}
