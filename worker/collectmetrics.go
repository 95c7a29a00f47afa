package worker

import "github.com/prometheus/client_golang/prometheus"

// CollectorMetrics are the metrics of garbage collection.
type CollectorMetrics struct {
	found   *prometheus.GaugeVec   // in the last round, by what
	removed *prometheus.CounterVec // by what
	last    prometheus.Gauge
}

// What a round counts; the label values of the metrics.
const (
	kindObjects = "objects"
	kindBytes   = "bytes"
	kindKeys    = "keys"
	kindForeign = "foreign_folders" // found only
)

// NewCollectorMetrics registers the metrics; reg may be nil.
func NewCollectorMetrics(reg prometheus.Registerer) *CollectorMetrics {
	m := &CollectorMetrics{
		found: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sealcast_gc_found", Help: "What the last round of garbage collection found, whether it removed it or not.",
		}, []string{"what"}),
		removed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealcast_gc_removed_total", Help: "What garbage collection has removed; nothing in a dry run.",
		}, []string{"what"}),
		last: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sealcast_gc_last_run_timestamp_seconds", Help: "When the last round of garbage collection ended well.",
		}),
	}
	for _, what := range []string{kindObjects, kindBytes, kindKeys} {
		m.found.WithLabelValues(what)
		m.removed.WithLabelValues(what)
	}
	m.found.WithLabelValues(kindForeign)
	if reg != nil {
		reg.MustRegister(m.found, m.removed, m.last)
	}
	return m
}

func (m *CollectorMetrics) round(sum Collected, dryRun bool) {
	for what, n := range map[string]float64{
		kindObjects: float64(sum.Objects), kindBytes: float64(sum.Bytes), kindKeys: float64(sum.Keys),
	} {
		m.found.WithLabelValues(what).Set(n)
		if !dryRun {
			m.removed.WithLabelValues(what).Add(n)
		}
	}
	m.found.WithLabelValues(kindForeign).Set(float64(sum.Foreign))
	m.last.SetToCurrentTime()
}
