package keystore

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
)

// countEvery is how old the counts that a scrape sees may be: counting a
// million rows takes a while.
const countEvery = 30 * time.Second

// RegisterCounts shows on reg how many content keys lie under each KEK version.
// While the database is away the numbers are missing.
func RegisterCounts(reg prometheus.Registerer, pool *pgxpool.Pool) error {
	return reg.Register(&counts{pool: pool, desc: prometheus.NewDesc(
		"sealcast_keystore_keys", "Content keys that are sealed under a KEK version, by its state (primary, secondary, retired).",
		[]string{"kek_version", "state"}, nil)})
}

type counts struct {
	pool *pgxpool.Pool
	desc *prometheus.Desc

	mu   sync.Mutex
	at   time.Time
	last []KEKInfo
}

// Describe implements prometheus.Collector.
func (c *counts) Describe(ch chan<- *prometheus.Desc) { ch <- c.desc }

// Collect implements prometheus.Collector.
func (c *counts) Collect(ch chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) > countEvery {
		ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
		list, err := KEKs(ctx, c.pool)
		cancel()
		c.last, c.at = list, time.Now()
		if err != nil {
			c.last = nil
		}
	}
	for _, k := range c.last {
		ch <- prometheus.MustNewConstMetric(c.desc, prometheus.GaugeValue, float64(k.Keys), strconv.Itoa(k.Version), k.State)
	}
}
