package api

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of the package. Labels are closed sets.
type metrics struct {
	mu       sync.RWMutex
	counters map[answerLabels]answerCounters // those of requests and keyRequests that were used

	requests    *prometheus.CounterVec // pattern, method, status
	keyRequests *prometheus.CounterVec // status
	keySeconds  prometheus.Histogram
	dependency  *prometheus.CounterVec // dependency
	streams     prometheus.Gauge
}

// answerLabels are the labels of an answer.
type answerLabels struct {
	pattern, method string
	status          int
	givesKeys       bool // its route does
}

// answerCounters count the answers of one set of labels.
type answerCounters struct {
	requests prometheus.Counter
	keys     prometheus.Counter // nil: no key route
}

// answered counts an answer.
func (m *metrics) answered(labels answerLabels, took time.Duration) {
	m.mu.RLock()
	c, ok := m.counters[labels]
	m.mu.RUnlock()
	if !ok {
		text := strconv.Itoa(labels.status)
		c.requests = m.requests.WithLabelValues(labels.pattern, labels.method, text)
		if labels.givesKeys && labels.method != "OPTIONS" {
			c.keys = m.keyRequests.WithLabelValues(text)
		}
		m.mu.Lock()
		m.counters[labels] = c
		m.mu.Unlock()
	}
	c.requests.Inc()
	if c.keys != nil {
		c.keys.Inc()
		m.keySeconds.Observe(took.Seconds())
	}
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		counters: map[answerLabels]answerCounters{},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealcast_http_requests_total", Help: "HTTP requests by route pattern, method and status.",
		}, []string{"pattern", "method", "status"}),
		keyRequests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealcast_key_requests_total", Help: "Content key requests by status.",
		}, []string{"status"}),
		keySeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sealcast_key_request_duration_seconds", Help: "Time to answer a content key request.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2},
		}),
		dependency: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealcast_api_dependency_errors_total", Help: "Errors of what the API depends on.",
		}, []string{"dependency"}),
		streams: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sealcast_event_streams", Help: "Event streams of jobs that are open.",
		}),
	}
	for _, name := range []string{depPostgres, depRedis, depObjects} {
		m.dependency.WithLabelValues(name)
	}
	for _, c := range []prometheus.Collector{m.requests, m.keyRequests, m.keySeconds, m.dependency, m.streams} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// The dependencies, as labels.
const (
	depPostgres = "postgres"
	depRedis    = "redis"
	depObjects  = "s3"
)

// failed counts an error of a dependency, unless the client went away.
func (m *metrics) failed(r *http.Request, dependency string) {
	if r.Context().Err() != context.Canceled { //nolint:errorlint // Err gives the bare value
		m.dependency.WithLabelValues(dependency).Inc()
	}
}
