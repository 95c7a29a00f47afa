package main

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/access"
)

// openGate opens what decides who may watch.
func (p *platform) openGate(ctx context.Context) (*access.Gate, error) {
	gate, err := access.Open(ctx, access.Config{
		Pool:        p.pool,
		Secret:      []byte(p.cfg.Token.Secret.reveal()),
		Environment: string(p.cfg.Viewer.Environment),
		Audit:       auditAccess,
		Log:         p.log,
	})
	if err != nil {
		return nil, fmt.Errorf("read signing keys and revocations: %w", err)
	}
	return gate, nil
}

// auditAccess writes what was changed about access to the audit log.
func auditAccess(ctx context.Context, tx pgx.Tx, actor, action, subject string, details map[string]any) error {
	_, err := tx.Exec(ctx, `INSERT INTO audit_log (actor, action, subject, details) VALUES ($1, $2, $3, $4)`, actor, action, subject, details)
	if err != nil {
		return fmt.Errorf("write the audit entry: %w", err)
	}
	return nil
}
