package access

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/token"
)

// The kinds of revocations: what their value names.
const (
	RevokeToken       = "token"        // the claim jti, or the id that inspection and audit show
	RevokeSession     = "session"      // sid
	RevokeUser        = "user"         // uid
	RevokeTag         = "tag"          // tag, or one of tags
	RevokePlaybackKey = "playback_key" // what has it as its subject, or asks for it
	RevokeSigningKey  = "signing_key"  // kid; SharedKey for KEY_TOKEN_SECRET, OwnKey for what we minted
	RevokeAll         = "all"          // no value
)

// RevocationKinds are all of them.
var RevocationKinds = []string{RevokeToken, RevokeSession, RevokeUser, RevokeTag, RevokePlaybackKey, RevokeSigningKey, RevokeAll}

// Revocation is what is believed no more.
type Revocation struct {
	ID           int64
	Kind, Value  string
	IssuedBefore *time.Time // only tokens issued before it; nil: whenever issued
	Reason       string
	CreatedAt    time.Time
	ExpiresAt    *time.Time // nil: until it is lifted
}

func (r Revocation) check() error {
	switch {
	case !slices.Contains(RevocationKinds, r.Kind):
		return invalid("kind", "want token, session, user, tag, playback_key, signing_key or all")
	case (r.Kind == RevokeAll) != (r.Value == ""):
		return invalid("value", "want one, for every kind but all")
	case looksLikeToken(trimToken(r.Value)):
		return invalid("value", "this is a token, and not one that is believed here: give its jti, or the id that /api/tokens/inspect shows")
	case len(r.Value) > 512 || !utf8.ValidString(r.Value) || slices.Contains([]rune(r.Value), 0):
		return invalid("value", "want at most 512 bytes")
	case r.Kind == RevokeAll && r.IssuedBefore == nil:
		return invalid("issued_before", "is needed for the kind all")
	case r.ExpiresAt != nil && !r.ExpiresAt.After(time.Now()):
		return invalid("expires_at", "lies in the past")
	case utf8.RuneCountInString(r.Reason) > maxLabel || !utf8.ValidString(r.Reason) || slices.Contains([]rune(r.Reason), 0):
		return invalid("reason", "want at most %d characters", maxLabel)
	}
	return nil
}

// trimToken takes off what is copied along with a token.
func trimToken(s string) string {
	s = strings.Trim(s, " \t\r\n\"'")
	if scheme, rest, ok := strings.Cut(s, " "); ok && strings.EqualFold(scheme, "Bearer") {
		s = strings.TrimSpace(rest)
	}
	return s
}

const sealedLeast = 38 // characters of an empty session: nonce and tag in base64

// looksLikeToken reports whether s has the form of a token, a broken one too: a
// JSON object in base64url and a dot, or the prefix of sessions and as much as
// they have at least.
func looksLikeToken(s string) bool {
	if sealed, ok := strings.CutPrefix(s, "st_"); ok && len(sealed) >= sealedLeast {
		return true
	}
	first, _, dot := strings.Cut(s, ".")
	if !dot || len(first) < 4 {
		return false
	}
	head, err := base64.RawURLEncoding.DecodeString(first[:4])
	return err == nil && head[0] == '{' && strings.IndexByte("\" \t\r\n", head[1]) >= 0
}

const revocationColumns = `id, kind, value, issued_before, reason, created_at, expires_at`

func scanRevocation(row pgx.CollectableRow) (r Revocation, err error) {
	err = row.Scan(&r.ID, &r.Kind, &r.Value, &r.IssuedBefore, &r.Reason, &r.CreatedAt, &r.ExpiresAt)
	return r, err
}

// Revoke adds a revocation.
func (s *Store) Revoke(ctx context.Context, r Revocation, by Actor) (Revocation, error) {
	if err := r.check(); err != nil {
		return Revocation{}, err
	}
	details := map[string]any{"issued_before": r.IssuedBefore, "reason": r.Reason}
	err := s.changeView(ctx, by, "token.revoke", r.Kind+" "+r.Value, details, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `INSERT INTO revocations (kind, value, issued_before, reason, expires_at)
			VALUES ($1, $2, $3, $4, $5) RETURNING id, created_at`,
			r.Kind, r.Value, r.IssuedBefore, r.Reason, r.ExpiresAt).Scan(&r.ID, &r.CreatedAt)
	})
	return r, err
}

// Lift takes a revocation back.
func (s *Store) Lift(ctx context.Context, id int64, by Actor) error {
	return s.changeView(ctx, by, "token.lift", strconv.FormatInt(id, 10), nil, func(ctx context.Context, tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `DELETE FROM revocations WHERE id = $1`, id)
		if err == nil && tag.RowsAffected() == 0 {
			return ErrNotFound
		}
		return err
	})
}

// Revocations lists those that have not expired, newest first, below an id; 0:
// from the newest on.
func (s *Store) Revocations(ctx context.Context, below int64, limit int) ([]Revocation, error) {
	return read(ctx, s, "list revocations", scanRevocation, `SELECT `+revocationColumns+` FROM revocations
		WHERE ($1 = 0 OR id < $1) AND (expires_at IS NULL OR expires_at > now()) ORDER BY id DESC LIMIT $2`, below, limit)
}

// revoked is the part of the view that says what is believed no more.
type revoked struct {
	mu      sync.RWMutex
	byID    map[int64]Revocation
	byValue map[[2]string][]Revocation // kind and value
}

func (v *revoked) reset(all []Revocation) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.byID, v.byValue = map[int64]Revocation{}, map[[2]string][]Revocation{}
	for _, r := range all {
		v.put(r)
	}
}

// replace takes the rows that are there now in place of those with these ids.
func (v *revoked) replace(ids []int64, rows []Revocation) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range ids {
		if r, ok := v.byID[id]; ok {
			delete(v.byID, id)
			key := [2]string{r.Kind, r.Value}
			left := slices.DeleteFunc(slices.Clone(v.byValue[key]), func(o Revocation) bool { return o.ID == id })
			if v.byValue[key] = left; len(left) == 0 {
				delete(v.byValue, key)
			}
		}
	}
	for _, r := range rows {
		v.put(r)
	}
}

func (v *revoked) put(r Revocation) {
	key := [2]string{r.Kind, r.Value}
	v.byID[r.ID], v.byValue[key] = r, append(v.byValue[key], r)
}

// names reports whether one of the values is revoked for a token that was
// issued at a time.
func (v *revoked) names(kind string, issued, now time.Time, values ...string) bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	for _, value := range values {
		if value == "" && kind != RevokeAll {
			continue
		}
		for _, r := range v.byValue[[2]string{kind, value}] {
			if (r.ExpiresAt == nil || now.Before(*r.ExpiresAt)) && (r.IssuedBefore == nil || issued.Before(*r.IssuedBefore)) {
				return true
			}
		}
	}
	return false
}

// token is the refusal of a token that is revoked by itself, its session, user,
// tag or signing key, or by its time.
func (v *revoked) token(g *token.Grant, signers []string, issued, now time.Time) error {
	if v.names(RevokeToken, issued, now, g.JTI, g.ID) ||
		v.names(RevokeSession, issued, now, g.SID) ||
		v.names(RevokeUser, issued, now, g.UID) ||
		v.names(RevokeTag, issued, now, append([]string{g.Tag}, g.Tags...)...) ||
		v.names(RevokeSigningKey, issued, now, signers...) ||
		v.names(RevokeAll, issued, now, "") {
		return token.Error{Code: token.CodeRevoked}
	}
	return nil
}
