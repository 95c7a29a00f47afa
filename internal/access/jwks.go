package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/token"
)

// Fetch gets the body of a URL that came from outside. It must refuse what
// leads inside.
type Fetch func(ctx context.Context, url string) ([]byte, error)

const (
	jwksEvery   = 5 * time.Minute // one of the nodes fetches a set again
	jwksRetry   = time.Minute     // after a fetch that failed
	jwksMost    = 64 << 10        // bytes of a set
	jwksKeys    = 32              // of a set that are taken
	jwksTimeout = 10 * time.Second
)

var errNoKeys = errors.New("no key that can be used: want RSA of 2048 bits or more, EC P-256 or Ed25519, with a kid of A-Z a-z 0-9 _ -")

// keysOfSet takes the keys of a JSON Web Key Set (RFC 7517, 5) that can verify:
// what is symmetric, for encryption, without a kid or of another type is passed
// over. Certificates and URLs in it are not looked at.
func keysOfSet(set []byte, rules token.Rules) ([]*token.Key, error) {
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if len(set) > jwksMost {
		return nil, fmt.Errorf("more than %d bytes", jwksMost)
	}
	if err := json.Unmarshal(set, &raw); err != nil || raw.Keys == nil {
		return nil, errors.New("not a JSON Web Key Set")
	}
	var out []*token.Key
	seen := map[string]bool{}
	for _, item := range raw.Keys {
		var jwk jwkset.JWKMarshal
		if err := json.Unmarshal(item, &jwk); err != nil || seen[jwk.KID] {
			continue
		}
		if jwk.KTY == jwkset.KtyOct || jwk.USE == jwkset.UseEnc {
			continue
		}
		key, err := jwkset.NewJWKFromMarshal(
			jwkset.JWKMarshal{KTY: jwk.KTY, KID: jwk.KID, CRV: jwk.CRV, X: jwk.X, Y: jwk.Y, N: jwk.N, E: jwk.E},
			jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			continue
		}
		verifies, err := token.NewPublicKey(jwk.KID, key.Key(), rules)
		if err != nil || (jwk.ALG != "" && string(jwk.ALG) != verifies.Alg()) {
			continue
		}
		seen[jwk.KID] = true
		if out = append(out, verifies); len(out) == jwksKeys {
			break
		}
	}
	if len(out) == 0 {
		return nil, errNoKeys
	}
	return out, nil
}

// fetchSet gets a set. errNoKeys comes with the set: it is one, without a key
// that can be used.
func (s *Store) fetchSet(ctx context.Context, url string) (string, error) {
	if s.fetch == nil {
		return "", errors.New("sets are not fetched here")
	}
	ctx, cancel := context.WithTimeout(ctx, jwksTimeout)
	defer cancel()
	body, err := s.fetch(ctx, url)
	if err != nil {
		return "", err
	}
	_, err = keysOfSet(body, token.Rules{})
	return string(body), err
}

// refreshSets fetches the sets that are due, until ctx ends. Any number of
// nodes may do so: each set is fetched by one of them. A set that cannot be had
// stays as it was; one whose last key was taken out believes nobody.
func (s *Store) refreshSets(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		if err := s.refreshDue(ctx, log); err != nil && ctx.Err() == nil {
			log.WarnContext(ctx, "key sets were not looked at", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *Store) refreshDue(ctx context.Context, log *slog.Logger) error {
	for {
		// The claim lasts as long as a retry's pause: a node that dies leaves it.
		due, err := read(ctx, s, "claim a key set", func(row pgx.CollectableRow) (k SigningKey, err error) {
			err = row.Scan(&k.KID, &k.JWKSURL, &k.jwks)
			return k, err
		}, `UPDATE signing_keys SET jwks_next_at = now() + $1 * interval '1 second'
			WHERE kid = (SELECT kid FROM signing_keys WHERE source = 'jwks' AND revoked_at IS NULL AND jwks_next_at <= now()
				ORDER BY jwks_next_at LIMIT 1 FOR UPDATE SKIP LOCKED)
			RETURNING kid, jwks_url, jwks`, jwksRetry.Seconds())
		if err != nil || len(due) == 0 {
			return err
		}
		k := due[0]
		set, err := s.fetchSet(ctx, k.JWKSURL)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		wrong := ""
		if err == nil {
			set, wrong, err = s.withoutOthers(ctx, k, set)
		}
		if errors.Is(err, errNoKeys) {
			log.WarnContext(ctx, "a key set has no key that can be used, its tokens are refused", "kid", k.KID)
			wrong, err = "the set has no key that can be used", nil
		}
		if err != nil {
			log.WarnContext(ctx, "a key set cannot be had, the last one stays", "kid", k.KID, "error", err)
			_, err = s.pool.Exec(ctx, `UPDATE signing_keys SET jwks_error = 'the set could not be fetched or read' WHERE kid = $1`, k.KID)
		} else {
			_, err = s.pool.Exec(ctx, `UPDATE signing_keys SET jwks = $2, jwks_fetched_at = now(), jwks_error = $4,
				jwks_next_at = now() + $3 * interval '1 second' WHERE kid = $1`, k.KID, set, jwksEvery.Seconds(), wrong)
		}
		if err != nil {
			return dbError("keep a key set", err)
		}
	}
}

// withoutOthers leaves out the keys that are new in a set and have the kid of a
// key of another live set: whoever writes one set would end the tokens of the
// other. The rest of the set counts, what was taken out of it above all.
func (s *Store) withoutOthers(ctx context.Context, k SigningKey, set string) (kept, wrong string, err error) {
	sets, err := collect(ctx, s.pool, scanSigningKey, `SELECT `+signingColumns+` FROM signing_keys WHERE source = 'jwks' AND revoked_at IS NULL AND kid <> $1`, k.KID)
	if err != nil {
		return "", "", err
	}
	others := map[string]bool{}
	for _, other := range sets {
		keys, _ := keysOfSet([]byte(other.jwks), other.rules()) // one that cannot be read verifies nothing
		for _, key := range keys {
			others[key.ID()] = true
		}
	}
	before, _ := keysOfSet([]byte(k.jwks), k.rules())
	for _, key := range before {
		delete(others, key.ID())
	}
	var raw struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal([]byte(set), &raw); err != nil {
		return "", "", err
	}
	all := len(raw.Keys)
	raw.Keys = slices.DeleteFunc(raw.Keys, func(text json.RawMessage) bool {
		var key struct {
			KID string `json:"kid"`
		}
		return json.Unmarshal(text, &key) == nil && others[key.KID]
	})
	if len(raw.Keys) == all {
		return set, "", nil
	}
	text, err := json.Marshal(raw)
	return string(text), "a new key of the set has the kid of a key of another set: it is left out", err
}
