package api

import (
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

func TestLeases(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	grants := func(l *leases, at time.Time) (n int) {
		for l.grant("k", at) {
			n++
		}
		return n
	}
	l := newLeases(10)
	if n := grants(l, now); n != 0 {
		t.Errorf("%d granted that Redis never knew of", n)
	}
	answer := func(left int) { l.paid("k", l.settle("k", now), left, now) }
	answer(7)
	if n := grants(l, now); n != 0 {
		t.Errorf("%d granted where seven were left: small limits are exact", n)
	}
	answer(80)
	if n := grants(l, now); n != 10 {
		t.Errorf("%d granted, want an eighth of 80", n)
	}
	owed := l.settle("k", now)
	if twice := l.settle("k", now); owed != 10 || twice != 0 {
		t.Errorf("%d owed, then %d, want 10 once", owed, twice)
	}
	l.paid("k", 0, 96, now) // the second question was answered first
	if n := grants(l, now); n != 2 {
		t.Errorf("%d granted, want an eighth of 96 less the ten that Redis is being told of", n)
	}
	l.unpaid("k", owed)
	if owed := l.settle("k", now); owed != 12 {
		t.Errorf("%d owed after a refusal, want all 12", owed)
	}
	l.paid("k", 12, 80, now)
	if n := grants(l, now.Add(leaseTime+1)); n != 0 {
		t.Errorf("%d granted after the lease", n)
	}
	l.settle("k", now)
	if n := grants(l, now); n != 0 {
		t.Errorf("%d granted while Redis is asked", n)
	}
	l.unpaid("k", 5)
	if owed := l.settle("k", now.Add(debtTime)); owed != 0 {
		t.Errorf("%d owed when the limit is full again anyway", owed)
	}
	for i := range 1000 {
		l.paid(strconv.Itoa(i), 0, 800, now)
	}
	if n := len(l.keys.entries); n != 10 {
		t.Errorf("%d keys are kept", n)
	}
}

func redisLimiter(t *testing.T, client *redis.Client) *limiter {
	t.Helper()
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return newLimiter(client, m, slog.New(slog.DiscardHandler))
}

// scripts counts the scripts that Redis has run.
func scripts(t *testing.T, client *redis.Client) (n int) {
	t.Helper()
	info, err := client.Info(t.Context(), "commandstats").Result()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(info) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_evalsha:calls="); ok {
			n, _ = strconv.Atoi(rest[:strings.IndexByte(rest, ',')])
		}
	}
	return n
}

// Who is fast costs few questions, and what was granted without one is paid for.
func TestFastClientsCostFewQuestions(t *testing.T) {
	client, _ := realRedis(t)
	l := redisLimiter(t, client)
	const limit, events = 1_000_000, 5000
	for range events {
		if ok, _ := l.allow(t.Context(), "k", limit); !ok {
			t.Fatal("refused")
		}
	}
	if n := scripts(t, client); n > events/10 {
		t.Errorf("%d events cost %d questions", events, n)
	}
	l.leases.unpaid("k", l.leases.settle("k", time.Now())) // ends the lease
	if ok, _ := l.allow(t.Context(), "k", limit); !ok {
		t.Fatal("refused")
	}
	res, err := l.shared.AllowN(t.Context(), limitPrefix+"k", redis_rate.PerMinute(limit), 0)
	spent := limit - res.Remaining
	if refilled := limit / 60; err != nil || spent > events+1 || spent < events+1-20*refilled {
		t.Errorf("%d are spent in Redis, want %d less what came back since; %v", spent, events+1, err)
	}
}

// One process is never above the limit; several by an eighth each at most.
func TestLeasesKeepTheLimit(t *testing.T) {
	client, _ := realRedis(t)
	const limit, processes = 6000, 2 // a hundred come back each second
	var passed, asked atomic.Int64
	began := time.Now()
	var group sync.WaitGroup
	for range processes {
		l := redisLimiter(t, client)
		for range 4 {
			group.Go(func() {
				for refused := 0; refused < 20; {
					asked.Add(1)
					if ok, after := l.allow(t.Context(), "k", limit); ok {
						passed.Add(1)
					} else if refused++; after <= 0 {
						t.Errorf("refused, and to be asked again after %s", after)
					}
				}
			})
		}
	}
	group.Wait()
	refilled := int64(time.Since(began).Seconds()*limit/60) + 1
	most := int64(limit+processes*limit/leaseShare) + refilled
	if n := passed.Load(); n < limit || n > most {
		t.Errorf("%d of %d passed, want %d to %d", n, asked.Load(), limit, most)
	}
}
