package access

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/token"
)

const signingColumns = `kid, label, source, coalesce(algorithm, ''), coalesce(public_key, ''), issuer, environment, max_ttl_seconds,
	allow_wildcard, created_at, revoked_at, coalesce(jwks_url, ''), jwks_fetched_at, jwks_error, coalesce(jwks, ''), salt`

func scanSigningKey(row pgx.CollectableRow) (SigningKey, error) {
	var k SigningKey
	var ttl int
	err := row.Scan(&k.KID, &k.Label, &k.Source, &k.Algorithm, &k.PublicKey, &k.Issuer, &k.Environment, &ttl,
		&k.AllowWildcard, &k.CreatedAt, &k.RevokedAt, &k.JWKSURL, &k.JWKSFetchedAt, &k.JWKSError, &k.jwks, &k.salt)
	k.MaxTTL = duration(&ttl)
	return k, err
}

// CreateSigningKey makes a signing key: of a public key or a set that k has,
// else one of ours with k's algorithm. What it returns beside the key is shown
// now and never again. ErrExists, or an InvalidError.
func (s *Store) CreateSigningKey(ctx context.Context, k SigningKey, by Actor) (CreatedKey, error) {
	if k.KID == "" {
		k.KID = newID()
	}
	if k.MaxTTL == 0 {
		k.MaxTTL = token.MaxTTL
	}
	if err := k.check(); err != nil {
		return CreatedKey{}, err
	}
	made, err := s.makeKey(ctx, k)
	if err != nil {
		return CreatedKey{}, err
	}
	k = made.SigningKey
	details := map[string]any{"source": k.Source, "algorithm": k.Algorithm, "environment": k.Environment, "allow_wildcard": k.AllowWildcard}
	err = s.changeView(ctx, by, "signing_key.create", k.KID, details, func(ctx context.Context, tx pgx.Tx) error {
		if err := notInSets(ctx, tx, k.KID); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `
			INSERT INTO signing_keys (kid, label, source, algorithm, public_key, salt, jwks_url, jwks, jwks_fetched_at, jwks_next_at,
				issuer, environment, max_ttl_seconds, allow_wildcard)
			VALUES ($1, $2, $3, nullif($4, ''), nullif($5, ''), $6, nullif($7, ''), nullif($8, ''),
				CASE WHEN $3 = 'jwks' THEN now() END, CASE WHEN $3 = 'jwks' THEN now() + $9 * interval '1 second' END, $10, $11, $12, $13)
			RETURNING created_at, jwks_fetched_at`,
			k.KID, k.Label, k.Source, k.Algorithm, k.PublicKey, k.salt, k.JWKSURL, k.jwks, jwksEvery.Seconds(),
			k.Issuer, k.Environment, seconds(k.MaxTTL), k.AllowWildcard).Scan(&made.CreatedAt, &made.JWKSFetchedAt)
	})
	if err != nil {
		return CreatedKey{}, err
	}
	return made, nil
}

// notInSets is ErrExists when a key of a live set has the kid: a new record
// would take it over.
func notInSets(ctx context.Context, q querier, kid string) error {
	sets, err := collect(ctx, q, scanSigningKey, `SELECT `+signingColumns+` FROM signing_keys WHERE source = 'jwks' AND revoked_at IS NULL`)
	if err != nil {
		return err
	}
	for _, set := range sets {
		keys, err := keysOfSet([]byte(set.jwks), set.rules())
		if err != nil {
			continue // it verifies nothing
		}
		if slices.ContainsFunc(keys, func(k *token.Key) bool { return k.ID() == kid }) {
			return ErrExists
		}
	}
	return nil
}

// makeKey fills in what verifies.
func (s *Store) makeKey(ctx context.Context, k SigningKey) (made CreatedKey, err error) {
	switch {
	case k.PublicKey != "" && k.JWKSURL != "":
		return CreatedKey{}, invalid("jwks_url", "give it or public_key, not both")
	case k.PublicKey != "":
		k.Source = SourcePublicKey
		err := k.adopt()
		return CreatedKey{SigningKey: k}, err
	case k.JWKSURL != "":
		if k.Algorithm != "" {
			return CreatedKey{}, invalid("algorithm", "the set's keys say it")
		}
		k.Source = SourceJWKS
		if k.jwks, err = s.fetchSet(ctx, k.JWKSURL); err != nil {
			// What exactly is wrong tells of the network that we stand in.
			return CreatedKey{}, invalid("jwks_url", "no JSON Web Key Set with a key that can be used could be had from there: "+
				"want https, a public address, status 200 without redirects, at most %d bytes", jwksMost)
		}
		return CreatedKey{SigningKey: k}, nil
	}
	k.Source = SourceCreated
	return k.generate(s.secrets)
}

// RevokeSigningKey ends a signing key, its tokens and their sessions, for ever.
func (s *Store) RevokeSigningKey(ctx context.Context, kid string, by Actor) error {
	return s.changeView(ctx, by, "signing_key.revoke", kid, nil, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE signing_keys SET revoked_at = now() WHERE kid = $1 AND revoked_at IS NULL`, kid)
		if err == nil && tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		return err
	})
}

// SigningKey reads one, a revoked one too.
func (s *Store) SigningKey(ctx context.Context, kid string) (SigningKey, error) {
	keys, err := read(ctx, s, "read signing key", scanSigningKey, `SELECT `+signingColumns+` FROM signing_keys WHERE kid = $1`, kid)
	if err != nil {
		return SigningKey{}, err
	}
	if len(keys) == 0 {
		return SigningKey{}, ErrNotFound
	}
	return keys[0], nil
}

// SigningKeys lists all, newest first, revoked ones too.
func (s *Store) SigningKeys(ctx context.Context) ([]SigningKey, error) {
	return read(ctx, s, "list signing keys", scanSigningKey, `SELECT `+signingColumns+` FROM signing_keys ORDER BY created_at DESC, kid`)
}
