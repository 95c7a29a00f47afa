package worker

import (
	"errors"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"
)

// acknowledged waits until asynq has forgotten a task.
func (h *house) acknowledged(queue, id string) {
	h.t.Helper()
	inspector := asynq.NewInspectorFromRedisClient(h.redis)
	h.eventually("task "+id+" is acknowledged", func() bool {
		_, err := inspector.GetTaskInfo(queue, id)
		return errors.Is(err, asynq.ErrTaskNotFound)
	})
}

// A service that enqueues under the id of a failed or cancelled job starts it
// again, under the id that it knows.
func TestTaskOfAnEndedJobStartsItAgain(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p, m := newScript(), NewMetrics(nil)
	h.worker(p, func(c *Config) { c.Wake, c.Metrics = d.Wake, m })
	enqueue := func() *call {
		t.Helper()
		h.enqueue(TypeTranscode, request(1, "").Payload(), asynq.TaskID("upload-1"), asynq.MaxRetry(0))
		c := p.next(t)
		h.acknowledged(QueueDefault, "upload-1")
		return c
	}
	enqueue().fail(errPermanent)
	h.await("upload-1", StateFailed)
	enqueue()
	h.cancel("upload-1")
	third := enqueue()
	if job := h.get("upload-1"); job.State != StateRunning || job.Attempt != 3 || job.Failures != 0 || !strings.HasSuffix(third.req.Prefix, "-3") {
		t.Errorf("%+v", job)
	}
	third.succeed()
	h.await("upload-1", StateSucceeded)

	// Its publication is current: nothing to do. Then it is not: a job of its own.
	h.enqueue(TypeTranscode, request(1, "").Payload(), asynq.TaskID("upload-1"))
	h.acknowledged(QueueDefault, "upload-1")
	for _, options := range []string{`{"outputs":["ts"]}`, "", `{"outputs":["ts"]}`, ""} {
		h.enqueue(TypeTranscode, request(1, options).Payload(), asynq.TaskID("upload-1"))
		c := p.next(t)
		h.acknowledged(QueueDefault, "upload-1")
		c.succeed()
		h.eventually("it is published", func() bool {
			return count(h, `SELECT count(*) FROM publications WHERE prefix = $1`, c.req.Prefix) == 1
		})
	}
	if n := count(h, `SELECT generation FROM assets`); n != 5 {
		t.Errorf("generation %d", n)
	}
	if restarted, duplicate := testutil.ToFloat64(m.adopted.WithLabelValues(adoptedRestarted)), testutil.ToFloat64(m.adopted.WithLabelValues(adoptedDuplicate)); restarted != 2 || duplicate != 1 {
		t.Errorf("%v restarted, %v duplicate", restarted, duplicate)
	}
	h.invariants()
}

// A worker dies between the commit and asynq's acknowledgement. asynq archives
// the task, which has no retries; it is rescued, and has no effect twice: the
// job was cancelled meanwhile, and stays so.
func TestTaskIsBroughtTwice(t *testing.T) {
	h := newHouse(t)
	cut := h.cuttableRedis()
	first := h.worker(newScript(), func(c *Config) { c.Wake = func() { cut.Store(true) } })
	h.enqueue(TypeTranscode, request(1, "").Payload(), asynq.TaskID("upload-1"), asynq.MaxRetry(0))
	h.eventually("the task has a row", func() bool { return count(h, `SELECT count(*) FROM jobs WHERE id = 'upload-1'`) == 1 })
	first.stop()
	h.cancel("upload-1")
	before := h.get("upload-1")
	cut.Store(false)
	h.redis = redis.NewClient(h.redis.Options()) // without connections that were cut: asynq looks for the lost once a minute
	t.Cleanup(func() { _ = h.redis.Close() })
	// asynq's lease on the task is over, as it would be in a minute.
	if n, err := h.redis.ZAdd(t.Context(), "asynq:{default}:lease", redis.Z{Score: 1, Member: "upload-1"}).Result(); err != nil || n != 0 {
		t.Fatalf("the task has no lease: %d, %v", n, err)
	}
	m := NewMetrics(nil)
	d, _ := h.dispatcher(nil)
	h.worker(newScript(), func(c *Config) { c.Wake, c.Metrics = d.Wake, m })
	h.acknowledged(QueueDefault, "upload-1")
	if n := testutil.ToFloat64(m.adopted.WithLabelValues(adoptedDuplicate)); n != 1 {
		t.Errorf("brought %v times as a duplicate", n)
	}
	if after := h.get("upload-1"); after.State != StateCancelled || after.DispatchSeq != before.DispatchSeq {
		t.Errorf("a cancelled job became %+v", after)
	}
	h.invariants()
}

