package api

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/redis/go-redis/v9"
	"golang.org/x/time/rate"
)

const (
	limitPatience = 200 * time.Millisecond // how long a key request waits for Redis
	limitCooldown = time.Second            // how long Redis is left alone after it failed
	maxLocal      = 10_000                 // keys whose state a process keeps, some 300 bytes each
	limitPrefix   = "sealcast:key:"
)

// limiter limits by key, in Redis for all processes together, which it asks less
// often the more is left of a limit: see leases. While Redis is away every
// process limits by itself: the limits become neither open nor an error.
type limiter struct {
	shared    *redis_rate.Limiter // nil: local only
	leases    *leases
	local     *localLimiter
	awayUntil atomic.Int64 // Unix nanoseconds; 0: Redis answers
	metrics   *metrics
	log       *slog.Logger
}

func newLimiter(client *redis.Client, m *metrics, log *slog.Logger) *limiter {
	l := &limiter{leases: newLeases(maxLocal), local: newLocalLimiter(maxLocal), metrics: m, log: log}
	if client != nil {
		l.shared = redis_rate.NewLimiter(client)
	}
	return l
}

// allow counts one event. When it refuses it says after what time the next
// one would pass.
func (l *limiter) allow(ctx context.Context, key string, perMinute int) (bool, time.Duration) {
	if l.shared == nil {
		return l.local.allow(key, perMinute)
	}
	now := time.Now()
	if l.leases.grant(key, now) {
		return true, 0
	}
	if !l.tryRedis() {
		return l.local.allow(key, perMinute)
	}
	owed := l.leases.settle(key, now)
	res, err := l.askRedis(ctx, key, perMinute, min(owed+1, perMinute))
	if err == nil && res.Allowed > 0 {
		l.leases.paid(key, owed, res.Remaining, now)
	} else {
		l.leases.unpaid(key, owed)
	}
	switch {
	case err == nil:
		if l.awayUntil.Swap(0) != 0 {
			l.log.InfoContext(ctx, "redis answers again, limits are shared")
		}
		return res.Allowed > 0, res.RetryAfter
	case ctx.Err() == nil:
		l.metrics.dependency.WithLabelValues(depRedis).Inc()
		if l.awayUntil.Swap(time.Now().Add(limitCooldown).UnixNano()) == 0 {
			l.log.WarnContext(ctx, "redis is away, limits are local", slog.Any("error", err))
		}
	}
	return l.local.allow(key, perMinute)
}

// tryRedis says whether to ask Redis: always while it answers, once per
// cooldown while it is away, so that an outage slows one request per second.
func (l *limiter) tryRedis() bool {
	until, now := l.awayUntil.Load(), time.Now()
	if until == 0 {
		return true
	}
	return now.UnixNano() >= until && l.awayUntil.CompareAndSwap(until, now.Add(limitCooldown).UnixNano())
}

// askRedis counts n events, all or none. It waits for limitPatience, whatever timeouts and retries the client
// has: those end the goroutine that is left behind.
func (l *limiter) askRedis(ctx context.Context, key string, perMinute, n int) (*redis_rate.Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limitPatience, errors.New("redis did not answer in time"))
	type answer struct {
		res *redis_rate.Result
		err error
	}
	ch := make(chan answer, 1)
	go func() {
		defer cancel()
		res, err := l.shared.AllowN(ctx, limitPrefix+key, redis_rate.PerMinute(perMinute), n)
		ch <- answer{res, err}
	}()
	select {
	case a := <-ch:
		return a.res, a.err
	case <-ctx.Done():
		select { // both may be ready
		case a := <-ch:
			return a.res, a.err
		default:
			return nil, context.Cause(ctx)
		}
	}
}

// localLimiter keeps the most recently used token buckets.
type localLimiter struct {
	mu      sync.Mutex
	buckets *recent[*rate.Limiter]
}

func newLocalLimiter(most int) *localLimiter {
	return &localLimiter{buckets: newRecent[*rate.Limiter](most)}
}

func (l *localLimiter) allow(key string, perMinute int) (bool, time.Duration) {
	now := time.Now()
	res := l.bucket(key, perMinute).ReserveN(now, 1)
	if after := res.DelayFrom(now); after > 0 {
		res.CancelAt(now)
		return false, after
	}
	return true, 0
}

func (l *localLimiter) bucket(key string, perMinute int) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, known := l.buckets.get(key)
	if !known {
		*b = rate.NewLimiter(rate.Limit(float64(perMinute)/60), perMinute)
	}
	return *b
}
