package keystore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore/audit"
)

// RewrapBatch is how many keys are sealed anew in one transaction by default.
const RewrapBatch = 500

// RewrapOptions says how to rewrap.
type RewrapOptions struct {
	DryRun   bool                  // open every key, change nothing
	Batch    int                   // keys in one transaction; 0: RewrapBatch
	Progress func(done, all int64) // may be nil
}

// Rewrapped is what Rewrap did, or what a dry run found.
type Rewrapped struct {
	Primary int
	Keys    int64         // sealed anew; in a dry run: those that would be
	Damaged []DamagedKey  // that did not open, and stay as they are
	Left    int64         // still under another version, damaged ones too
	From    map[int]int64 // keys by the version that they were under at the start
}

// DamagedKey is a key that does not open, and why.
type DamagedKey struct {
	KID cenc.KID
	Err error
}

// Rewrap seals every key that is under another KEK version than the primary
// anew, under the primary: the same keys, for readers that go on all the time.
// It works in batches, each a transaction that tells the audit trail; who kills
// it loses one batch, and the next run goes on where it was. Any number may run
// at once: a row belongs to one of them, and is written only if it is as it was
// read. A dry run opens every key and changes nothing.
//
// Every process must have the primary's KEK before the first key is sealed
// under it.
func (p *Postgres) Rewrap(ctx context.Context, o RewrapOptions) (sum Rewrapped, err error) {
	keys := p.keys.Load()
	sum.Primary = keys.Primary()
	all, err := p.countOthers(ctx, &sum)
	if err != nil {
		return sum, err
	}
	for {
		// Rows that another rewrap holds are passed over: when it has let go
		// of them they are done, or are found by the next pass.
		before := sum.Keys
		if err := p.rewrapPass(ctx, keys, o, all, &sum); err != nil {
			return sum, err
		}
		if o.DryRun {
			sum.Left = all
			return sum, nil
		}
		if sum.Left, err = p.countOthers(ctx, nil); err != nil {
			return sum, err
		}
		if sum.Left <= int64(len(sum.Damaged)) || sum.Keys == before {
			return sum, nil
		}
	}
}

// countOthers counts the keys that are not under the primary.
func (p *Postgres) countOthers(ctx context.Context, sum *Rewrapped) (all int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	rows, err := p.pool.Query(ctx, `
		SELECT kek_version, count(*) FROM content_keys
		WHERE wrapped_key IS NOT NULL AND kek_version <> $1 GROUP BY kek_version`, p.keys.Load().Primary())
	if err != nil {
		return 0, databaseError(ctx, "count content keys", err)
	}
	var version int
	var n int64
	_, err = pgx.ForEachRow(rows, []any{&version, &n}, func() error {
		all += n
		if sum != nil {
			if sum.From == nil {
				sum.From = map[int]int64{}
			}
			sum.From[version] = n
		}
		return nil
	})
	return all, databaseError(ctx, "count content keys", err)
}

func (p *Postgres) rewrapPass(ctx context.Context, keys *Keyring, o RewrapOptions, all int64, sum *Rewrapped) error {
	var after cenc.KID
	for {
		n, last, err := p.rewrapOnce(ctx, keys, o, after, sum)
		if err != nil {
			return fmt.Errorf("rewrap content keys: %w", err)
		}
		if n == 0 {
			return nil
		}
		if after = last; o.Progress != nil {
			o.Progress(sum.Keys, all)
		}
	}
}

// sealedRow is a key as it lies in its row.
type sealedRow struct {
	binding
	nonce, wrapped []byte
	rowVersion     int
}

// rewrapOnce does one batch of keys whose ids come after one, and says how many
// it looked at and which came last.
func (p *Postgres) rewrapOnce(ctx context.Context, keys *Keyring, o RewrapOptions, after cenc.KID, sum *Rewrapped) (n int, last cenc.KID, err error) {
	ctx, cancel := context.WithTimeout(ctx, 6*writeTimeout) // a KEK may lie behind a network
	defer cancel()
	var done int64
	err = p.inTx(ctx, "rewrap", func(tx pgx.Tx) error {
		batch, err := readSealed(ctx, tx, keys.Primary(), after, o)
		if err != nil || len(batch) == 0 {
			return err
		}
		n, last = len(batch), batch[len(batch)-1].kid
		good, err := reseal(ctx, keys, batch, o.DryRun, sum)
		if err != nil || len(good) == 0 {
			return err
		}
		if done = int64(len(good)); o.DryRun {
			return nil
		}
		done, err = p.writeSealed(ctx, tx, keys.Primary(), good)
		return err
	})
	if err == nil {
		sum.Keys += done
	}
	p.metrics.ended(opRewrap, err)
	return n, last, err
}

