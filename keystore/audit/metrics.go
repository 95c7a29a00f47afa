package audit

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	queued   prometheus.Gauge
	written  prometheus.Counter
	failures prometheus.Counter
	dropped  prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		queued: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sealcast_audit_queued", Help: "Audit entries of key requests that wait to be written.",
		}),
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealcast_audit_written_total", Help: "Audit entries of key requests that this process has written.",
		}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealcast_audit_write_failures_total", Help: "Batches of audit entries that the database did not take; they are tried again.",
		}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealcast_audit_not_queued_total", Help: "Key requests whose audit entry could not be queued; no key was handed out.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.queued, m.written, m.failures, m.dropped} {
		if err := reg.Register(c); err != nil && !errors.As(err, new(prometheus.AlreadyRegisteredError)) {
			return nil, fmt.Errorf("register audit metrics: %w", err)
		}
	}
	return m, nil
}
