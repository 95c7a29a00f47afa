package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/keystore"
)

func TestMain(m *testing.M) { os.Exit(localstacktest.RunWhole(m)) }

func TestConfigFaultsTogether(t *testing.T) {
	_, err := New(Config{BaseURL: "https://video.example.com/", CORSOrigins: []string{"*"}})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, part := range []string{
		"API key", "gate", "key store", "job service", "asset service", "event streams", "publications", "object store", "and token", "and client", "registry", "logger",
		"base URL", `CORS origin "*"`,
	} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("no word of %q in:\n%v", part, err)
		}
	}
	if _, err := NewAPIKey(""); err == nil {
		t.Error("empty API key accepted")
	}
	if err := (APIKey{}).check([]string{"x"}); err == nil {
		t.Error("the zero API key opens")
	}
}

func TestAPIKeyRedactsItself(t *testing.T) {
	key, err := NewAPIKey(testAPIKey)
	if err != nil {
		t.Fatal(err)
	}
	holder := struct{ Key APIKey }{key}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+verb+verb, key, &key, holder)
	}
	if err := json.NewEncoder(&out).Encode(holder); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "key", key, "holder", holder)
	digest := fmt.Sprintf("%x", key.digest)
	for _, leak := range []string{testAPIKey, digest[:16], strings.Trim(fmt.Sprint(string(key.digest[:6])), "[]")} {
		if strings.Contains(out.String(), leak) {
			t.Errorf("%q shows in %s", leak, out.String())
		}
	}
}

func TestUnknownPaths(t *testing.T) {
	rig := newRig(t)
	for _, path := range []string{"/", "/api", "/api/", "/api/jobs/", "/metrics", "/debug/pprof/", "/stream", "/stream/", "/healthz/", "/%2e%2e/etc/passwd"} {
		for _, method := range []string{"GET", "POST", "OPTIONS"} {
			if a := rig.do(method, path, ""); a.StatusCode != http.StatusNotFound || a.code() != "not_found" || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %s: %d %s", method, path, a.StatusCode, a.body)
			}
		}
	}
}

func TestPanicIsAProblem(t *testing.T) {
	rig := newRig(t, func(cfg *Config) { cfg.Keys = panickingKeys{} })
	a := rig.do("GET", "/api/key/"+hashA, "", "Authorization: Bearer "+rig.token(hashA))
	if a.StatusCode != http.StatusInternalServerError || a.code() != "internal" || strings.Contains(string(a.body), "boom") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := rig.do("GET", "/healthz", ""); a.StatusCode != http.StatusOK {
		t.Errorf("afterwards: %d", a.StatusCode)
	}
	rig.server.Close()
	if log := rig.log.String(); !strings.Contains(log, "boom") || !strings.Contains(log, "stack") {
		t.Errorf("the log does not tell: %s", log)
	}
}

type panickingKeys struct{}

func (panickingKeys) Served(context.Context, string, *cenc.KID) (keystore.Key, error) { panic("boom") }

func TestRequestID(t *testing.T) {
	trusting := func(cfg *Config) { cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
	plain, behind := newRig(t), newRig(t, trusting)
	for _, tt := range []struct {
		rig   *rig
		given string
		taken bool
	}{{plain, "abcdefgh-1", false}, {behind, "abcdefgh-1", true}, {behind, "short", false}, {behind, "bad id with spaces", false}} {
		a := tt.rig.do("GET", "/nothing", "", "X-Request-Id: "+tt.given)
		got := a.Header.Get("X-Request-Id")
		if (got == tt.given) != tt.taken || !strings.Contains(string(a.body), `"request_id":"`+got+`"`) || len(got) < 8 {
			t.Errorf("%q: %q, %s", tt.given, got, a.body)
		}
	}
}

func TestAccessLogLine(t *testing.T) {
	rig := newRig(t, func(cfg *Config) { cfg.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} })
	rig.do("GET", "/api/key/"+hashA+"?kid=x&token=secret", "", "X-Forwarded-For: 192.0.2.7")
	rig.server.Close()
	var line map[string]any
	if err := json.Unmarshal([]byte(strings.TrimSpace(rig.log.String())), &line); err != nil {
		t.Fatalf("%v in %s", err, rig.log.String())
	}
	for key, want := range map[string]any{
		"msg": "http request", "level": "INFO", "method": "GET", "pattern": "/api/key/{hash}", "status": 401.0, "hash": hashA,
		"client": "192.0.2.7", "code": "token_required",
	} {
		if line[key] != want {
			t.Errorf("%s = %v, want %v", key, line[key], want)
		}
	}
}

