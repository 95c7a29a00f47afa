package worker

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// auditEntry is one line of the audit log: who did what to what.
type auditEntry struct {
	Actor   string
	Action  string
	Subject string
	Details map[string]any // no secrets
}

const (
	actionDeleteAsset = "asset.delete"
	actionSetPolicy   = "asset.policy"
)

// audit appends an entry within the transaction of what it tells.
func audit(ctx context.Context, tx pgx.Tx, e auditEntry) error {
	_, err := tx.Exec(ctx, `INSERT INTO audit_log (actor, action, subject, details) VALUES ($1, $2, $3, $4)`,
		e.Actor, e.Action, e.Subject, e.Details)
	if err != nil {
		return fmt.Errorf("write the audit entry: %w", err)
	}
	return nil
}
