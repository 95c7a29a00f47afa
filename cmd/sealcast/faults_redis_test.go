//go:build faults

package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"

	"github.com/sealcast/sealcast/internal/localstack"
)

// redisNow is a client around every proxy, on the URL that the program has.
func (f *faultRig) redisNow() *redis.Client {
	f.t.Helper()
	opt, err := redis.ParseURL(f.env["REDIS_URL"])
	if err != nil {
		f.t.Fatal(err)
	}
	opt.Addr = hostOf(f.t, f.stack.RedisURL)
	client := redis.NewClient(opt)
	f.t.Cleanup(func() { _ = client.Close() })
	return client
}

// Redis dies and has lost everything when it is back: one job runs meanwhile,
// one waits. Neither is lost, neither runs twice.
func TestFaultsRedisLosesEverything(t *testing.T) {
	t.Parallel()
	f := newCrashRig(t)
	f.serveAPI()
	f.worker(nil)
	held := f.store.catch(t, true, 3, putOf(".m4s", ".ts"))
	running := f.film(t, "320x240", 8)
	f.reached(held, "the encode")
	waiting := f.film(t, "320x240", 4)
	f.rung()
	if err := f.stack.Crash(localstack.Redis); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(f.stack.Data(localstack.Redis), "appendonlydir")); err != nil {
		t.Fatal(err)
	}
	if err := f.stack.Revive(t.Context(), localstack.Redis); err != nil {
		t.Fatal(err)
	}
	held.free()
	for _, id := range []string{running, waiting} {
		f.succeeds(t, id, 1)
	}
	f.invariants(t)
}

// FLUSHALL by a stranger, twice, with a job waiting.
func TestFaultsFlush(t *testing.T) {
	t.Parallel()
	f := newCrashRig(t)
	f.serveAPI()
	id := f.film(t, "320x240", 4)
	f.rung()
	if err := f.redisNow().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	f.worker(nil)
	f.succeeds(t, id, 1)
	if err := f.redisNow().FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	f.ends(f.film(t, "320x240", 4), "succeeded")
	f.invariants(t)
}

// Redis is full: jobs are accepted, and run when there is room again.
func TestFaultsRedisFull(t *testing.T) {
	t.Parallel()
	f := newCrashRig(t)
	f.serveAPI()
	f.worker(nil)
	f.ends(f.film(t, "320x240", 4), "succeeded")
	full := f.redisNow()
	if err := full.ConfigSet(t.Context(), "maxmemory", "1").Err(); err != nil {
		t.Fatal(err)
	}
	id := f.film(t, "320x240", 4)
	f.until("the API says that it could not enqueue", func() bool {
		return f.count(`SELECT count(*) FROM outbox WHERE created_at < now() - interval '2 s'`) == 1
	})
	if err := full.ConfigSet(t.Context(), "maxmemory", "0").Err(); err != nil {
		t.Fatal(err)
	}
	f.succeeds(t, id, 1)
	f.invariants(t)
}

// Garbage in the queues: undecodable messages, foreign tasks, foreign
// doorbells, ids without a task. What is ours runs on, in both queues.
func TestFaultsForeignMessages(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	queue := f.redisNow()
	client := asynq.NewClientFromRedisClient(queue)
	for _, name := range []string{"default", "run:default", "video:large"} {
		for _, task := range []*asynq.Task{
			asynq.NewTask("mail:send", []byte("{}")), asynq.NewTask("job:run", []byte(`{"job_id":"nobody","dispatch_seq":1}`)),
			asynq.NewTask("job:run", []byte("\xff\x00")), asynq.NewTask("video:transcode", []byte(`{"hash":"x"}`)), asynq.NewTask("", nil),
		} {
			if _, err := client.Enqueue(task, asynq.Queue(name)); err != nil && task.Type() != "" {
				t.Fatal(err)
			}
		}
		plant(t, queue, name)
	}
	worker := f.worker(nil)
	id := f.film(t, "320x240", 4)
	f.succeeds(t, id, 1)
	// A lost worker is still noticed.
	held := f.store.catch(t, true, 3, putOf(".m4s", ".ts"))
	again := f.film(t, "320x240", 8)
	f.reached(held, "the encode")
	f.kill9(worker)
	held.free()
	f.worker(nil)
	f.ends(again, "succeeded")
	f.invariants(t)
}

// plant writes what no asynq client writes.
func plant(t *testing.T, queue *redis.Client, name string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	for _, err := range []error{
		queue.LPush(ctx, "asynq:{"+name+"}:pending", "no-such-task", "garbage").Err(),
		queue.HSet(ctx, "asynq:{"+name+"}:t:garbage", "msg", "\x00\xff\xfe not protobuf", "state", "pending").Err(),
		queue.ZAdd(ctx, "asynq:{"+name+"}:lease", redis.Z{Score: 1, Member: "garbage"}).Err(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
}