func TestMetrics(t *testing.T) {
	rig := newRig(t)
	auth := "Authorization: Bearer " + rig.token(hashA)
	rig.do("GET", "/api/key/"+hashA, "", auth)
	rig.do("HEAD", "/api/key/"+hashA, "", auth)
	rig.do("GET", "/api/key/"+hashB, "", auth)
	rig.do("OPTIONS", "/api/key/"+hashA, "")
	rig.do("BREW", "/api/key/"+hashA, "")
	rig.do("GET", "/some/random/path", "")
	rig.do("GET", "/stream/"+hashA+"/master.m3u8", "")
	rig.store.err = errors.New("away")
	rig.do("GET", "/stream/"+hashA+"/"+segmentPath, "")
	rig.server.Close()
	if err := testutil.GatherAndCompare(rig.reg, strings.NewReader(`
# HELP sealcast_http_requests_total HTTP requests by route pattern, method and status.
# TYPE sealcast_http_requests_total counter
sealcast_http_requests_total{method="GET",pattern="/api/key/{hash}",status="200"} 1
sealcast_http_requests_total{method="GET",pattern="/api/key/{hash}",status="403"} 1
sealcast_http_requests_total{method="GET",pattern="/stream/{hash}/{path...}",status="200"} 1
sealcast_http_requests_total{method="GET",pattern="/stream/{hash}/{path...}",status="503"} 1
sealcast_http_requests_total{method="GET",pattern="other",status="404"} 1
sealcast_http_requests_total{method="HEAD",pattern="/api/key/{hash}",status="200"} 1
sealcast_http_requests_total{method="OPTIONS",pattern="/api/key/{hash}",status="204"} 1
sealcast_http_requests_total{method="other",pattern="/api/key/{hash}",status="405"} 1
# HELP sealcast_key_requests_total Content key requests by status.
# TYPE sealcast_key_requests_total counter
sealcast_key_requests_total{status="200"} 2
sealcast_key_requests_total{status="403"} 1
sealcast_key_requests_total{status="405"} 1
# HELP sealcast_api_dependency_errors_total Errors of what the API depends on.
# TYPE sealcast_api_dependency_errors_total counter
sealcast_api_dependency_errors_total{dependency="postgres"} 0
sealcast_api_dependency_errors_total{dependency="redis"} 0
sealcast_api_dependency_errors_total{dependency="s3"} 1
`), "sealcast_http_requests_total", "sealcast_key_requests_total", "sealcast_api_dependency_errors_total"); err != nil {
		t.Error(err)
	}
}

func TestHealth(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	checks := map[string]func(context.Context) error{
		"postgres": func(context.Context) error { return nil },
		"redis":    func(context.Context) error { return nil },
	}
	rig := newRig(t, func(cfg *Config) { cfg.Ready = checks })
	if a := rig.do("GET", "/healthz", ""); a.StatusCode != http.StatusOK || string(a.body) != `{"status":"ok"}`+"\n" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := rig.do("GET", "/readyz", ""); a.StatusCode != http.StatusOK || string(a.body) != `{"status":"ok","checks":{"postgres":"up","redis":"up"}}`+"\n" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	checks = map[string]func(context.Context) error{
		"postgres": func(context.Context) error { return nil },
		"redis":    func(context.Context) error { return errors.New("dial redis.internal:6379") },
		"s3":       func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"deaf":     func(context.Context) error { <-release; return nil },
		"broken":   func(context.Context) error { panic("boom") },
	}
	rig = newRig(t, func(cfg *Config) { cfg.Ready = checks })
	a := rig.do("GET", "/readyz", "")
	want := `{"status":"unavailable","checks":{"broken":"down","deaf":"down","postgres":"up","redis":"down","s3":"down"}}` + "\n"
	if a.StatusCode != http.StatusServiceUnavailable || string(a.body) != want || a.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := rig.do("GET", "/healthz", ""); a.StatusCode != http.StatusOK {
		t.Errorf("healthz while others are down: %d", a.StatusCode)
	}
}

// TestLongDownloadOutlivesServerTimeouts: the timeouts of the server end slow
// requests and slow readers, not a download that moves.
func TestLongDownloadOutlivesServerTimeouts(t *testing.T) {
	rig := newRig(t)
	size := int64(40)
	rig.pubs.objects[objectKey(hashA, testPrefix, "slow.mp4")] = Object{Name: "slow.mp4", ContentType: "video/mp4", Size: size}
	rig.store.reader = func(ctx context.Context) io.ReadCloser { return io.NopCloser(&slowReader{ctx}) }
	server := NewServer("", rig.server.Config.Handler)
	server.ReadTimeout, server.WriteTimeout = 200*time.Millisecond, 200*time.Millisecond
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	defer func() { _ = server.Close() }()
	res, err := http.Get("http://" + l.Addr().String() + "/stream/" + hashA + "/" + testPrefix + "/slow.mp4")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	if got, err := io.ReadAll(res.Body); err != nil || int64(len(got)) != size {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// slowReader gives a byte each 20 ms, 40 of them in four server timeouts.
type slowReader struct{ ctx context.Context }

func (s *slowReader) Read(p []byte) (int, error) {
	select {
	case <-s.ctx.Done():
		return 0, context.Cause(s.ctx)
	case <-time.After(20 * time.Millisecond):
		return copy(p[:1], "x"), nil
	}
}

func TestServerHasAllTimeouts(t *testing.T) {
	s := NewServer("127.0.0.1:0", http.NotFoundHandler())
	if s.ReadHeaderTimeout <= 0 || s.ReadTimeout <= 0 || s.WriteTimeout <= 0 || s.IdleTimeout <= 0 || s.MaxHeaderBytes <= 0 || s.Addr != "127.0.0.1:0" {
		t.Errorf("%+v", s)
	}
}
