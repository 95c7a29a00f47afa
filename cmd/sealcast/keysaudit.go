package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/sealcast/sealcast/keystore/audit"
)

func keysVerifyAuditCommand() *command {
	return &command{
		name: "keys verify-audit", summary: "check that the audit trail is as it was written",
		long: `Walks the chain of the audit trail from its first entry to its head, and compares
the anchors in AUDIT_BUCKET (else MEDIA_BUCKET) with it. The first entry that was
changed, removed, added or exchanged is named. Entries since the last anchor are
protected by the chain alone, which somebody who can write the database can compute
anew; the summary says how many they are. Anchors of another chain mean that the
whole trail was replaced, unless another database uses the bucket too, or this one
was set up anew: then name that chain with -other-chain.`,
		needs: func(c *config) []any { return []any{&c.Database, &c.S3, &c.Media, &c.Audit, &c.Log} },
		exits: []int{exitOK, exitFailure, exitUsage, exitTampered},
		newFlags: func(fs *flag.FlagSet) action {
			others := map[string]bool{}
			fs.Func("other-chain", "`ID` of a chain whose anchors may be in the bucket too; may be given more than once", func(id string) error {
				if !chainRE.MatchString(id) {
					return errors.New("want the 16 hex digits that name a chain")
				}
				others[id] = true
				return nil
			})
			return func(ctx context.Context, s *session) error { return verifyAudit(ctx, s, others) }
		},
	}
}

var chainRE = regexp.MustCompile(`^[0-9a-f]{16}$`)

// verifyAudit takes anchors of the chains in others for those of other databases.
func verifyAudit(ctx context.Context, s *session, others map[string]bool) error {
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
	return told(s.stdout, rep, others)
}

// told prints the report; a trail that does not hold is an error.
func told(w io.Writer, rep audit.Report, others map[string]bool) error {
	if rep.Bad != nil {
		fmt.Fprintf(w, "%d entries are good\n", rep.Entries)
		return exitError{exitTampered, fmt.Errorf("the audit trail does not hold: %w", rep.Bad)}
	}
	var unknown []string
	for _, id := range slices.Sorted(maps.Keys(rep.Foreign)) {
		if others[id] {
			fmt.Fprintf(w, "%d anchors are of the other chain %s\n", rep.Foreign[id], id)
			continue
		}
		unknown = append(unknown, id)
		fmt.Fprintf(w, "%d anchors are of chain %s, which this trail is not\n", rep.Foreign[id], id)
	}
	if len(unknown) > 0 {
		return exitError{exitTampered, fmt.Errorf("the audit trail may have been replaced whole: its chain is %s, and there are anchors of %s; "+
			"if that is the chain of another database that uses the bucket, or of this one before it was set up anew, give -other-chain %s",
			rep.Chain, strings.Join(unknown, ", "), strings.Join(unknown, " -other-chain "))}
	}
	fmt.Fprintf(w, "%d entries are as they were written, %d anchors agree; the chain is %s\n", rep.Entries, rep.Anchors, rep.Chain)
	if since := rep.Entries - rep.Anchored; since > 0 {
		fmt.Fprintf(w, "%d entries are newer than the last anchor\n", since)
	}
	return nil
}
