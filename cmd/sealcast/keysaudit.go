package main

import (
	"context"
	"flag"
	"fmt"

	"github.com/sealcast/sealcast/keystore/audit"
)

func keysVerifyAuditCommand() *command {
	return &command{
		name: "keys verify-audit", summary: "check that the audit trail is as it was written",
		long: `Walks the chain of the audit trail from its first entry to its head, and compares
the anchors in AUDIT_BUCKET (else MEDIA_BUCKET) with it. The first entry that was
changed, removed, added or exchanged is named. Entries since the last anchor are
protected by the chain alone, which somebody who can write the database can compute
anew; the summary says how many they are.`,
		needs: func(c *config) []any { return []any{&c.Database, &c.S3, &c.Media, &c.Audit, &c.Log} },
		exits: []int{exitOK, exitFailure, exitUsage, exitTampered},
		newFlags: func(*flag.FlagSet) action {
			return verifyAudit
		},
	}
}

func verifyAudit(ctx context.Context, s *session) error {
	p, err := openForKeys(ctx, s)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.openStore(ctx); err != nil {
		return err
	}
	bar := newConsole(s.stderr)
	defer bar.end()
	rep, err := audit.Verify(ctx, p.pool, p.anchors(), func(done, all int64) {
		bar.transient(progress{label: "entries", percent: 100 * float64(done) / float64(max(all, 1)), eta: -1})
	})
	bar.end()
	if err != nil {
		return err
	}
	if rep.Foreign > 0 {
		fmt.Fprintf(s.stdout, "warning: %d anchors are of another chain: of another database that uses the bucket, or of this one before its whole trail was replaced\n", rep.Foreign)
	}
	if rep.Bad != nil {
		fmt.Fprintf(s.stdout, "%d entries are good\n", rep.Entries)
		return exitError{exitTampered, fmt.Errorf("the audit trail does not hold: %w", rep.Bad)}
	}
	fmt.Fprintf(s.stdout, "%d entries are as they were written, %d anchors agree\n", rep.Entries, rep.Anchors)
	if since := rep.Entries - rep.Anchored; since > 0 {
		fmt.Fprintf(s.stdout, "%d entries are newer than the last anchor\n", since)
	}
	return nil
}
