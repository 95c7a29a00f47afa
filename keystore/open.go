package keystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealcast/sealcast/keystore/audit"
)

// States of a KEK version.
const (
	statePrimary = "primary" // seals new keys
	stateRetired = "retired" // nothing is sealed under it any more
)

// openLock is the advisory lock under which processes open one after the other.
const openLock int64 = 0x7365616c6b656b // "sealkek"

// Open checks the keyring against the database and makes its primary the
// primary there, in one transaction and one process at a time. A version that
// is new gets its check value.
//
// It refuses with ErrKEKMismatch a KEK that is not the one registered under
// its version, with ErrKEKMissing a keyring that lacks a version under which
// content keys are sealed, and with ErrKEKRetired a retired primary; nothing
// is changed then. reg may be nil. Open does not own the pool.
func Open(ctx context.Context, pool *pgxpool.Pool, keys *Keyring, reg prometheus.Registerer) (*Postgres, error) {
	m, err := newMetrics(reg)
	if err != nil {
		return nil, err
	}
	p := newPostgres(pool, m)
	if err := p.Reload(ctx, keys); err != nil {
		return nil, err
	}
	return p, nil
}

// OpenReadOnly makes the checks of Open and changes nothing: no version is
// registered, no primary exchanged. It is for dry runs; the store issues no key
// under a version that is new.
func OpenReadOnly(ctx context.Context, pool *pgxpool.Pool, keys *Keyring) (*Postgres, error) {
	m, err := newMetrics(nil)
	if err != nil {
		return nil, err
	}
	p := newPostgres(pool, m)
	if err := p.register(ctx, keys, true); err != nil {
		return nil, err
	}
	p.keys.Store(keys)
	return p, nil
}

func newPostgres(pool *pgxpool.Pool, m *metrics) *Postgres {
	p := &Postgres{pool: pool, remembered: remembered{keep: rememberFor}, metrics: m}
	p.reader = reader{pool: pool, remembered: &p.remembered}
	return p
}

// Reload exchanges the keyring of a store that is in use, after the checks of
// Open. When it refuses, the store goes on with the keyring it has.
func (p *Postgres) Reload(ctx context.Context, keys *Keyring) error {
	err := p.register(ctx, keys, false)
	p.metrics.ended(opOpen, err)
	if err == nil {
		p.keys.Store(keys)
	}
	return err
}

func (p *Postgres) register(ctx context.Context, keys *Keyring, dryRun bool) error {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	return p.inTx(ctx, "register KEK versions", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, openLock); err != nil {
			return databaseError(ctx, "lock KEK versions", err)
		}
		known, err := readKEKs(ctx, tx)
		if err != nil {
			return err
		}
		if err := p.checkKEKs(ctx, keys, known); err != nil {
			return err
		}
		if err := checkNoneMissing(ctx, tx, keys); err != nil || dryRun {
			return err
		}
		if err := p.insertKEKs(ctx, tx, keys, known); err != nil {
			return err
		}
		if err := makePrimary(ctx, tx, keys); err != nil {
			return err
		}
		return recordKEKs(ctx, tx, keys, known)
	})
}

type kekRow struct {
	version      int
	nonce, value []byte
	state        string
	wraps        int64
}

