package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sealcast/sealcast/keystore"
)

func keysRewrapCommand() *command {
	return &command{
		name: "keys rewrap", summary: "seal all content keys anew, under the primary KEK",
		long: `Seals every content key that lies under another KEK version anew, under KEK_PRIMARY,
while the API and the workers go on. It needs every KEK that keys lie under. Give the
new KEK to every process, then make it KEK_PRIMARY, then run this, then keys retire-kek.
It works in batches of one transaction each: when it is interrupted, run it again. Two
at once do no harm. A key that does not open is told and left as it is. With
-dry-run every key is opened and none is changed.`,
		needs: func(c *config) []any { return []any{&c.Database, &c.KEK, &c.Log} },
		exits: []int{exitOK, exitFailure, exitUsage, exitRemains, exitInterrupted},
		newFlags: func(fs *flag.FlagSet) action {
			dryRun := fs.Bool("dry-run", false, "open every key, change nothing")
			batch := fs.Int("batch", keystore.RewrapBatch, "how many `keys` one transaction writes")
			return func(ctx context.Context, s *session) error {
				if *batch < 1 || *batch > 10_000 {
					return usageError{"-batch: want 1 to 10000 keys"}
				}
				return rewrap(ctx, s, keystore.RewrapOptions{DryRun: *dryRun, Batch: *batch})
			}
		},
	}
}

func rewrap(ctx context.Context, s *session, o keystore.RewrapOptions) error {
	p, err := openForKeys(ctx, s)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.openKeysFor(ctx, o.DryRun); err != nil {
		return err
	}
	bar := newConsole(s.stderr)
	defer bar.end()
	began := time.Now()
	o.Progress = func(done, all int64) {
		p := progress{label: "keys", percent: 100 * float64(done) / float64(max(all, done, 1)), eta: -1}
		if done > 0 && all >= done {
			p.eta = time.Duration(float64(time.Since(began)) * float64(all-done) / float64(done))
		}
		bar.progress(p)
	}
	sum, err := p.keys.Rewrap(ctx, o)
	bar.end()
	for _, v := range slices.Sorted(maps.Keys(sum.From)) {
		fmt.Fprintf(s.stdout, "%d content keys were under KEK version %d\n", sum.From[v], v)
	}
	verb := "were sealed anew"
	if o.DryRun {
		verb = "would be sealed anew"
	}
	fmt.Fprintf(s.stdout, "%d content keys %s under KEK version %d\n", sum.Keys, verb, sum.Primary)
	for _, d := range sum.Damaged {
		fmt.Fprintf(s.stdout, "not touched: %s: %v\n", d.KID, d.Err)
	}
	switch {
	case ctx.Err() != nil:
		return exitError{exitInterrupted, errors.New("interrupted; run it again to go on")}
	case err != nil:
		return err
	case len(sum.Damaged) > 0:
		return exitError{exitRemains, fmt.Errorf("%d content keys do not open", len(sum.Damaged))}
	case !o.DryRun && sum.Left > 0:
		return exitError{exitRemains, fmt.Errorf("%d content keys are left under other versions: another rewrap is at work on them", sum.Left)}
	}
	return nil
}

// openKeysFor opens the key store; for a dry run without a change to the database.
func (p *platform) openKeysFor(ctx context.Context, dryRun bool) error {
	if !dryRun {
		return p.openKeys(ctx)
	}
	ring, err := p.cfg.KEK.keyring()
	if err == nil {
		p.keys, err = keystore.OpenReadOnly(ctx, p.pool, ring)
	}
	return err
}

func keysRetireCommand() *command {
	return &command{
		name: "keys retire-kek", args: "VERSION", summary: "mark a KEK version as one that nothing lies under any more",
		long: `Refuses while content keys lie under the version, and says how many, and refuses the
primary. Afterwards nothing is sealed under it again, and its KEK can be taken away
from every process. Keep it as long as backups of the database whose keys lie under it.`,
		needs: func(c *config) []any { return []any{&c.Database, &c.Log} },
		exits: []int{exitOK, exitFailure, exitUsage, exitRemains},
		newFlags: func(fs *flag.FlagSet) action {
			dryRun := fs.Bool("dry-run", false, "only say whether it could be retired")
			return func(ctx context.Context, s *session) error { return retireKEK(ctx, s, *dryRun) }
		},
	}
}

func retireKEK(ctx context.Context, s *session, dryRun bool) error {
	var version count
	if len(s.args) != 1 || version.UnmarshalText([]byte(s.args[0])) != nil {
		return usageError{"give one KEK version, a number from 1"}
	}
	p, err := openForKeys(ctx, s)
	if err != nil {
		return err
	}
	defer p.close()
	err = keystore.Retire(ctx, p.pool, int(version), dryRun)
	var left *keystore.RemainError
	switch {
	case errors.As(err, &left):
		return exitError{exitRemains, err}
	case err != nil:
		return err
	case dryRun:
		fmt.Fprintf(s.stdout, "KEK version %d can be retired: nothing lies under it\n", version)
	default:
		fmt.Fprintf(s.stdout, "KEK version %d is retired; remove KEK_%d from every process, and keep it for old backups\n", version, version)
	}
	return nil
}
