package main

import (
	"context"
	"flag"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/migrations"
)

func keysCommand() *command {
	return &command{
		name: "keys", args: "COMMAND", summary: "look after content keys, KEK versions and the audit trail",
		long:  "Each of its commands works while the API and the workers run.",
		exits: []int{exitOK, exitUsage},
		subs: []*command{
			keysListCommand(), keysRewrapCommand(), keysRetireCommand(), keysShredCommand(), keysVerifyAuditCommand(),
		},
		newFlags: func(*flag.FlagSet) action {
			return func(context.Context, *session) error {
				return usageError{"give one of its commands"}
			}
		},
	}
}

// openForKeys connects to the database alone.
func openForKeys(ctx context.Context, s *session) (*platform, error) {
	p := &platform{cfg: s.cfg, log: newLogger(s.cfg.Log, s.stderr), registry: prometheus.NewRegistry()}
	var err error
	if p.pool, err = openPool(ctx, s.cfg.Database.URL, "keys"); err != nil {
		return nil, err
	}
	if err := migrations.Current(ctx, p.pool); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// openStore connects to the object store, for anchors.
func (p *platform) openStore(ctx context.Context) (err error) {
	if p.store, err = objstore.New(p.cfg.S3.client()); err != nil {
		return err
	}
	if p.cfg.Audit.Bucket != "" {
		return checkBucket(ctx, p.store, "AUDIT_BUCKET", p.cfg.Audit.Bucket)
	}
	return checkBucket(ctx, p.store, "MEDIA_BUCKET", p.cfg.Media.Bucket)
}