func readKEKs(ctx context.Context, tx pgx.Tx) (map[int]kekRow, error) {
	rows, err := tx.Query(ctx, `
		SELECT version, check_nonce, check_value, state, wraps
		FROM kek_versions ORDER BY version`)
	if err != nil {
		return nil, databaseError(ctx, "read KEK versions", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (k kekRow, err error) {
		err = row.Scan(&k.version, &k.nonce, &k.value, &k.state, &k.wraps)
		return k, err
	})
	if err != nil {
		return nil, databaseError(ctx, "read KEK versions", err)
	}
	known := make(map[int]kekRow, len(list))
	for _, k := range list {
		known[k.version] = k
	}
	return known, nil
}

func (p *Postgres) checkKEKs(ctx context.Context, keys *Keyring, known map[int]kekRow) error {
	for _, version := range keys.Versions() {
		k, ok := known[version]
		if !ok {
			continue
		}
		err := keys.fits(ctx, version, k.nonce, k.value)
		if errors.Is(err, ErrKEKMismatch) {
			return fmt.Errorf("KEK version %d: %w; restore the original KEK_%d, and give a new KEK a new version",
				version, err, version)
		}
		if err != nil {
			return fmt.Errorf("KEK version %d: %w", version, err)
		}
		if version == keys.Primary() && k.state == stateRetired {
			return fmt.Errorf("KEK version %d: %w; set KEK_PRIMARY to another version", version, ErrKEKRetired)
		}
		p.metrics.wrapCount(version, k.wraps)
	}
	return nil
}

// checkNoneMissing refuses a keyring that could not open every stored key.
func checkNoneMissing(ctx context.Context, tx pgx.Tx, keys *Keyring) error {
	rows, err := tx.Query(ctx, `
		SELECT kek_version, count(*)
		FROM content_keys
		WHERE wrapped_key IS NOT NULL AND kek_version <> ALL ($1)
		GROUP BY kek_version ORDER BY kek_version`, keys.Versions())
	if err != nil {
		return databaseError(ctx, "count content keys", err)
	}
	type missing struct {
		version int
		keys    int64
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (m missing, err error) {
		err = row.Scan(&m.version, &m.keys)
		return m, err
	})
	if err != nil {
		return databaseError(ctx, "count content keys", err)
	}
	if len(list) == 0 {
		return nil
	}
	var needs, sets []string
	for _, m := range list {
		needs = append(needs, fmt.Sprintf("%d content keys are sealed under version %d", m.keys, m.version))
		sets = append(sets, fmt.Sprintf("KEK_%d", m.version))
	}
	return fmt.Errorf("%w: %s; set %s as well", ErrKEKMissing, strings.Join(needs, ", "), strings.Join(sets, ", "))
}

func (p *Postgres) insertKEKs(ctx context.Context, tx pgx.Tx, keys *Keyring, known map[int]kekRow) error {
	fresh := slices.DeleteFunc(keys.Versions(), func(v int) bool { _, ok := known[v]; return ok })
	for _, version := range fresh {
		nonce, value, err := keys.sealCheck(ctx, version)
		if err != nil {
			return err
		}
		// The check value is the version's first seal.
		_, err = tx.Exec(ctx, `
			INSERT INTO kek_versions (version, check_nonce, check_value, state, wraps)
			VALUES ($1, $2, $3, 'secondary', 1)`, version, nonce, value)
		if err != nil {
			return databaseError(ctx, "register KEK version", err)
		}
		p.metrics.wrapCount(version, 1)
	}
	return nil
}

// makePrimary takes two statements: a unique index allows one primary at any
// time.
func makePrimary(ctx context.Context, tx pgx.Tx, keys *Keyring) error {
	_, err := tx.Exec(ctx, `
		UPDATE kek_versions SET state = 'secondary'
		WHERE state = 'primary' AND version <> $1`, keys.Primary())
	if err != nil {
		return databaseError(ctx, "demote KEK version", err)
	}
	tag, err := tx.Exec(ctx, `
		UPDATE kek_versions SET state = 'primary'
		WHERE version = $1 AND state IN ('primary', 'secondary')`, keys.Primary())
	if err != nil {
		return databaseError(ctx, "make KEK version primary", err)
	}
	if tag.RowsAffected() != 1 {
		return fmt.Errorf("KEK version %d: %w", keys.Primary(), ErrKEKRetired)
	}
	return nil
}

// recordKEKs puts on record what an open has changed.
func recordKEKs(ctx context.Context, tx pgx.Tx, keys *Keyring, known map[int]kekRow) error {
	entry := func(action string, version int) error {
		return record(ctx, tx, audit.Entry{
			Actor: audit.ActorStart, Action: action, Subject: kekSubject(version), Details: map[string]any{"version": version},
		})
	}
	for _, version := range keys.Versions() {
		if _, ok := known[version]; ok {
			continue
		}
		if err := entry(audit.ActionRegister, version); err != nil {
			return err
		}
	}
	if primary := keys.Primary(); known[primary].state != statePrimary {
		return entry(audit.ActionPrimary, primary)
	}
	return nil
}
