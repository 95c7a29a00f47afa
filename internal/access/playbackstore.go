package access

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/token"
)

// lockAsset is the class of the advisory lock on an asset, which who publishes
// shares and who deletes has alone; package worker has it too.
const lockAsset int32 = 0x5ea1_02

const playbackColumns = `id, hash, label, environment, status, private, hosts, allow_no_referer, ips, downloads,
	not_before, not_after, max_ttl_seconds, created_at, updated_at, revoked_at`

func scanPlaybackKey(row pgx.CollectableRow) (PlaybackKey, error) {
	var k PlaybackKey
	var ttl *int
	err := row.Scan(&k.ID, &k.Hash, &k.Label, &k.Environment, &k.Status, &k.Private, &k.Hosts, &k.AllowNoReferer, &k.IPs, &k.Downloads,
		&k.NotBefore, &k.NotAfter, &ttl, &k.CreatedAt, &k.UpdatedAt, &k.RevokedAt)
	k.MaxTTL = duration(ttl)
	return k, err
}

// CreatePlaybackKey makes a playback key of an asset that has a job or a
// publication. Without an id it gets one. ErrAssetNotFound, ErrExists, or an
// InvalidError.
func (s *Store) CreatePlaybackKey(ctx context.Context, k PlaybackKey, by Actor) (PlaybackKey, error) {
	if k.ID == "" {
		k.ID = newID()
	}
	k.Status = StatusActive
	if err := k.check(); err != nil {
		return PlaybackKey{}, err
	}
	err := s.changeView(ctx, by, "playback_key.create", k.ID, map[string]any{"hash": k.Hash}, func(ctx context.Context, tx pgx.Tx) error {
		// A deletion of the asset, which takes its playback keys, comes before or after.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared($1, hashtext($2))`, lockAsset, k.Hash); err != nil {
			return err
		}
		var known bool
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM assets WHERE hash = $1)
			OR EXISTS (SELECT 1 FROM jobs WHERE hash = $1 AND state IN ('queued', 'running'))`, k.Hash).Scan(&known)
		if err != nil {
			return err
		}
		if !known {
			return ErrAssetNotFound
		}
		return tx.QueryRow(ctx, `
			INSERT INTO playback_keys (id, hash, label, environment, private, hosts, allow_no_referer, ips, downloads, not_before, not_after, max_ttl_seconds)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) RETURNING created_at, updated_at`,
			k.ID, k.Hash, k.Label, k.Environment, k.Private, list(k.Hosts), k.AllowNoReferer, prefixes(k.IPs), k.Downloads,
			k.NotBefore, k.NotAfter, seconds(k.MaxTTL)).Scan(&k.CreatedAt, &k.UpdatedAt)
	})
	return k, err
}

// UpdatePlaybackKey lets edit change a playback key's label, status and policy.
// A revoked one is ErrNotFound.
func (s *Store) UpdatePlaybackKey(ctx context.Context, id string, by Actor, edit func(*PlaybackKey) error) (k PlaybackKey, err error) {
	err = s.changeView(ctx, by, "playback_key.update", id, nil, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT `+playbackColumns+` FROM playback_keys WHERE id = $1 AND status <> 'revoked' FOR UPDATE`, id)
		if err != nil {
			return err
		}
		if k, err = pgx.CollectExactlyOneRow(rows, scanPlaybackKey); err != nil {
			return err
		}
		if err := edit(&k); err != nil {
			return editError{err}
		}
		if err := k.check(); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `
			UPDATE playback_keys SET label = $2, status = $3, private = $4, hosts = $5, allow_no_referer = $6, ips = $7, downloads = $8,
				not_before = $9, not_after = $10, max_ttl_seconds = $11, updated_at = now()
			WHERE id = $1 AND status <> 'revoked' RETURNING updated_at`,
			id, k.Label, k.Status, k.Private, list(k.Hosts), k.AllowNoReferer, prefixes(k.IPs), k.Downloads,
			k.NotBefore, k.NotAfter, seconds(k.MaxTTL)).Scan(&k.UpdatedAt)
	})
	return k, err
}

// editError is what an edit of the caller's gave: it gets it back as it was.
type editError struct{ error }

// RevokePlaybackKey ends a playback key, and its tokens with it, for ever.
func (s *Store) RevokePlaybackKey(ctx context.Context, id string, by Actor) error {
	return s.changeView(ctx, by, "playback_key.revoke", id, nil, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE playback_keys SET status = 'revoked', revoked_at = now(), updated_at = now()
			WHERE id = $1 AND status <> 'revoked'`, id)
		if err == nil && tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		return err
	})
}

// PlaybackKey reads one, a revoked one too.
func (s *Store) PlaybackKey(ctx context.Context, id string) (PlaybackKey, error) {
	keys, err := read(ctx, s, "read playback key", scanPlaybackKey, `SELECT `+playbackColumns+` FROM playback_keys WHERE id = $1`, id)
	if err != nil {
		return PlaybackKey{}, err
	}
	if len(keys) == 0 {
		return PlaybackKey{}, ErrNotFound
	}
	return keys[0], nil
}

// PlaybackFilter chooses playback keys.
type PlaybackFilter struct {
	Hash        string // empty: of every asset
	Environment string // empty: of every environment
	After       Position
	Limit       int
}

// PlaybackKeys lists them, newest first.
func (s *Store) PlaybackKeys(ctx context.Context, f PlaybackFilter) ([]PlaybackKey, error) {
	at, id := f.After.before()
	return read(ctx, s, "list playback keys", scanPlaybackKey, `
		SELECT `+playbackColumns+` FROM playback_keys
		WHERE ($1 = '' OR hash = $1) AND ($2 = '' OR environment = $2) AND (created_at, id) < ($3, $4)
		ORDER BY created_at DESC, id DESC LIMIT $5`, f.Hash, f.Environment, at, id, f.Limit)
}

// title looks up what a word names.
func (s *Store) title(ctx context.Context, id string) (title, error) {
	k, err := s.PlaybackKey(ctx, id)
	switch {
	case err == nil:
		return title{key: &k}, nil
	case !errors.Is(err, ErrNotFound):
		return title{}, err
	}
	hashes, err := read(ctx, s, "read external id", pgx.RowTo[string], `SELECT hash FROM asset_policies WHERE external_id = $1`, id)
	if err != nil || len(hashes) == 0 {
		return title{}, err
	}
	return title{hash: hashes[0]}, nil
}

// policy reads what is known of a hash.
func (s *Store) policy(ctx context.Context, hash string) (title, error) {
	private, err := read(ctx, s, "read the asset's policy", pgx.RowTo[bool], `SELECT private FROM asset_policies WHERE hash = $1`, hash)
	return title{private: len(private) > 0 && private[0]}, err
}

var errMismatch = token.Error{Code: token.CodeMismatch}
