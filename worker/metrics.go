package worker

import (
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/hibiken/asynq"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/sealcast/sealcast/pipeline"
)

// How an attempt can end; the label values of sealcast_attempts_total.
const (
	outcomeSucceeded = "succeeded"
	outcomeFailed    = "failed"   // for good
	outcomeRetried   = "retried"  // a transient error, queued again
	outcomeReleased  = "released" // the worker shut down, queued again
	outcomeFenced    = "fenced"   // it noticed that it had lost its lease
	outcomeLost      = "lost"     // the reaper noticed
	outcomeCancelled = "cancelled"
)

// What came of a task that an upload service enqueued.
const (
	adoptedNew       = "new"
	adoptedRestarted = "restarted" // the failed or cancelled job of the task's id
	adoptedDuplicate = "duplicate" // an identical live job exists
	adoptedSealed    = "sealed"    // recorded as a failed job
	adoptedRefused   = "refused"   // undecodable or foreign: archived
)

// Metrics of jobs and queues. Labels are closed sets.
type Metrics struct {
	jobs         *prometheus.CounterVec
	attempts     *prometheus.CounterVec
	adopted      *prometheus.CounterVec
	running      *prometheus.GaugeVec
	waiting      prometheus.Gauge
	stages       *prometheus.HistogramVec
	speed        prometheus.Histogram
	media        prometheus.Counter
	dependencies *prometheus.CounterVec
}

// NewMetrics registers the metrics of this package; reg may be nil. Worker
// and Dispatcher of one process share one Metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealcast_jobs_total", Help: "Jobs that ended in this process, by type and outcome.",
		}, []string{"type", "outcome"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealcast_attempts_total", Help: "Attempts that ended, by outcome.",
		}, []string{"outcome"}),
		adopted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealcast_adopted_tasks_total", Help: "Tasks from the queue that came without a job row, by what became of them.",
		}, []string{"result"}),
		waiting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sealcast_admission_waiting", Help: "Doorbells that wait here for the memory of their attempt.",
		}),
		running: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sealcast_attempts_running", Help: "Attempts that run now, by queue.",
		}, []string{"queue"}),
		stages: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "sealcast_stage_duration_seconds", Help: "Time of each stage of successful attempts.",
			Buckets: []float64{1, 2, 5, 10, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600},
		}, []string{"stage"}),
		speed: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "sealcast_media_seconds_per_second", Help: "Media seconds published per wall second of the attempt.",
			Buckets: []float64{0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 8, 13, 21, 34},
		}),
		media: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealcast_media_seconds_total", Help: "Media seconds published.",
		}),
		dependencies: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealcast_worker_dependency_errors_total", Help: "Calls of worker and dispatcher that a dependency did not answer.",
		}, []string{"dependency"}),
	}
	for _, taskType := range Types() {
		m.jobs.WithLabelValues(taskType, outcomeSucceeded)
		m.jobs.WithLabelValues(taskType, outcomeFailed)
		m.jobs.WithLabelValues(taskType, outcomeCancelled)
	}
	for _, o := range []string{outcomeSucceeded, outcomeFailed, outcomeRetried, outcomeReleased, outcomeFenced, outcomeLost, outcomeCancelled} {
		m.attempts.WithLabelValues(o)
	}
	for _, r := range []string{adoptedNew, adoptedRestarted, adoptedDuplicate, adoptedSealed, adoptedRefused} {
		m.adopted.WithLabelValues(r)
	}
	for _, q := range append(slices.Clone(Queues), QueueParts) {
		m.running.WithLabelValues(q)
	}
	m.dependencies.WithLabelValues("postgres")
	m.dependencies.WithLabelValues("redis")
	m.dependencies.WithLabelValues("s3")
	if reg != nil {
		reg.MustRegister(m.jobs, m.attempts, m.adopted, m.running, m.waiting, m.stages, m.speed, m.media, m.dependencies)
	}
	return m
}

func (m *Metrics) attemptEnded(outcome string) { m.attempts.WithLabelValues(outcome).Inc() }

func (m *Metrics) jobEnded(taskType, outcome string) {
	m.jobs.WithLabelValues(taskType, outcome).Inc()
}

// JobCancelled counts a job that was cancelled by a request to this process.
func (m *Metrics) JobCancelled(taskType string) { m.jobEnded(taskType, outcomeCancelled) }

// published observes a successful attempt that took wall.
func (m *Metrics) published(p *pipeline.Presentation, wall time.Duration) {
	for _, s := range p.Stages {
		m.stages.WithLabelValues(string(s.Stage)).Observe(s.Duration.Seconds())
	}
	m.media.Add(p.Duration.Seconds())
	if wall > 0 {
		m.speed.Observe(p.Duration.Seconds() / wall.Seconds())
	}
}

// dependencyError counts an error that is not an answer.
func (m *Metrics) dependencyError(err error) {
	var r *redisError
	var p *pipeline.Error
	switch {
	case errors.As(err, &r):
		m.dependencies.WithLabelValues("redis").Inc()
	case errors.As(err, &p):
		if p.Code == pipeline.CodeStoreUnavailable {
			m.dependencies.WithLabelValues("s3").Inc()
		}
	default:
		m.dependencies.WithLabelValues("postgres").Inc()
	}
}

// queueCollector reads depth and age of the queues when it is scraped, at
// most once a second. While Redis is away it gives the counters of errors
// only: no number is better than an old one.
type queueCollector struct {
	inspector *asynq.Inspector
	metrics   *Metrics

	mu   sync.Mutex
	read time.Time
	last []prometheus.Metric
}

var (
	queueTasks = prometheus.NewDesc("sealcast_queue_tasks",
		"Tasks in Redis, by queue and state.", []string{"queue", "state"}, nil)
	queueAge = prometheus.NewDesc("sealcast_queue_age_seconds",
		"How long the oldest pending task of the queue has been waiting.", []string{"queue"}, nil)
)

// RegisterQueues adds depth and age of every queue to reg.
func RegisterQueues(reg prometheus.Registerer, rdb redis.UniversalClient, m *Metrics) error {
	return reg.Register(&queueCollector{inspector: asynq.NewInspectorFromRedisClient(rdb), metrics: m})
}

// Describe implements prometheus.Collector.
func (c *queueCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- queueTasks
	ch <- queueAge
}

// Collect implements prometheus.Collector.
func (c *queueCollector) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.read) > time.Second {
		c.last = c.collect()
		c.read = time.Now()
	}
	for _, m := range c.last {
		ch <- m
	}
}

func (c *queueCollector) collect() (out []prometheus.Metric) {
	known, err := c.inspector.Queues()
	if err != nil {
		c.metrics.dependencyError(&redisError{err})
		return nil
	}
	for _, queue := range append(slices.Clone(Queues), runQueue(QueueDefault), runQueue(QueueLarge), runQueue(QueueParts)) {
		info := &asynq.QueueInfo{} // until something is enqueued
		if slices.Contains(known, queue) {
			info, err = c.inspector.GetQueueInfo(queue)
		}
		if err != nil {
			c.metrics.dependencyError(&redisError{err})
			return nil
		}
		for state, n := range map[string]int{
			"pending": info.Pending, "active": info.Active, "scheduled": info.Scheduled,
			"retry": info.Retry, "archived": info.Archived,
		} {
			out = append(out, prometheus.MustNewConstMetric(queueTasks, prometheus.GaugeValue, float64(n), queue, state))
		}
		out = append(out, prometheus.MustNewConstMetric(queueAge, prometheus.GaugeValue, info.Latency.Seconds(), queue))
	}
	return out
}
