package keystore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore/audit"
)

// A query against a server that is gone without a word hangs for ever without
// a deadline, so every call has one; an earlier one of its caller holds.
const (
	openTimeout  = 15 * time.Second // opens of other processes come first
	writeTimeout = 10 * time.Second // issues under one KEK version wait for each other
	readTimeout  = 5 * time.Second
)

// Postgres is the Store in Postgres. It is safe for concurrent use.
type Postgres struct {
	pool       *pgxpool.Pool
	keys       atomic.Pointer[Keyring]
	reader     reader
	remembered remembered
	metrics    *metrics
}

var _ Store = (*Postgres)(nil)

const keyColumns = `kid, hash, job_id, attempt, track, scheme, wrapped_key, wrap_nonce, kek_version, key_uri, is_default, state`

// Issue implements Store. The key that it returns was read back from the row
// and opened, also when it has just been made: what jobs encrypt with is what
// is stored. An error that leaves open whether the row was written
// (ErrUnavailable) is cured by asking again.
func (p *Postgres) Issue(ctx context.Context, req Request) (Key, error) {
	if err := req.validate(); err != nil {
		return Key{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	key, isNew, err := p.issue(ctx, req)
	p.metrics.issued(isNew, err)
	p.metrics.ended(opIssue, err)
	return key, err
}

func (p *Postgres) issue(ctx context.Context, req Request) (key Key, isNew bool, err error) {
	key, err = p.bound(ctx, req)
	if errors.Is(err, ErrNotFound) {
		if isNew, err = p.insert(ctx, req); err != nil {
			return Key{}, false, err
		}
		key, err = p.bound(ctx, req)
	}
	if err != nil {
		return Key{}, false, err
	}
	if !req.sameAs(key) {
		return Key{}, false, fmt.Errorf("%w: job %s attempt %d has another key for %s: hash, scheme, key uri or default differ",
			ErrConflict, req.JobID, req.Attempt, req.Track)
	}
	return key, isNew, nil
}

// bound reads the key of the request's binding.
func (p *Postgres) bound(ctx context.Context, req Request) (Key, error) {
	key, err := p.one(ctx, "read issued key", `
		SELECT `+keyColumns+` FROM content_keys
		WHERE job_id = $1 AND attempt = $2 AND track = $3`, req.JobID, req.Attempt, req.Track)
	if errors.Is(err, errShredded) {
		return Key{}, fmt.Errorf("%w: the key of job %s attempt %d for %s is shredded", ErrConflict, req.JobID, req.Attempt, req.Track)
	}
	return key, err
}

// insert makes the row unless another process was faster. It seals before the
// transaction, which holds locks that others wait for: the KEK may lie behind a
// network. The seal is counted in the transaction that inserts its row: no row
// exists uncounted, and the count's row lock lets one seal at a time reach the
// limit. What was sealed for a row that is not made is dropped unseen.
func (p *Postgres) insert(ctx context.Context, req Request) (isNew bool, err error) {
	keys := p.keys.Load()
	b := binding{
		kekVersion: keys.Primary(), kid: cenc.NewKID(), hash: req.Hash,
		jobID: req.JobID, attempt: req.Attempt, track: req.Track, scheme: req.Scheme,
	}
	nonce, wrapped, err := keys.wrap(ctx, b, cenc.NewContentKey())
	if err != nil {
		return false, err
	}
	var wraps int64
	err = p.inTx(ctx, "issue content key", func(tx pgx.Tx) error {
		if err := onlyDefault(ctx, tx, req); err != nil {
			return err
		}
		if wraps, err = countWraps(ctx, tx, b.kekVersion, 1); err != nil {
			return err
		}
		// Never DO UPDATE: an existing key stays what it is.
		tag, err := tx.Exec(ctx, `
			INSERT INTO content_keys (`+keyColumns+`)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'pending')
			ON CONFLICT (job_id, attempt, track) DO NOTHING`,
			b.kid[:], b.hash, b.jobID, b.attempt, b.track, string(b.scheme), wrapped, nonce, b.kekVersion,
			req.keyURI(b.kid), req.Default)
		if isNew = err == nil && tag.RowsAffected() == 1; !isNew {
			return databaseError(ctx, "insert content key", err)
		}
		return record(ctx, tx, audit.Entry{
			Actor: audit.ActorWorker, Action: audit.ActionIssue, Subject: b.hash, Details: map[string]any{
				"kid": b.kid.String(), "job": b.jobID, "attempt": b.attempt, "track": b.track, "kek_version": b.kekVersion,
			},
		})
	})
	if err != nil {
		return false, err
	}
	p.metrics.wrapCount(b.kekVersion, wraps)
	return isNew, nil
}

// onlyDefault refuses early a default key that Activate would have to refuse.
func onlyDefault(ctx context.Context, tx pgx.Tx, req Request) error {
	if !req.Default {
		return nil
	}
	var has bool
	err := tx.QueryRow(ctx, `
		SELECT EXISTS (SELECT FROM content_keys
			WHERE hash = $1 AND is_default AND state IN ('active', 'retiring'))`, req.Hash).Scan(&has)
	if err != nil {
		return databaseError(ctx, "look for a default key", err)
	}
	if has {
		return fmt.Errorf("%w: asset %s has a default key", ErrConflict, req.Hash)
	}
	return nil
}

// countWraps counts n seals and returns the sum, or ErrKEKExhausted.
func countWraps(ctx context.Context, tx pgx.Tx, version int, n int64) (int64, error) {
	var wraps int64
	err := tx.QueryRow(ctx, `
		UPDATE kek_versions SET wraps = wraps + $3
		WHERE version = $1 AND wraps + $3 <= $2 AND state <> 'retired'
		RETURNING wraps`, version, int64(MaxWraps), n).Scan(&wraps)
	if !errors.Is(err, pgx.ErrNoRows) {
		return wraps, databaseError(ctx, "count wrap", err)
	}
	var state string
	err = tx.QueryRow(ctx, `SELECT state FROM kek_versions WHERE version = $1`, version).Scan(&state)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return 0, fmt.Errorf("%w: version %d is not registered in the database", ErrKEKMissing, version)
	case err != nil:
		return 0, databaseError(ctx, "read KEK version", err)
	case state == stateRetired:
		return 0, fmt.Errorf("KEK version %d: %w; set KEK_PRIMARY to another version", version, ErrKEKRetired)
	}
	return 0, fmt.Errorf("KEK version %d: %w (%d times); add a KEK of a new version and make it KEK_PRIMARY",
		version, ErrKEKExhausted, int64(MaxWraps))
}

// Served implements Store. While Listen runs, a row may have been read up to a
// second before.
func (p *Postgres) Served(ctx context.Context, hash string, kid *cenc.KID) (Key, error) {
	if !cenc.IsHash(hash) {
		return Key{}, fmt.Errorf("%s: %w", opReadServed, ErrNotFound)
	}
	id, now := idOf(hash, kid), time.Now()
	row, era, ok := p.remembered.get(id, now)
	if ok {
		key, err := p.open(ctx, opReadServed, row)
		if !errors.Is(err, ErrKEKMissing) { // it may have been sealed anew, and its KEK taken away
			p.metrics.remembered.Inc()
			p.metrics.ended(opServed, err) // a KEK behind a network may be away
			return key, err
		}
	}
	if d, ok := ctx.Deadline(); !ok || d.Sub(now) > readTimeout {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, readTimeout)
		defer cancel()
	}
	var key Key
	row, err := p.reader.ask(ctx, hash, kid)
	if err == nil {
		key, err = p.open(ctx, opReadServed, row)
	}
	if err == nil {
		p.remembered.put(id, row, era, now)
	}
	p.metrics.ended(opServed, err)
	return key, err
}

