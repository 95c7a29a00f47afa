package api

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/redis/go-redis/v9"

	"github.com/sealcast/sealcast/token"
)

// realRedis starts a Redis server and returns a client and what ends the server.
func realRedis(t *testing.T) (*redis.Client, func()) {
	t.Helper()
	addr := freeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command("redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatalf("redis-server: %v", err)
	}
	stop := sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(stop)
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { _ = client.Close() })
	for deadline := time.Now().Add(20 * time.Second); client.Ping(t.Context()).Err() != nil; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("redis-server does not answer")
		}
	}
	return client, stop
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func limits(perToken, perClient int, client *redis.Client) func(*Config) {
	return func(cfg *Config) { cfg.KeysPerToken, cfg.KeysPerClient, cfg.Redis = perToken, perClient, client }
}

// keyStatuses asks n times and counts the answers.
func keyStatuses(r *rig, n int, tok func(i int) string, headers ...string) map[int]int {
	got := map[int]int{}
	for i := range n {
		a := r.do("GET", "/api/key/"+hashA, "", append([]string{"Authorization: Bearer " + tok(i)}, headers...)...)
		got[a.StatusCode]++
		if a.StatusCode == http.StatusTooManyRequests {
			after, err := strconv.Atoi(a.Header.Get("Retry-After"))
			if err != nil || after < 1 || after > 60 || a.code() != "rate_limited" {
				r.t.Fatalf("Retry-After %q, %s", a.Header.Get("Retry-After"), a.body)
			}
			checkKeyHeaders(r.t.(*testing.T), a)
		}
	}
	return got
}

func TestLimitsAreSharedThroughRedis(t *testing.T) {
	client, _ := realRedis(t)
	one, two := newRig(t, limits(5, 1000, client)), newRig(t, limits(5, 1000, client))
	tok := one.token(hashA)
	same := func(int) string { return tok }
	if got := keyStatuses(one, 4, same); got[200] != 4 {
		t.Fatalf("first process: %v", got)
	}
	if got := keyStatuses(two, 4, same); got[200] != 1 || got[429] != 3 {
		t.Fatalf("second process: %v", got)
	}
	if got := one.keys.called() + two.keys.called(); got != 5 {
		t.Errorf("%d requests reached the key store", got)
	}
	another := two.mint(token.Claims{Hash: hashA, ExpiresAt: time.Now().Add(time.Minute), JTI: "another"})
	if got := keyStatuses(two, 1, func(int) string { return another }); got[200] != 1 {
		t.Errorf("another token: %v", got)
	}
	if n := client.Keys(t.Context(), "*sealcast:key:*").Val(); len(n) != 4 { // a client, two tokens, and the refusals of one
		t.Errorf("keys in Redis: %q", n)
	}
}

func TestClientLimitCountsAllTokens(t *testing.T) {
	client, _ := realRedis(t)
	for name, c := range map[string]*redis.Client{"redis": client, "local": nil} {
		t.Run(name, func(t *testing.T) {
			rig := newRig(t, limits(1000, 6, c))
			fresh := func(i int) string {
				return rig.mint(token.Claims{Hash: hashA, ExpiresAt: time.Now().Add(time.Minute), JTI: strconv.Itoa(i)})
			}
			// A spoofed address gives nobody a limit of his own.
			for i := range 10 {
				want := 200
				if i >= 6 {
					want = 429
				}
				if got := keyStatuses(rig, 1, func(int) string { return fresh(i) }, fmt.Sprintf("X-Forwarded-For: 192.0.2.%d", i)); got[want] != 1 {
					t.Fatalf("request %d: %v", i, got)
				}
			}
		})
	}
}