func readSealed(ctx context.Context, tx pgx.Tx, primary int, after cenc.KID, o RewrapOptions) ([]sealedRow, error) {
	lock := "FOR NO KEY UPDATE SKIP LOCKED"
	if o.DryRun {
		lock = ""
	}
	rows, err := tx.Query(ctx, `
		SELECT kid, hash, job_id, attempt, track, scheme, kek_version, wrap_nonce, wrapped_key, row_version
		FROM content_keys
		WHERE wrapped_key IS NOT NULL AND kek_version <> $1 AND kid > $2
		ORDER BY kid LIMIT $3 `+lock, primary, after[:], cmp.Or(o.Batch, RewrapBatch))
	if err != nil {
		return nil, databaseError(ctx, "read content keys", err)
	}
	batch, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (r sealedRow, err error) {
		var kid []byte
		err = row.Scan(&kid, &r.hash, &r.jobID, &r.attempt, &r.track, &r.scheme, &r.kekVersion, &r.nonce, &r.wrapped, &r.rowVersion)
		copy(r.kid[:], kid)
		return r, err
	})
	return batch, databaseError(ctx, "read content keys", err)
}

// reseal opens each key and seals it under the primary. Keys that do not open
// are put aside: one damaged row must not keep all others under an old KEK.
func reseal(ctx context.Context, keys *Keyring, batch []sealedRow, dryRun bool, sum *Rewrapped) (good []sealedRow, err error) {
	for _, r := range batch {
		content, err := keys.unwrap(ctx, r.binding, r.nonce, r.wrapped)
		if errors.Is(err, ErrIntegrity) || errors.Is(err, ErrKEKMissing) {
			if !slices.ContainsFunc(sum.Damaged, func(d DamagedKey) bool { return d.KID == r.kid }) {
				sum.Damaged = append(sum.Damaged, DamagedKey{r.kid, err})
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if !dryRun {
			r.kekVersion = keys.Primary()
			if r.nonce, r.wrapped, err = keys.wrap(ctx, r.binding, content); err != nil {
				return nil, err
			}
		}
		good = append(good, r)
	}
	return good, nil
}

// writeSealed counts the seals, writes them to rows that nobody has changed
// meanwhile, and tells the audit trail.
func (p *Postgres) writeSealed(ctx context.Context, tx pgx.Tx, primary int, rows []sealedRow) (int64, error) {
	wraps, err := countWraps(ctx, tx, primary, int64(len(rows)))
	if err != nil {
		return 0, err
	}
	kids, nonces, wrapped, versions := make([][]byte, len(rows)), make([][]byte, len(rows)), make([][]byte, len(rows)), make([]int, len(rows))
	for i := range rows {
		kids[i], nonces[i], wrapped[i], versions[i] = rows[i].kid[:], rows[i].nonce, rows[i].wrapped, rows[i].rowVersion
	}
	tag, err := tx.Exec(ctx, `
		UPDATE content_keys k
		SET wrap_nonce = n.nonce, wrapped_key = n.wrapped, kek_version = $1, row_version = k.row_version + 1
		FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::int[]) AS n (kid, nonce, wrapped, row_version)
		WHERE k.kid = n.kid AND k.row_version = n.row_version AND k.wrapped_key IS NOT NULL`, primary, kids, nonces, wrapped, versions)
	if err != nil {
		return 0, databaseError(ctx, "write content keys", err)
	}
	p.metrics.wrapCount(primary, wraps)
	return tag.RowsAffected(), record(ctx, tx, audit.Entry{
		Actor: audit.ActorOperator, Action: audit.ActionRewrap, Subject: kekSubject(primary),
		Details: map[string]any{"keys": tag.RowsAffected(), "first_kid": rows[0].kid.String(), "last_kid": rows[len(rows)-1].kid.String()},
	})
}

// kekSubject is how the audit trail names a KEK version.
func kekSubject(version int) string { return fmt.Sprintf("kek-%d", version) }
