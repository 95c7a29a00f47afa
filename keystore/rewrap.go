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

// RewrapBatch is how many keys one transaction writes by default.
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

// Error implements error.
func (d *DamagedKey) Error() string { return fmt.Sprintf("content key %s: %v", d.KID, d.Err) }

// Rewrap seals every key that is under another KEK version than the primary
// anew, under the primary: the same keys, for readers that go on all the time.
// It works in batches, each a transaction that tells the audit trail; who kills
// it loses one batch, and the next run goes on where it was. Any number may run
// at once: a row is written only if it is as it was read. A dry run opens every
// key and changes nothing.
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
		// of them they are done, or are found by the next pass. Each begins
		// somewhere else, so that two do not seal the same keys side by side.
		before := sum.Keys
		if !o.DryRun {
			if err := p.rewrapPass(ctx, keys, o, cenc.NewKID(), all, &sum); err != nil {
				return sum, err
			}
		}
		if err := p.rewrapPass(ctx, keys, o, cenc.KID{}, all, &sum); err != nil {
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

func (p *Postgres) rewrapPass(ctx context.Context, keys *Keyring, o RewrapOptions, after cenc.KID, all int64, sum *Rewrapped) error {
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
// it looked at and which came last. KEKs may lie behind a network, so they are
// asked before the transaction, which holds its locks for as long as it writes.
// What was sealed before a KEK stopped to answer is written all the same.
func (p *Postgres) rewrapOnce(ctx context.Context, keys *Keyring, o RewrapOptions, after cenc.KID, sum *Rewrapped) (n int, last cenc.KID, err error) {
	defer func() { p.metrics.ended(opRewrap, err) }()
	batch, err := p.readSealed(ctx, keys.Primary(), after, cmp.Or(o.Batch, RewrapBatch))
	if err != nil || len(batch) == 0 {
		return 0, last, err
	}
	good, err := reseal(ctx, keys, batch, o.DryRun, sum)
	done := int64(len(good))
	if !o.DryRun && done > 0 {
		var failed error
		done, failed = p.writeSealed(ctx, keys.Primary(), good)
		err = errors.Join(err, failed)
	}
	sum.Keys += done
	return len(batch), batch[len(batch)-1].kid, err
}

func (p *Postgres) readSealed(ctx context.Context, primary int, after cenc.KID, limit int) ([]sealedRow, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	rows, err := p.pool.Query(ctx, `
		SELECT kid, hash, job_id, attempt, track, scheme, kek_version, wrap_nonce, wrapped_key, row_version
		FROM content_keys
		WHERE wrapped_key IS NOT NULL AND kek_version <> $1 AND kid > $2
		ORDER BY kid LIMIT $3`, primary, after[:], limit)
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
// are put aside: one damaged row must not keep all others under an old KEK. With
// an error come those that were sealed before it.
func reseal(ctx context.Context, keys *Keyring, batch []sealedRow, dryRun bool, sum *Rewrapped) (good []sealedRow, err error) {
	for _, r := range batch {
		r, err := resealOne(ctx, keys, r, dryRun)
		var damaged *DamagedKey
		switch {
		case errors.As(err, &damaged):
			if !slices.ContainsFunc(sum.Damaged, func(d DamagedKey) bool { return d.KID == r.kid }) {
				sum.Damaged = append(sum.Damaged, *damaged)
			}
		case err != nil:
			return good, err
		default:
			good = append(good, r)
		}
	}
	return good, nil
}

// resealOne bounds the time for one key: a batch takes as long as its KEKs do.
func resealOne(ctx context.Context, keys *Keyring, r sealedRow, dryRun bool) (sealedRow, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	content, err := keys.unwrap(ctx, r.binding, r.nonce, r.wrapped)
	if errors.Is(err, ErrIntegrity) || errors.Is(err, ErrKEKMissing) {
		return r, &DamagedKey{r.kid, err}
	}
	if err != nil || dryRun {
		return r, err
	}
	r.kekVersion = keys.Primary()
	r.nonce, r.wrapped, err = keys.wrap(ctx, r.binding, content)
	return r, err
}

// writeSealed writes what was sealed to the rows that are as they were read,
// counts those seals, and tells the audit trail, in one short transaction. Rows
// that somebody else holds or has changed are passed over, and what was sealed
// for them is dropped unseen. A primary that was retired meanwhile is
// ErrKEKRetired: Retire holds its row, and so does the count.
func (p *Postgres) writeSealed(ctx context.Context, primary int, sealed []sealedRow) (done int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	var wraps int64
	err = p.inTx(ctx, "rewrap", func(tx pgx.Tx) error {
		rows, err := lockUnchanged(ctx, tx, sealed)
		if err != nil || len(rows) == 0 {
			return err
		}
		if wraps, err = countWraps(ctx, tx, primary, int64(len(rows))); err != nil {
			return err
		}
		if done, err = updateSealed(ctx, tx, primary, rows); err != nil {
			return err
		}
		return record(ctx, tx, audit.Entry{
			Actor: audit.ActorOperator, Action: audit.ActionRewrap, Subject: kekSubject(primary),
			Details: map[string]any{"keys": done, "first_kid": rows[0].kid.String(), "last_kid": rows[len(rows)-1].kid.String()},
		})
	})
	if err != nil {
		return 0, err
	}
	if wraps > 0 {
		p.metrics.wrapCount(primary, wraps)
	}
	return done, nil
}

// lockUnchanged locks the rows that are still as they were read, and gives them.
func lockUnchanged(ctx context.Context, tx pgx.Tx, sealed []sealedRow) ([]sealedRow, error) {
	kids := make([][]byte, len(sealed))
	for i := range sealed {
		kids[i] = sealed[i].kid[:]
	}
	rows, err := tx.Query(ctx, `
		SELECT kid, row_version FROM content_keys
		WHERE kid = ANY ($1) AND wrapped_key IS NOT NULL
		ORDER BY kid FOR NO KEY UPDATE SKIP LOCKED`, kids)
	if err != nil {
		return nil, databaseError(ctx, "lock content keys", err)
	}
	now := map[cenc.KID]int{}
	var kid []byte
	var version int
	_, err = pgx.ForEachRow(rows, []any{&kid, &version}, func() error {
		now[cenc.KID(kid)] = version
		return nil
	})
	return slices.DeleteFunc(sealed, func(r sealedRow) bool { return now[r.kid] != r.rowVersion }), databaseError(ctx, "lock content keys", err)
}

func updateSealed(ctx context.Context, tx pgx.Tx, primary int, rows []sealedRow) (int64, error) {
	kids, nonces, wrapped, versions := make([][]byte, len(rows)), make([][]byte, len(rows)), make([][]byte, len(rows)), make([]int, len(rows))
	for i := range rows {
		kids[i], nonces[i], wrapped[i], versions[i] = rows[i].kid[:], rows[i].nonce, rows[i].wrapped, rows[i].rowVersion
	}
	tag, err := tx.Exec(ctx, `
		UPDATE content_keys k
		SET wrap_nonce = n.nonce, wrapped_key = n.wrapped, kek_version = $1, row_version = k.row_version + 1
		FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::int[]) AS n (kid, nonce, wrapped, row_version)
		WHERE k.kid = n.kid AND k.row_version = n.row_version AND k.wrapped_key IS NOT NULL`, primary, kids, nonces, wrapped, versions)
	return tag.RowsAffected(), databaseError(ctx, "write content keys", err)
}

// kekSubject is how the audit trail names a KEK version.
func kekSubject(version int) string { return fmt.Sprintf("kek-%d", version) }
