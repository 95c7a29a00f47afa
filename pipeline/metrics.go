package pipeline

import (
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a Runner. Labels are closed sets.
type metrics struct {
	childCPU    *prometheus.CounterVec // seconds, by child
	sourceBytes prometheus.Counter
	storedBytes prometheus.Counter
	sinkPeak    prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		childCPU: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealcast_child_cpu_seconds_total", Help: "CPU time of child processes, user and system.",
		}, []string{"child"}),
		sourceBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealcast_source_read_bytes_total", Help: "Bytes read from sources by ranges.",
		}),
		storedBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealcast_media_stored_bytes_total", Help: "Bytes of objects written to the media bucket.",
		}),
		sinkPeak: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sealcast_sink_peak_bytes", Help: "Most segment bytes held in memory by the last attempt.",
		}),
	}
	for _, child := range []string{"ffmpeg", "ffprobe", "packager"} {
		m.childCPU.WithLabelValues(child)
	}
	if reg != nil {
		reg.MustRegister(m.childCPU, m.sourceBytes, m.storedBytes, m.sinkPeak)
	}
	return m
}

// observe counts a finished attempt, good or bad.
func (m *metrics) observe(a *attempt) {
	a.mu.Lock()
	for _, c := range a.children {
		m.childCPU.WithLabelValues(c.Name).Add(c.CPU.Seconds())
	}
	a.mu.Unlock()
	m.sourceBytes.Add(float64(a.gateway.read.Load()))
	a.up.mu.Lock()
	for _, obj := range a.up.inventory {
		m.storedBytes.Add(float64(obj.Size))
	}
	a.up.mu.Unlock()
	a.sink.room.mu.Lock()
	m.sinkPeak.Set(float64(a.sink.room.peak))
	a.sink.room.mu.Unlock()
}
