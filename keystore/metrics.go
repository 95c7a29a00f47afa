package keystore

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// Label values; closed sets.
const (
	outcomeOK        = "ok"
	outcomeNew       = "new"
	outcomeRepeated  = "repeated"
	outcomeConflict  = "conflict"
	outcomeExhausted = "exhausted"
	outcomeIntegrity = "integrity"
	outcomeMissing   = "kek_missing"
	outcomeAway      = "unavailable"
	outcomeError     = "error"

	opOpen     = "open"
	opIssue    = "issue"
	opServed   = "served"
	opGet      = "get"
	opActivate = "activate"
	opShred    = "shred"
	opRewrap   = "rewrap"
	opRetire   = "retire"
)

type metrics struct {
	issues      *prometheus.CounterVec // outcome
	unwraps     *prometheus.CounterVec // outcome
	unwrapsOK   prometheus.Counter     // the one of unwraps
	unavailable *prometheus.CounterVec // operation
	wraps       *prometheus.GaugeVec   // kek_version
	revoked     prometheus.Counter
	remembered  prometheus.Counter
	deaf        prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		issues: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealcast_keystore_issues_total",
			Help: "Content keys asked for by jobs, by outcome (new, repeated, conflict, exhausted, error).",
		}, []string{"outcome"}),
		unwraps: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealcast_keystore_unwraps_total",
			Help: "Content keys opened, by outcome (ok, integrity, kek_missing, unavailable).",
		}, []string{"outcome"}),
		unavailable: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "sealcast_keystore_unavailable_total",
			Help: "Keystore operations that found the database away, by operation.",
		}, []string{"operation"}),
		wraps: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "sealcast_keystore_kek_wraps",
			Help: "Seals made under a KEK version so far, as this process last saw it; the hard stop is 4294967296.",
		}, []string{"kek_version"}),
		revoked: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealcast_keystore_revoked_total",
			Help: "Content keys that this process has moved from retiring to revoked, their time being over.",
		}),
		remembered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealcast_keystore_remembered_total",
			Help: "Content keys for viewers that were opened from a row read less than a second before.",
		}),
		deaf: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "sealcast_keystore_listener_failures_total",
			Help: "Times that the connection that hears of changed keys was lost or could not be made; without it each key is read anew.",
		}),
	}
	for _, err := range []error{
		register(reg, &m.issues), register(reg, &m.unwraps), register(reg, &m.unavailable), register(reg, &m.wraps), register(reg, &m.revoked),
		register(reg, &m.remembered), register(reg, &m.deaf),
	} {
		if err != nil {
			return nil, fmt.Errorf("register keystore metrics: %w", err)
		}
	}
	for _, o := range []string{outcomeNew, outcomeRepeated, outcomeConflict, outcomeExhausted, outcomeError} {
		m.issues.WithLabelValues(o)
	}
	for _, o := range []string{outcomeOK, outcomeIntegrity, outcomeMissing, outcomeAway} {
		m.unwraps.WithLabelValues(o)
	}
	m.unwrapsOK = m.unwraps.WithLabelValues(outcomeOK)
	for _, o := range []string{opOpen, opIssue, opServed, opGet, opActivate, opShred, opRewrap, opRetire} {
		m.unavailable.WithLabelValues(o)
	}
	return m, nil
}

// register puts *c on reg, or puts the collector that a second store of the
// same process finds there into *c. A nil reg keeps the numbers to itself.
func register[C prometheus.Collector](reg prometheus.Registerer, c *C) error {
	if reg == nil {
		return nil
	}
	err := reg.Register(*c)
	var twice prometheus.AlreadyRegisteredError
	if errors.As(err, &twice) {
		if first, ok := twice.ExistingCollector.(C); ok {
			*c = first
			return nil
		}
	}
	return err
}

func (m *metrics) unwrapped(err error) {
	var outcome string
	switch {
	case err == nil:
		m.unwrapsOK.Inc()
		return
	case errors.Is(err, ErrKEKMissing):
		outcome = outcomeMissing
	case errors.Is(err, ErrUnavailable):
		outcome = outcomeAway
	default:
		outcome = outcomeIntegrity
	}
	m.unwraps.WithLabelValues(outcome).Inc()
}

// issued counts the end of an Issue that was new or not.
func (m *metrics) issued(isNew bool, err error) {
	outcome := outcomeRepeated
	switch {
	case errors.Is(err, ErrConflict):
		outcome = outcomeConflict
	case errors.Is(err, ErrKEKExhausted):
		outcome = outcomeExhausted
	case err != nil:
		outcome = outcomeError
	case isNew:
		outcome = outcomeNew
	}
	m.issues.WithLabelValues(outcome).Inc()
}

// ended counts err if the database was away.
func (m *metrics) ended(op string, err error) {
	if errors.Is(err, ErrUnavailable) {
		m.unavailable.WithLabelValues(op).Inc()
	}
}

func (m *metrics) wrapCount(version int, n int64) {
	m.wraps.WithLabelValues(strconv.Itoa(version)).Set(float64(n))
}
