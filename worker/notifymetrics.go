package worker

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealcast/sealcast/internal/webhook"
)

// The events of a job.
var eventTypes = []string{"job.started", "job.progress", "job.completed", "job.failed", "job.cancelled"}

// NotifierMetrics are the metrics of webhooks. Labels are closed sets.
type NotifierMetrics struct {
	attempts *prometheus.CounterVec
	seconds  prometheus.Histogram
}

// outcomes of an attempt by what became of its delivery.
var deliveryOutcome = map[string]string{
	deliveryDelivered: "delivered", deliveryPending: "retried", deliveryDead: "dead",
}

// NewNotifierMetrics registers them; reg may be nil.
func NewNotifierMetrics(reg prometheus.Registerer) *NotifierMetrics {
	m := &NotifierMetrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealcast_webhook_deliveries_total", Help: "Attempts to deliver a webhook, by type of event and outcome.",
		}, []string{"type", "outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sealcast_webhook_attempt_duration_seconds", Help: "Time of attempts to deliver a webhook, whatever their outcome.",
			Buckets: []float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15},
		}),
	}
	for _, event := range eventTypes {
		for _, outcome := range deliveryOutcome {
			m.attempts.WithLabelValues(event, outcome)
		}
	}
	if reg != nil {
		reg.MustRegister(m.attempts, m.seconds)
	}
	return m
}

func (m *NotifierMetrics) attempted(event, state string, r webhook.Result) {
	m.attempts.WithLabelValues(event, deliveryOutcome[state]).Inc()
	m.seconds.Observe(r.Duration.Seconds())
}

// backlogCollector asks Postgres when it is scraped, at most every five
// seconds; while Postgres is away it gives nothing.
type backlogCollector struct {
	store   *JobStore
	metrics *Metrics

	mu   sync.Mutex
	read time.Time
	last []prometheus.Metric
}

var (
	backlogCount = prometheus.NewDesc("sealcast_webhook_backlog", "Webhooks that wait to be delivered, in all of the installation.", nil, nil)
	backlogAge   = prometheus.NewDesc("sealcast_webhook_backlog_age_seconds", "How long the oldest of them has waited.", nil, nil)
)

// RegisterBacklog adds the number and age of undelivered webhooks to reg.
func RegisterBacklog(reg prometheus.Registerer, store *JobStore, m *Metrics) error {
	return reg.Register(&backlogCollector{store: store, metrics: m})
}

// Describe implements prometheus.Collector.
func (c *backlogCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- backlogCount
	ch <- backlogAge
}

// Collect implements prometheus.Collector.
func (c *backlogCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.read) > 5*time.Second {
		c.last, c.read = nil, time.Now()
		n, age, err := c.store.Backlog(context.Background())
		if err != nil {
			c.metrics.dependencyError(err)
			return
		}
		c.last = []prometheus.Metric{
			prometheus.MustNewConstMetric(backlogCount, prometheus.GaugeValue, float64(n)),
			prometheus.MustNewConstMetric(backlogAge, prometheus.GaugeValue, age.Seconds()),
		}
	}
	for _, m := range c.last {
		ch <- m
	}
}
