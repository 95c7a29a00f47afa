package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/redis/go-redis/v9"

	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/keystore/audit"
	"github.com/sealcast/sealcast/migrations"
	"github.com/sealcast/sealcast/worker"
)

// startupTimeout bounds the look at each dependency before work starts.
const startupTimeout = 10 * time.Second

// platform is what the API and the worker share.
type platform struct {
	cfg      *config
	log      *slog.Logger
	registry *prometheus.Registry
	pool     *pgxpool.Pool
	redis    *redis.Client
	store    *objstore.Client
	keys     *keystore.Postgres
	journal  *audit.Journal // nil without the API
	jobs     *worker.JobStore
	metrics  *worker.Metrics // of jobs and queues
}

// openPlatform connects to every dependency and refuses what would fail later:
// a database that is not migrated, a Redis that forgets, a bucket that is
// missing, a KEK that is another one than before.
func openPlatform(ctx context.Context, cfg *config, r roles, log *slog.Logger) (*platform, error) {
	p := &platform{cfg: cfg, log: log, registry: prometheus.NewRegistry()}
	p.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	err := p.connect(ctx, r)
	if err == nil {
		err = p.openStores(ctx)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *platform) connect(ctx context.Context, r roles) (err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*startupTimeout)
	defer cancel()
	if p.pool, err = openPool(ctx, p.cfg.Database.URL, r.name()); err != nil {
		return err
	}
	if err := migrations.Current(ctx, p.pool); err != nil {
		return err
	}
	if p.redis, err = openRedis(ctx, p.cfg.Redis.URL, p.log); err != nil {
		return err
	}
	if p.store, err = objstore.New(p.cfg.S3.client()); err != nil {
		return err
	}
	if err := checkBucket(ctx, p.store, "SOURCE_BUCKET", p.cfg.Source.Bucket); err != nil {
		return err
	}
	if err := checkBucket(ctx, p.store, "MEDIA_BUCKET", p.cfg.Media.Bucket); err != nil || p.cfg.Audit.Bucket == "" {
		return err
	}
	return checkBucket(ctx, p.store, "AUDIT_BUCKET", p.cfg.Audit.Bucket)
}

func (p *platform) openStores(ctx context.Context) error {
	if err := p.openKeys(ctx); err != nil {
		return err
	}
	if err := keystore.RegisterCounts(p.registry, p.pool); err != nil {
		return err
	}
	p.jobs = worker.NewJobStore(p.pool)
	if p.cfg.Webhook.on() {
		p.jobs = p.jobs.WithCallbacks(p.cfg.Webhook.targets())
	}
	p.metrics = worker.NewMetrics(p.registry)
	return errors.Join(worker.RegisterQueues(p.registry, p.redis, p.metrics), worker.RegisterBacklog(p.registry, p.jobs, p.metrics))
}

// openKeys opens the key store with the configured KEKs.
func (p *platform) openKeys(ctx context.Context) error {
	ring, err := p.cfg.KEK.keyring()
	if err == nil {
		p.keys, err = keystore.Open(ctx, p.pool, ring, p.registry)
	}
	return err
}

func (p *platform) close() {
	if p.journal != nil {
		if err := p.journal.Close(); err != nil {
			p.log.Error("the audit trail has a gap", "error", err)
		}
	}
	if p.redis != nil {
		_ = p.redis.Close()
	}
	if p.pool != nil {
		p.pool.Close()
	}
}

// openPool connects to Postgres. Each statement has a deadline of its own from
// the store that sends it; these bounds are for connections.
func openPool(ctx context.Context, dsn databaseURL, name string) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(dsn.reveal())
	if err != nil {
		return nil, errors.New("DATABASE_URL is no PostgreSQL connection string")
	}
	cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	cfg.ConnConfig.RuntimeParams["application_name"] = "sealcast " + name
	if !strings.Contains(dsn.reveal(), "pool_max_conns") {
		cfg.MaxConns = 16
	}
	cfg.MaxConnLifetime = time.Hour
	cfg.MaxConnLifetimeJitter = 5 * time.Minute
	cfg.MaxConnIdleTime = 5 * time.Minute
	cfg.HealthCheckPeriod = 15 * time.Second
	// A process that vanishes with its host leaves its session behind, and the
	// session its locks: for two hours, by TCP's own keepalive. No transaction
	// of ours is idle for longer than dispatcher rounds wait for Redis, 15 s.
	cfg.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, `SET idle_in_transaction_session_timeout = '20s'`)
		return err
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to the database (DATABASE_URL): %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, startupTimeout)
	defer cancel()
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fmt.Errorf("connect to the database (DATABASE_URL): %w", err)
	}
	return pool, nil
}

// openRedis connects to the queue's Redis and refuses one that throws tasks
// away when its memory is full.
func openRedis(ctx context.Context, u redisURL, log *slog.Logger) (*redis.Client, error) {
	opt, err := redis.ParseURL(u.reveal())
	if err != nil {
		return nil, errors.New("REDIS_URL is no Redis URL")
	}
	opt.DialTimeout = 3 * time.Second
	opt.ContextTimeoutEnabled = true
	client := redis.NewClient(opt)
	ctx, cancel := context.WithTimeout(ctx, startupTimeout)
	defer cancel()
	if err := worker.CheckPolicy(ctx, client, log); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to the queue (REDIS_URL): %w", err), client.Close())
	}
	return client, nil
}

// redisLog brings the Redis client's messages, which are about connections, to
// our log.
type redisLog struct{ log *slog.Logger }

// Printf implements the client's logging interface.
func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.WarnContext(ctx, "redis client", "detail", fmt.Sprintf(format, args...))
}

func checkBucket(ctx context.Context, store *objstore.Client, variable string, name bucketName) error {
	ctx, cancel := context.WithTimeout(ctx, startupTimeout)
	defer cancel()
	ok, err := store.BucketExists(ctx, string(name))
	switch {
	case err != nil:
		return fmt.Errorf("look for the bucket %s (S3_ENDPOINT, S3_ACCESS_KEY, S3_SECRET_KEY): %w", name, err)
	case !ok:
		return fmt.Errorf("the bucket %s is not there: create it, or correct %s", name, variable)
	}
	return nil
}
