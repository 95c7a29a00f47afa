package worker

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
)

// A server of an empty queue sleeps in Redis until a task comes, and leaves the
// queue as it is.
func TestSleeperWakesForATask(t *testing.T) {
	h := newHouse(t)
	draining := make(chan struct{})
	sleep := func(queue string) <-chan struct{} {
		woken := make(chan struct{})
		go func() {
			defer close(woken)
			s := newSleeper(h.redis, queue, draining)
			s.most = time.Hour // nothing but a task or the drain wakes it
			s.sleep(t.Context())
		}()
		return woken
	}
	first, second, other := sleep(QueueDefault), sleep(QueueDefault), sleep(QueueLarge)
	h.eventually("all sleep", func() bool { return h.blocked() == 3 })
	h.enqueue(TypeTranscode, request(1, "").Payload(), asynq.TaskID("upload-1"))
	<-first
	<-second // one task wakes all
	if n := h.blocked(); n != 1 {
		t.Errorf("%d clients sleep, want that of the other queue", n)
	}
	h.enqueue(TypeTranscode, request(2, "").Payload(), asynq.TaskID("upload-2"))
	<-sleep(QueueDefault) // who comes later does not sleep
	if n, err := h.redis.LRange(t.Context(), "asynq:{default}:pending", 0, -1).Result(); err != nil || len(n) != 2 || n[1] != "upload-1" {
		t.Errorf("the queue holds %v, %v", n, err)
	}
	close(draining)
	<-other
}

// blocked counts the test's clients that Redis lets wait.
func (h *house) blocked() (n int) {
	list, err := h.redis.ClientList(h.t.Context()).Result()
	if err != nil {
		h.t.Fatal(err)
	}
	for line := range strings.Lines(list) {
		if strings.Contains(line, fmt.Sprintf(" db=%d ", h.redis.Options().DB)) && strings.Contains(line, " flags=b ") {
			n++
		}
	}
	return n
}

// scripts counts what asynq asks for.
type scripts struct{ atomic.Int64 }

func (s *scripts) DialHook(next redis.DialHook) redis.DialHook { return next }

func (s *scripts) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (s *scripts) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if args := cmd.Args(); cmd.Name() == "evalsha" && len(args) > 3 && strings.HasSuffix(fmt.Sprint(args[3]), ":pending") {
			s.Add(1)
		}
		return next(ctx, cmd)
	}
}

// The servers of an idle worker sleep: without that they look eighty times in
// two seconds, and each look costs CPU time beside somebody's encode.
func TestIdleWorkerSleeps(t *testing.T) {
	h := newHouse(t)
	looks := new(scripts)
	h.redis.AddHook(looks)
	h.worker(newScript(), nil)
	h.eventually("its servers sleep", func() bool { return h.blocked() == 4 })
	before := looks.Load()
	time.Sleep(asleep)
	if n := looks.Load() - before; n > 16 {
		t.Errorf("an idle worker looked for tasks %d times in %v", n, asleep)
	}
}

// Without BLMOVE, which Redis has since 6.2 and an ACL may forbid, asynq looks at
// its own pace.
func TestWorkerWithoutBLMOVE(t *testing.T) {
	h := newHouse(t)
	user := fmt.Sprintf("poller-%d", h.redis.Options().DB)
	if err := h.redis.Do(t.Context(), "ACL", "SETUSER", user, "on", ">secret", "~*", "&*", "+@all", "-blmove").Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.redis.Do(context.WithoutCancel(t.Context()), "ACL", "DELUSER", user) })
	options := *h.redis.Options()
	options.Username, options.Password = user, "secret"
	poller := redis.NewClient(&options)
	t.Cleanup(func() { _ = poller.Close() })
	if err := poller.BLMove(t.Context(), "a", "a", "RIGHT", "RIGHT", asleep).Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Fatalf("BLMOVE is not forbidden: %v", err)
	}
	p := newScript()
	d, _ := h.dispatcher(nil)
	h.worker(p, func(c *Config) { c.Redis, c.Wake = poller, d.Wake })
	h.enqueue(TypeTranscode, request(1, "").Payload(), asynq.TaskID("upload-1"))
	p.next(t).succeed()
	h.await("upload-1", StateSucceeded)
}