// Behind a trusted proxy the limit is that of the client that the proxy names,
// and of nobody whom the client names.
func TestClientLimitBehindAProxy(t *testing.T) {
	rig := newRig(t, limits(1000, 2, nil), func(cfg *Config) { cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	for i, c := range []struct {
		forwarded string
		want      int
	}{
		{"192.0.2.1", 200},
		{"192.0.2.2", 200},
		{"192.0.2.1", 200},
		{"192.0.2.1", 429},
		{"192.0.2.9, 192.0.2.1", 429},
		{"192.0.2.2, 127.0.0.9", 200},
		{"192.0.2.2", 429},
		{"192.0.2.3", 200},
	} {
		if got := keyStatuses(rig, 1, func(int) string { return rig.token(hashA) }, "X-Forwarded-For: "+c.forwarded); got[c.want] != 1 {
			t.Errorf("request %d, for %s: %v, want %d", i, c.forwarded, got, c.want)
		}
	}
}

func TestRespelledAndForgedTokensDoNotCount(t *testing.T) {
	rig := newRig(t, limits(3, 1000, nil))
	tok := rig.token(hashA)
	if got := keyStatuses(rig, 20, func(int) string { return tok + "=" }); got[403] != 20 {
		t.Fatalf("respelled: %v", got)
	}
	if got := keyStatuses(rig, 5, func(int) string { return tok }); got[200] != 3 || got[429] != 2 {
		t.Fatalf("good: %v", got)
	}
}

// TestLimitsWhileRedisIsAway: neither open nor 500, and shared again later.
func TestLimitsWhileRedisIsAway(t *testing.T) {
	t.Run("killed", func(t *testing.T) {
		client, kill := realRedis(t)
		rig := newRig(t, limits(5, 1000, client))
		tok := rig.token(hashA)
		if got := keyStatuses(rig, 1, func(int) string { return tok }); got[200] != 1 {
			t.Fatalf("before: %v", got)
		}
		kill()
		if got := keyStatuses(rig, 12, func(int) string { return tok }); got[200] != 5 || got[429] != 7 {
			t.Errorf("away: %v", got)
		}
		if testutil.CollectAndCount(rig.reg) == 0 || dependencyErrors(t, rig, "redis") == 0 {
			t.Error("the outage is not counted")
		}
	})
	t.Run("never there", func(t *testing.T) {
		client := redis.NewClient(&redis.Options{Addr: freeAddr(t)})
		defer func() { _ = client.Close() }()
		rig := newRig(t, limits(5, 1000, client))
		tok := rig.token(hashA)
		if got := keyStatuses(rig, 12, func(int) string { return tok }); got[200] != 5 || got[429] != 7 {
			t.Errorf("%v", got)
		}
	})
	t.Run("black hole", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(io.Discard, c) }()
			}
		}()
		client := redis.NewClient(&redis.Options{Addr: l.Addr().String()})
		defer func() { _ = client.Close() }()
		rig := newRig(t, limits(5, 1000, client))
		tok := rig.token(hashA)
		if got := keyStatuses(rig, 12, func(int) string { return tok }); got[200] != 5 || got[429] != 7 {
			t.Errorf("%v", got)
		}
	})
	t.Run("refuses commands", func(t *testing.T) {
		client, _ := realRedis(t)
		if err := client.ConfigSet(t.Context(), "requirepass", "x").Err(); err != nil {
			t.Fatal(err)
		}
		plain := redis.NewClient(&redis.Options{Addr: client.Options().Addr})
		defer func() { _ = plain.Close() }()
		rig := newRig(t, limits(5, 1000, plain))
		tok := rig.token(hashA)
		if got := keyStatuses(rig, 12, func(int) string { return tok }); got[200] != 5 || got[429] != 7 {
			t.Errorf("%v", got)
		}
	})
}

func dependencyErrors(t *testing.T, r *rig, name string) float64 {
	t.Helper()
	families, err := r.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "sealcast_api_dependency_errors_total" && m.GetLabel()[0].GetValue() == name {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no counter for %s", name)
	return 0
}

func TestRedisIsAskedAgainAfterItsOutage(t *testing.T) {
	client, _ := realRedis(t)
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	l := newLimiter(client, m, slog.New(slog.DiscardHandler))
	l.awayUntil.Store(time.Now().Add(time.Hour).UnixNano())
	if l.tryRedis() {
		t.Error("asked during the cooldown")
	}
	l.awayUntil.Store(time.Now().Add(-time.Second).UnixNano())
	if !l.tryRedis() || l.tryRedis() {
		t.Error("not exactly one request tries after the cooldown")
	}
	l.awayUntil.Store(time.Now().Add(-time.Second).UnixNano())
	if ok, _ := l.allow(context.Background(), "x", 5); !ok || l.awayUntil.Load() != 0 || client.Exists(t.Context(), "rate:sealcast:key:x").Val() != 1 {
		t.Error("not shared again")
	}
}

func TestLocalLimiterRefills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLocalLimiter(10)
		for range 6 {
			if ok, _ := l.allow("a", 6); !ok {
				t.Fatal("refused within the burst")
			}
		}
		ok, after := l.allow("a", 6)
		if ok || after <= 9*time.Second || after > 10*time.Second {
			t.Fatalf("%v, %v", ok, after)
		}
		time.Sleep(after)
		if ok, _ := l.allow("a", 6); !ok {
			t.Error("refused after what it said")
		}
		if ok, _ := l.allow("a", 6); ok {
			t.Error("a refusal counted as an event, or two passed")
		}
	})
}

func TestLocalLimiterIsBounded(t *testing.T) {
	l := newLocalLimiter(100)
	for i := range 10_000 {
		l.allow("hot", 20_000)
		l.allow(strconv.Itoa(i), 1)
	}
	if len(l.buckets.entries) != 100 || l.buckets.order.Len() != 100 {
		t.Errorf("%d, %d entries", len(l.buckets.entries), l.buckets.order.Len())
	}
	if _, ok := l.buckets.entries["hot"]; !ok {
		t.Error("the entry in use was dropped")
	}
}
