package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
)

func keysListCommand() *command {
	return &command{
		name: "keys list", summary: "list the KEK versions and how many content keys lie under each",
		long:  "It needs no KEK, and shows none.",
		needs: func(c *config) []any { return []any{&c.Database, &c.Log} },
		exits: []int{exitOK, exitFailure, exitUsage},
		newFlags: func(fs *flag.FlagSet) action {
			asJSON := fs.Bool("json", false, "print JSON for programs")
			return func(ctx context.Context, s *session) error { return listKEKs(ctx, s, *asJSON) }
		},
	}
}

func listKEKs(ctx context.Context, s *session, asJSON bool) error {
	p, err := openForKeys(ctx, s)
	if err != nil {
		return err
	}
	defer p.close()
	list, err := keystore.KEKs(ctx, p.pool)
	if err != nil {
		return err
	}
	if asJSON {
		out := json.NewEncoder(s.stdout)
		out.SetIndent("", "  ")
		return out.Encode(map[string]any{"kek_versions": list})
	}
	tw := tabwriter.NewWriter(s.stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintf(tw, "VERSION\tSTATE\tKEYS\tSEALS\tSINCE\n")
	for _, k := range list {
		fmt.Fprintf(tw, "%d\t%s\t%d\t%d\t%s\n", k.Version, k.State, k.Keys, k.Wraps, k.Since.UTC().Format(time.DateTime))
	}
	return tw.Flush()
}

func keysShredCommand() *command {
	return &command{
		name: "keys shred", args: "HASH", summary: "destroy the content keys of an asset",
		long: `Destroys every content key of the asset with this hash in the live database, in one
transaction, for ever: nobody can play what was encrypted with them, and nobody can
decrypt it. The published objects stay; DELETE /api/media/HASH removes them too. A job
of the asset that runs makes new keys at its next attempt. What it cannot reach is
printed: backups, write-ahead logs and players.`,
		needs: func(c *config) []any { return []any{&c.Database, &c.Log} },
		exits: []int{exitOK, exitFailure, exitUsage},
		newFlags: func(fs *flag.FlagSet) action {
			dryRun := fs.Bool("dry-run", false, "only say how many keys would be destroyed")
			yes := fs.Bool("yes", false, "really do it")
			return func(ctx context.Context, s *session) error { return shredAsset(ctx, s, *dryRun, *yes) }
		},
	}
}

func shredAsset(ctx context.Context, s *session, dryRun, yes bool) error {
	switch {
	case len(s.args) != 1 || !cenc.IsHash(s.args[0]):
		return usageError{"give the hash of one asset, 64 lower-case hex digits"}
	case !dryRun && !yes:
		return usageError{"this cannot be undone: look with -dry-run, then give -yes"}
	}
	p, err := openForKeys(ctx, s)
	if err != nil {
		return err
	}
	defer p.close()
	sum, err := keystore.ShredAsset(ctx, p.pool, s.args[0], dryRun)
	switch {
	case err != nil:
		return err
	case sum.Keys == 0:
		return errors.New("the asset has no content keys, or they are shredded already")
	case dryRun:
		fmt.Fprintf(s.stdout, "%d content keys would be destroyed\n", sum.Keys)
		return nil
	}
	versions := strings.Trim(strings.Join(strings.Fields(fmt.Sprint(sum.Versions)), ", "), "[]")
	fmt.Fprintf(s.stdout, `%d content keys are destroyed in the live database.
They are still in
  - backups, replicas that lag and write-ahead logs from before: these open with KEK
    version %s, so destroy the backups, or that KEK once no other key lies under it
  - pages of the database that hold no row any more, until they are written over
  - players that got one
`, sum.Keys, versions)
	// Frees the space of the old rows; without the right to do so autovacuum will.
	_, _ = p.pool.Exec(ctx, `VACUUM content_keys`)
	return nil
}
