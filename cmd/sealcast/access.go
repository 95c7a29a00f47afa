package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/keystore/audit"
)

const maxKeySet = 64 << 10 // bytes of a JSON Web Key Set

// openGate opens what decides who may watch.
func (p *platform) openGate(ctx context.Context) (*access.Gate, error) {
	targets := p.cfg.Webhook.targets()
	gate, err := access.Open(ctx, access.Config{
		Pool:        p.pool,
		Secret:      []byte(p.cfg.Token.Secret.reveal()),
		Environment: string(p.cfg.Viewer.Environment),
		Audit:       auditAccess,
		Fetch: func(ctx context.Context, url string) ([]byte, error) {
			return targets.Fetch(ctx, url, maxKeySet, nil)
		},
		Log: p.log,
	})
	if err != nil {
		return nil, fmt.Errorf("read signing keys and revocations: %w", err)
	}
	return gate, nil
}

// auditAccess writes what was changed about access to the audit.
func auditAccess(ctx context.Context, tx pgx.Tx, actor, action, subject string, details map[string]any) error {
	return audit.Append(ctx, tx, audit.Entry{Actor: actor, Action: action, Subject: subject, Details: details})
}
