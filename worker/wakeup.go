package worker

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

// asleep is how long a server of a queue sleeps in Redis at most.
const asleep = 2 * time.Second

// sleeper is the Redis client of an asynq server with one queue. asynq asks an
// empty queue again and again; the sleeper lets it ask when the queue has
// something, so that a task is taken at once as a rule and an idle worker costs little.
type sleeper struct {
	redis.UniversalClient
	pending  string          // the queue's list of waiting tasks
	draining <-chan struct{} // wakes it
	most     time.Duration   // of one sleep
}

func newSleeper(rdb redis.UniversalClient, queue string, draining <-chan struct{}) sleeper {
	return sleeper{rdb, "asynq:{" + queue + "}:pending", draining, asleep}
}

// EvalSha runs a script of asynq. The one that takes a task, the only one that
// names the list of waiting ones first, waits until there is one.
func (s sleeper) EvalSha(ctx context.Context, sha string, keys []string, args ...any) *redis.Cmd {
	if len(keys) > 0 && keys[0] == s.pending {
		s.sleep(ctx)
	}
	return s.UniversalClient.EvalSha(ctx, sha, keys, args...)
}

// sleep returns when the queue has a task, when it has slept enough or when the
// worker drains. A move from the end of a list to the same end leaves it as
// it is and waits for an element (BLMOVE, Redis 6.2). An error is not its business:
// the script that follows meets it, too, and where the command is unknown or
// forbidden asynq looks at its own pace.
func (s sleeper) sleep(ctx context.Context) {
	woken := make(chan struct{})
	go func() {
		defer close(woken)
		_ = s.BLMove(ctx, s.pending, s.pending, "RIGHT", "RIGHT", s.most).Err()
	}()
	select {
	case <-woken:
	case <-s.draining:
	}
}
