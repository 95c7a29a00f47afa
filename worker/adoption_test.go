package worker

import (
	"errors"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

func TestAdoptionDoesNotWaitForASlot(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake = d.Wake })
	h.enqueue(TypeTranscode, request(1, "").Payload(), asynq.TaskID("upload-1"))
	first := p.next(t) // takes the only slot
	h.enqueue(TypeTranscode, request(2, "").Payload(), asynq.TaskID("upload-2"))
	h.eventually("the task has a row", func() bool {
		return count(h, `SELECT count(*) FROM jobs WHERE id = 'upload-2' AND state = 'queued'`) == 1
	})
	first.succeed()
	p.next(t).succeed()
	h.await("upload-2", StateSucceeded)
	h.invariants()
}

func TestAdoption(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake = d.Wake; c.LargeConcurrency = 3 })
	body := request(1, "").Payload()

	h.enqueue(TypeTranscode, body, asynq.TaskID("upload-1"), asynq.Queue(QueueLarge))
	first := p.next(t)
	job := h.get("upload-1")
	if job.Queue != QueueLarge || job.State != StateRunning {
		t.Errorf("adopted as %+v", job)
	}
	// The same request again, while it runs: nothing happens, the task is done.
	h.enqueue(TypeTranscode, body, asynq.TaskID("upload-2"), asynq.Queue(QueueLarge))
	inspector := asynq.NewInspectorFromRedisClient(h.redis)
	gone := func(queue, id string) {
		t.Helper()
		h.eventually("task "+id+" is acknowledged", func() bool {
			_, err := inspector.GetTaskInfo(queue, id)
			return errors.Is(err, asynq.ErrTaskNotFound)
		})
	}
	gone(QueueLarge, "upload-2")
	first.succeed()
	h.await("upload-1", StateSucceeded)
	if n := count(h, `SELECT count(*) FROM jobs`); n != 1 {
		t.Errorf("%d jobs", n)
	}

	// The other encryption choice is recorded under the task's id.
	h.enqueue(TypeFull, []byte(`{"hash":"`+job.Hash+`","source":"in/1.mp4","options":{"transcode":{"encrypt":false}}}`), asynq.TaskID("upload-3"), asynq.MaxRetry(0))
	gone(QueueDefault, "upload-3")
	wantError(t, h.await("upload-3", StateFailed), CodeEncryptionSealed)

	// An id that is no job id, and one that is used again for something else.
	h.enqueue(TypeFull, []byte(`{"hash":"`+strings.Repeat("a", 64)+`","source":"b"}`), asynq.TaskID("späť 1"))
	p.next(t).succeed()
	if id := adoptedID("späť 1"); h.await(id, StateSucceeded).Type != TypeFull {
		t.Error("type")
	}
	h.enqueue(TypeTranscode, request(7, "").Payload(), asynq.TaskID("upload-1"))
	p.next(t).succeed()
	h.eventually("the second upload-1 is published", func() bool { return count(h, `SELECT count(*) FROM assets`) == 3 })
	h.invariants()
}

func TestGarbageIsArchivedWithItsReason(t *testing.T) {
	h := newHouse(t)
	m := NewMetrics(nil)
	h.worker(newScript(), func(c *Config) { c.Metrics = m })
	inspector := asynq.NewInspectorFromRedisClient(h.redis)
	for id, c := range map[string]struct{ taskType, payload, says string }{
		"text":     {TypeTranscode, "hello", "not JSON"},
		"unknown":  {TypeTranscode, `{"hash":"x","prio":1}`, `"prio"`},
		"empty":    {TypeFull, "", "not JSON"},
		"foreign":  {"mail:send", `{}`, "mail:send"},
		"doorbell": {TypeRun, `{"job_id":"x"}`, "dispatch_seq"},
	} {
		queue := QueueDefault
		if c.taskType == TypeRun {
			queue = runQueue(QueueDefault)
		}
		h.enqueue(c.taskType, []byte(c.payload), asynq.TaskID(id), asynq.Queue(queue))
		h.eventually(id+" is archived", func() bool {
			info, err := inspector.GetTaskInfo(queue, id)
			if err != nil {
				t.Fatal(err)
			}
			if info.State == asynq.TaskStateArchived && !strings.Contains(info.LastErr, c.says) {
				t.Errorf("%s: %q does not say %q", id, info.LastErr, c.says)
			}
			return info.State == asynq.TaskStateArchived
		})
	}
	if n := testutil.ToFloat64(m.adopted.WithLabelValues(adoptedRefused)); n != 4 {
		t.Errorf("%v refusals counted", n)
	}
	if n := count(h, `SELECT count(*) FROM jobs`); n != 0 {
		t.Errorf("%d jobs", n)
	}
}

func TestAdoptionWaitsForTheDatabase(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.exec(`ALTER TABLE jobs RENAME TO away`)
	m := NewMetrics(nil)
	h.worker(p, func(c *Config) { c.Wake, c.Metrics = d.Wake, m })
	h.enqueue(TypeTranscode, request(1, "").Payload(), asynq.TaskID("upload-1"), asynq.MaxRetry(0))
	h.eventually("a try has failed", func() bool { return testutil.ToFloat64(m.dependencies.WithLabelValues("postgres")) > 0 })
	h.exec(`ALTER TABLE away RENAME TO jobs`)
	p.next(t).succeed()
	h.await("upload-1", StateSucceeded)
}
