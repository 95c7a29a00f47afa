package access

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/token"
)

// DefaultMintTTL is how long a token that we mint lives unless asked otherwise.
const DefaultMintTTL = 5 * time.Minute

// MintRequest is what a token shall say.
type MintRequest struct {
	PlaybackKey string // empty: every title of the organisation
	Scope       []string
	TTL         time.Duration // 0: DefaultMintTTL
	IPs         []netip.Prefix
	Hosts       []string
	Environment string // empty: not bound to one
	Tag         string
	Tags        []string
	UID, SID    string
	Cust        string
}

// Minted is a token that we minted, without the token.
type Minted struct {
	ID          string // jti
	PlaybackKey string // empty: organisation-wide
	Scope       []string
	Tag, UID    string
	IPs         []netip.Prefix
	Hosts       []string
	Environment string
	CreatedAt   time.Time
	ExpiresAt   time.Time
	LastUsedAt  *time.Time
	Revoked     bool // by its id
}

// Mint makes a token of form J under our own signing key and remembers that it
// did. ErrNotFound for a playback key that is revoked or none.
func (s *Store) Mint(ctx context.Context, req MintRequest, by Actor) (Minted, string, error) {
	if req.TTL == 0 {
		req.TTL = DefaultMintTTL
	}
	if req.TTL < time.Second || req.TTL > token.MaxKeyTTL || req.TTL%time.Second != 0 {
		return Minted{}, "", invalid("expires_in", "want 1 to %d seconds", int(token.MaxKeyTTL.Seconds()))
	}
	if len(req.Scope) == 0 {
		req.Scope = []string{"v"}
	}
	for _, scope := range req.Scope {
		if !slices.Contains([]string{"v", "k", "t", "s", "c", "d"}, scope) {
			return Minted{}, "", invalid("scope", "want v, k, t, s, c or d, or several of them")
		}
	}
	now := time.Now().Truncate(time.Second)
	m := Minted{
		ID: newID(), PlaybackKey: req.PlaybackKey, Scope: req.Scope, Tag: req.Tag, UID: req.UID, IPs: req.IPs, Hosts: req.Hosts,
		Environment: EnvironmentAll, ExpiresAt: now.Add(req.TTL),
	}
	claims := token.Claims{
		Subject: req.PlaybackKey, Audience: req.Scope, IssuedAt: now, ExpiresAt: m.ExpiresAt, JTI: m.ID,
		IP: req.IPs, Ref: req.Hosts, Env: req.Environment, Tag: req.Tag, Tags: req.Tags, UID: req.UID, SID: req.SID, Cust: req.Cust,
	}
	if req.PlaybackKey == "" {
		claims.Subject = token.Wildcard
	}
	if req.Environment != "" {
		m.Environment = req.Environment
	}
	tok, err := s.secrets.own.Mint(claims)
	if err != nil {
		return Minted{}, "", invalid("token", "%v", err)
	}
	err = s.change(ctx, by, "token.mint", m.ID, map[string]any{"playback_key": m.PlaybackKey, "scope": m.Scope, "expires_at": m.ExpiresAt, "tag": m.Tag}, func(ctx context.Context, tx pgx.Tx) error {
		return s.insertMinted(ctx, tx, &m, req.TTL)
	})
	if err != nil {
		return Minted{}, "", err
	}
	return m, tok, nil
}

// insertMinted holds the wish against the playback key: a token that it would
// refuse is not minted.
func (s *Store) insertMinted(ctx context.Context, tx pgx.Tx, m *Minted, ttl time.Duration) error {
	var key *string
	if m.PlaybackKey != "" {
		rows, err := tx.Query(ctx, `SELECT `+playbackColumns+` FROM playback_keys WHERE id = $1 AND status <> 'revoked' FOR SHARE`, m.PlaybackKey)
		if err != nil {
			return err
		}
		k, err := pgx.CollectExactlyOneRow(rows, scanPlaybackKey)
		switch {
		case err != nil:
			return err
		case k.MaxTTL > 0 && ttl > k.MaxTTL:
			return invalid("expires_in", "the playback key allows at most %d seconds", int(k.MaxTTL.Seconds()))
		case slices.Contains(m.Scope, "d") && !k.Downloads:
			return invalid("scope", "the playback key allows no downloads")
		case m.Environment != EnvironmentAll && m.Environment != k.Environment:
			return invalid("environment", "the playback key belongs to %s", k.Environment)
		}
		m.Environment, key = k.Environment, &k.ID
	}
	return tx.QueryRow(ctx, `
		INSERT INTO minted_tokens (id, playback_key, scope, tag, uid, ips, hosts, environment, expires_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) RETURNING created_at`,
		m.ID, key, m.Scope, m.Tag, m.UID, prefixes(m.IPs), list(m.Hosts), m.Environment, m.ExpiresAt).Scan(&m.CreatedAt)
}

// MintedFilter chooses minted tokens.
type MintedFilter struct {
	PlaybackKey string // empty: of all
	Tag         string // empty: any
	Environment string // empty: any
	After       Position
	Limit       int
}

// MintedTokens lists them, newest first.
func (s *Store) MintedTokens(ctx context.Context, f MintedFilter) ([]Minted, error) {
	at, id := f.After.before()
	return read(ctx, s, "list minted tokens", func(row pgx.CollectableRow) (m Minted, err error) {
		err = row.Scan(&m.ID, &m.PlaybackKey, &m.Scope, &m.Tag, &m.UID, &m.IPs, &m.Hosts, &m.Environment,
			&m.CreatedAt, &m.ExpiresAt, &m.LastUsedAt, &m.Revoked)
		return m, err
	}, `SELECT id, coalesce(playback_key, ''), scope, tag, uid, ips, hosts, environment, created_at, expires_at, last_used_at,
			EXISTS (SELECT 1 FROM revocations r WHERE r.kind = 'token' AND r.value = m.id AND (r.expires_at IS NULL OR r.expires_at > now()))
		FROM minted_tokens m
		WHERE ($1 = '' OR playback_key = $1) AND ($2 = '' OR tag = $2) AND ($3 = '' OR environment = $3) AND (created_at, id) < ($4, $5)
		ORDER BY created_at DESC, id DESC LIMIT $6`, f.PlaybackKey, f.Tag, f.Environment, at, id, f.Limit)
}