// Get implements Store.
func (p *Postgres) Get(ctx context.Context, hash string, kid cenc.KID) (Key, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	key, err := p.one(ctx, "read key", `
		SELECT `+keyColumns+` FROM content_keys WHERE kid = $1 AND hash = $2`, kid[:], hash)
	p.metrics.ended(opGet, err)
	return key, err
}

// Activate implements Store.
func (p *Postgres) Activate(ctx context.Context, tx pgx.Tx, jobID string, attempt int) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	tag, err := tx.Exec(ctx, `
		UPDATE content_keys
		SET state = 'active', activated_at = now(), row_version = row_version + 1
		WHERE job_id = $1 AND attempt = $2 AND state = 'pending'`, jobID, attempt)
	err = databaseError(ctx, "activate content keys", err)
	if isUniqueViolation(err) {
		err = fmt.Errorf("%w: the asset has a default key: %w", ErrConflict, err)
	}
	p.metrics.ended(opActivate, err)
	return tag.RowsAffected(), err
}

// Shred implements Store.
func (p *Postgres) Shred(ctx context.Context, tx pgx.Tx, hash string) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	n, err := shred(ctx, tx, hash)
	err = databaseError(ctx, "shred content keys", err)
	p.metrics.ended(opShred, err)
	return n, err
}

// errShredded is an ErrNotFound that Issue tells from a free binding.
var errShredded = fmt.Errorf("%w: it is shredded", ErrNotFound)

// sealedKey is a row of content_keys.
type sealedKey struct {
	Key                 // without Content
	kid, nonce, wrapped []byte
}

// targets are for the columns of keyColumns.
func (k *sealedKey) targets() []any {
	return []any{
		&k.kid, &k.Hash, &k.JobID, &k.Attempt, &k.Track, &k.Scheme,
		&k.wrapped, &k.nonce, &k.KEKVersion, &k.KeyURI, &k.Default, &k.State,
	}
}

// one reads and opens the only row of a query over keyColumns.
func (p *Postgres) one(ctx context.Context, op, query string, args ...any) (Key, error) {
	var row sealedKey
	err := p.pool.QueryRow(ctx, query, args...).Scan(row.targets()...)
	if errors.Is(err, pgx.ErrNoRows) {
		return Key{}, fmt.Errorf("%s: %w", op, ErrNotFound)
	}
	if err != nil {
		return Key{}, databaseError(ctx, op, err)
	}
	return p.open(ctx, op, row)
}

// open opens what was read.
func (p *Postgres) open(ctx context.Context, op string, row sealedKey) (Key, error) {
	k := row.Key
	if row.wrapped == nil {
		return Key{}, fmt.Errorf("%s: %w", op, errShredded)
	}
	if copy(k.KID[:], row.kid) != cenc.KeySize {
		return Key{}, fmt.Errorf("%s: %w: key id of %d bytes", op, ErrIntegrity, len(row.kid))
	}
	content, err := p.keys.Load().unwrap(ctx, binding{
		kekVersion: k.KEKVersion, kid: k.KID, hash: k.Hash,
		jobID: k.JobID, attempt: k.Attempt, track: k.Track, scheme: k.Scheme,
	}, row.nonce, row.wrapped)
	p.metrics.unwrapped(err)
	if err != nil {
		return Key{}, fmt.Errorf("unwrap content key %s: %w", k.KID, err)
	}
	k.Content = content
	return k, nil
}

// inTx runs f, whose errors are ours already, in a transaction and translates
// what begin and commit add.
func (p *Postgres) inTx(ctx context.Context, op string, f func(pgx.Tx) error) error {
	var inner error
	err := pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error {
		inner = f(tx)
		return inner
	})
	if inner != nil {
		return inner
	}
	return databaseError(ctx, op, err)
}
