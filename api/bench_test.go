package api

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// BenchmarkKey is a key request from mux to log, over a fake store and the
// local limiter. Compare it with BenchmarkBareHandler, which writes 16 bytes.
func BenchmarkKey(b *testing.B) {
	rig := newRig(b, func(cfg *Config) {
		cfg.Registry, cfg.Log = prometheus.NewRegistry(), slog.New(slog.NewJSONHandler(io.Discard, nil))
		cfg.KeysPerToken, cfg.KeysPerClient = 1<<30, 1<<30
	})
	req := httptest.NewRequest(http.MethodGet, "/api/key/"+hashA, nil)
	req.Header.Set("Authorization", "Bearer "+rig.token(hashA))
	benchmark(b, rig.server.Config.Handler, req, http.StatusOK)
}

// BenchmarkKeyRefused is what a storm of expired tokens costs.
func BenchmarkKeyRefused(b *testing.B) {
	rig := newRig(b, func(cfg *Config) { cfg.Log = slog.New(slog.NewJSONHandler(io.Discard, nil)) })
	req := httptest.NewRequest(http.MethodGet, "/api/key/"+hashA, nil)
	req.Header.Set("Authorization", "Bearer "+rig.token(hashB))
	benchmark(b, rig.server.Config.Handler, req, http.StatusForbidden)
}

func BenchmarkBareHandler(b *testing.B) {
	key := bytes.Repeat([]byte{1}, 16)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/key/{hash}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(key)
	})
	benchmark(b, mux, httptest.NewRequest(http.MethodGet, "/api/key/"+hashA, nil), http.StatusOK)
}

func benchmark(b *testing.B, h http.Handler, req *http.Request, status int) {
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		if w.Code != status {
			b.Fatal(w.Code, w.Body)
		}
	}
}
