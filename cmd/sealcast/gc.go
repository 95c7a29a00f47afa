package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/migrations"
	"github.com/sealcast/sealcast/worker"
)

func gcCommand() *command {
	return &command{
		name: "gc", summary: "remove the objects and keys that nobody will ask for",
		long: `Removes from MEDIA_BUCKET what attempts left behind whose job ended GC_GRACE ago
without publishing it, and generations that were replaced GC_RETENTION ago; destroys
the content keys of attempts that were never published. The current generation and its
keys are never touched, nor are keys of any generation, nor folders that no job in the
database accounts for. Workers do the same each hour when GC is on; the variable GC
does not matter here. With -dry-run it prints what it would remove.`,
		needs: func(c *config) []any { return []any{&c.Database, &c.S3, &c.Media, &c.KEK, &c.GC, &c.Log} },
		exits: []int{exitOK, exitFailure, exitUsage},
		newFlags: func(fs *flag.FlagSet) action {
			dryRun := fs.Bool("dry-run", false, "remove nothing")
			return func(ctx context.Context, s *session) error { return collectGarbage(ctx, s, *dryRun) }
		},
	}
}

func collectGarbage(ctx context.Context, s *session, dryRun bool) error {
	p := &platform{cfg: s.cfg, log: newLogger(s.cfg.Log, s.stderr), registry: prometheus.NewRegistry()}
	defer p.close()
	if err := p.connectForGC(ctx); err != nil {
		return err
	}
	sum, err := p.newCollector(dryRun).Once(ctx, func(g worker.Garbage) {
		fmt.Fprintf(s.stdout, "%s  %s, %d objects, %d bytes\n", g.Prefix, g.Why, g.Objects, g.Bytes)
	})
	verb := "removed"
	if dryRun {
		verb = "would remove"
	}
	fmt.Fprintf(s.stdout, "%s %d objects (%d bytes) in %d folders and %d content keys\n", verb, sum.Objects, sum.Bytes, sum.Folders, sum.Keys)
	if sum.Foreign > 0 {
		fmt.Fprintf(s.stdout, "left alone: %d folders that no job in the database accounts for\n", sum.Foreign)
	}
	return err
}

// connectForGC needs no queue.
func (p *platform) connectForGC(ctx context.Context) (err error) {
	if p.pool, err = openPool(ctx, p.cfg.Database.URL, "gc"); err != nil {
		return err
	}
	if err := migrations.Current(ctx, p.pool); err != nil {
		return err
	}
	if p.store, err = objstore.New(p.cfg.S3.client()); err != nil {
		return err
	}
	if err := checkBucket(ctx, p.store, "MEDIA_BUCKET", p.cfg.Media.Bucket); err != nil {
		return err
	}
	p.jobs = worker.NewJobStore(p.pool)
	return p.openKeys(ctx)
}

func (p *platform) newCollector(dryRun bool) *worker.Collector {
	return worker.NewCollector(worker.CollectorConfig{
		Store: p.jobs, Media: p.store.Bucket(string(p.cfg.Media.Bucket)), Keys: p.keys,
		DryRun: dryRun, Grace: time.Duration(p.cfg.GC.Grace), Retention: time.Duration(p.cfg.GC.Retention),
		Metrics: worker.NewCollectorMetrics(p.registry), Log: p.log,
	})
}