// A task without retries that a worker could not adopt before it shut down,
// because the database was away, is not lost.
func TestTaskThatCouldNotBeAdoptedIsRescued(t *testing.T) {
	h := newHouse(t)
	h.exec(`ALTER TABLE jobs RENAME TO away`)
	m := NewMetrics(nil)
	first := h.worker(newScript(), func(c *Config) { c.Metrics = m })
	h.enqueue(TypeTranscode, request(1, "").Payload(), asynq.TaskID("upload-1"), asynq.MaxRetry(0))
	h.enqueue(TypeTranscode, []byte("garbage"), asynq.TaskID("upload-2"), asynq.MaxRetry(0))
	inspector := asynq.NewInspectorFromRedisClient(h.redis)
	archived := func(id string) bool {
		info, err := inspector.GetTaskInfo(QueueDefault, id)
		return err == nil && info.State == asynq.TaskStateArchived
	}
	h.eventually("garbage is archived", func() bool { return archived("upload-2") })
	h.eventually("a try has failed", func() bool { return testutil.ToFloat64(m.dependencies.WithLabelValues("postgres")) > 0 })
	first.stop()
	if !archived("upload-1") {
		t.Fatal("asynq does not archive it any more: rescue is not needed")
	}
	h.exec(`ALTER TABLE away RENAME TO jobs`)
	d, _ := h.dispatcher(nil)
	p, second := newScript(), NewMetrics(nil)
	h.worker(p, func(c *Config) { c.Wake, c.Metrics = d.Wake, second })
	p.next(t).succeed()
	h.await("upload-1", StateSucceeded)
	if testutil.ToFloat64(second.adopted.WithLabelValues(adoptedRefused)) != 0 || !archived("upload-2") {
		t.Error("a refused task is brought back")
	}
	h.invariants()
}

// A task has its effect once, also when that was only to find another task's
// job; whatever became of the job meanwhile, bringing it again changes nothing.
func TestEffectOfATaskIsKept(t *testing.T) {
	h := newHouse(t)
	adopt := func(id, delivery, want string) Job {
		t.Helper()
		job, result, err := h.store.Adopt(t.Context(), request(1, ""), id, delivery)
		if err != nil || result != want {
			t.Fatalf("%s of %s: %s, %v", delivery, id, result, err)
		}
		return job
	}
	adopt("u1", "m1", adoptedNew)
	adopt("u1", "m2", adoptedDuplicate) // while it is queued
	adopt("u2", "m3", adoptedDuplicate) // the same request under another id
	h.cancel("u1")
	for _, again := range [][2]string{{"u1", "m1"}, {"u1", "m2"}, {"u2", "m3"}} {
		if job := adopt(again[0], again[1], adoptedDuplicate); job.ID != "u1" || job.State != StateCancelled {
			t.Errorf("%v: %+v", again, job)
		}
	}
	if n := count(h, `SELECT count(*) FROM jobs`); n != 1 {
		t.Errorf("%d jobs", n)
	}
	if job := adopt("u1", "m4", adoptedRestarted); job.State != StateQueued {
		t.Errorf("a new task: %+v", job)
	}
	h.invariants()
}

// A request whose publication was replaced is not known any more: it is
// admitted anew.
func TestReplacedPublicationIsNotKnown(t *testing.T) {
	h := newHouse(t)
	publish := func(s Submission) {
		t.Helper()
		_, req := h.claim(h.submit(s))
		if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
			t.Fatal(err)
		}
	}
	a, b := request(1, ""), request(1, `{"segment_seconds":4}`)
	publish(a)
	for _, want := range []bool{true, false} {
		if known, err := h.store.Known(t.Context(), a); err != nil || known != want {
			t.Errorf("known %v, want %v: %v", known, want, err)
		}
		if want {
			publish(b)
		}
	}
}

// An attempt that was planned for another generation than it would become is
// not published: its keys have the wrong URIs.
func TestPlanOfAnotherGeneration(t *testing.T) {
	h := newHouse(t)
	_, req := h.claim(h.submit(request(1, "")))
	req.First = false
	if err := h.store.Publish(t.Context(), req, h.keys); !errors.Is(err, errOtherGeneration) || unanswered(err) {
		t.Errorf("got %v", err)
	}
	if n := count(h, `SELECT count(*) FROM publications`); n != 0 {
		t.Errorf("%d publications", n)
	}
}
