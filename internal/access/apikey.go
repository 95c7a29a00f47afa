package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/token"
)

// ScopeAdmin is the API key scope that has all others.
const ScopeAdmin = "*"

// Resources are what API keys are scoped to: each has "<resource>:read" and
// "<resource>:write", which has read in it.
var Resources = []string{"jobs", "media", "playback-keys", "tokens", "signing-keys", "revocations", "api-keys"}

// APIKey is a credential of somebody who administers.
type APIKey struct {
	ID          string
	Label       string
	Scopes      []string
	Environment string // or EnvironmentAll
	CreatedAt   time.Time
	ExpiresAt   *time.Time
	LastUsedAt  *time.Time // to the minute
	RevokedAt   *time.Time
}

// Allows reports whether the key has a scope.
func (k APIKey) Allows(scope string) bool {
	read, isRead := strings.CutSuffix(scope, ":read")
	return slices.Contains(k.Scopes, ScopeAdmin) || slices.Contains(k.Scopes, scope) ||
		(isRead && slices.Contains(k.Scopes, read+":write"))
}

// In reports whether the key may act on what belongs to an environment.
func (k APIKey) In(environment string) bool {
	return k.Environment == EnvironmentAll || k.Environment == environment
}

func (k APIKey) check() error {
	if len(k.Scopes) == 0 || len(k.Scopes) > 32 {
		return invalid("scopes", "want 1 to 32")
	}
	for _, s := range k.Scopes {
		resource, kind, _ := strings.Cut(s, ":")
		if s != ScopeAdmin && (!slices.Contains(Resources, resource) || (kind != "read" && kind != "write")) {
			return invalid("scopes", "want *, or one of %s with :read or :write behind it", strings.Join(Resources, ", "))
		}
	}
	if k.Environment != EnvironmentAll && !slices.Contains(token.Environments, k.Environment) {
		return invalid("environment", "want development, staging, production or all")
	}
	if k.ExpiresAt != nil && !k.ExpiresAt.After(time.Now()) {
		return invalid("expires_at", "lies in the past")
	}
	return checkLabel(k.Label)
}

const apiKeyPrefix = "sck_"

var apiKeyPattern = regexp.MustCompile(`^sck_[A-Za-z0-9_-]{43}$`)

const apiKeyColumns = `id, label, scopes, environment, created_at, expires_at, last_used_at, revoked_at`

func scanAPIKey(row pgx.CollectableRow) (k APIKey, err error) {
	err = row.Scan(&k.ID, &k.Label, &k.Scopes, &k.Environment, &k.CreatedAt, &k.ExpiresAt, &k.LastUsedAt, &k.RevokedAt)
	return k, err
}

// CreateAPIKey makes an API key and gives its secret, which is not kept: of its
// 32 random bytes only a digest is.
func (s *Store) CreateAPIKey(ctx context.Context, k APIKey, by Actor) (APIKey, string, error) {
	k.ID = newID()
	if err := k.check(); err != nil {
		return APIKey{}, "", err
	}
	var raw [32]byte
	_, _ = rand.Read(raw[:])
	secret := apiKeyPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	digest := sha256.Sum256([]byte(secret))
	err := s.change(ctx, by, "api_key.create", k.ID, map[string]any{"scopes": k.Scopes, "environment": k.Environment}, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `INSERT INTO api_keys (id, digest, label, scopes, environment, expires_at)
			VALUES ($1, $2, $3, $4, $5, $6) RETURNING created_at`,
			k.ID, digest[:], k.Label, k.Scopes, k.Environment, k.ExpiresAt).Scan(&k.CreatedAt)
	})
	if err != nil {
		return APIKey{}, "", err
	}
	return k, secret, nil
}

// CheckAPIKey finds the API key of a secret, in Postgres each time: one that is
// revoked is so for the next request. ErrNotFound for all that is none.
func (s *Store) CheckAPIKey(ctx context.Context, secret string) (APIKey, error) {
	if !apiKeyPattern.MatchString(secret) {
		return APIKey{}, ErrNotFound
	}
	digest := sha256.Sum256([]byte(secret))
	found, err := read(ctx, s, "read API key", scanAPIKey, `SELECT `+apiKeyColumns+` FROM api_keys
		WHERE digest = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())`, digest[:])
	switch {
	case err != nil:
		return APIKey{}, err
	case len(found) == 0:
		return APIKey{}, ErrNotFound
	}
	k := found[0]
	if k.LastUsedAt == nil || time.Since(*k.LastUsedAt) > time.Minute {
		ctx, cancel := context.WithTimeout(ctx, queryTimeout)
		defer cancel()
		if _, err := s.pool.Exec(ctx, `UPDATE api_keys SET last_used_at = now() WHERE id = $1`, k.ID); err != nil {
			return APIKey{}, dbError("note the use of an API key", err)
		}
	}
	return k, nil
}

// RevokeAPIKey ends an API key for ever.
func (s *Store) RevokeAPIKey(ctx context.Context, id string, by Actor) error {
	return s.change(ctx, by, "api_key.revoke", id, nil, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL`, id)
		if err == nil && tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		return err
	})
}

// APIKeys lists all, newest first, revoked ones too.
func (s *Store) APIKeys(ctx context.Context) ([]APIKey, error) {
	return read(ctx, s, "list API keys", scanAPIKey, `SELECT `+apiKeyColumns+` FROM api_keys ORDER BY created_at DESC, id`)
}
