package access

import (
	"context"
	"errors"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/token"
)

// The checks behind those of package token, in their order.
const (
	CheckView        = "view" // first of all: revocations are known
	CheckRevocation  = "revocation"
	CheckSubject     = "subject"
	CheckEnvironment = "environment"
	CheckPlaybackKey = "playback_key"
	CheckAudience    = "audience"
	CheckIP          = "ip"
	CheckReferer     = "referer"
)

// Checks are all checks in their order, for those who show them.
var Checks = []string{
	CheckView,
	token.CheckSize, token.CheckEncoding, token.CheckHeader, token.CheckKey, token.CheckSignature, token.CheckClaims,
	token.CheckTimes, token.CheckTTL, token.CheckIssuer, token.CheckWildcard,
	CheckRevocation, CheckSubject, CheckEnvironment, CheckPlaybackKey, CheckAudience, CheckIP, CheckReferer,
}

// run authorizes. tell hears of each check as it is made; it may be nil.
func (g *Gate) run(ctx context.Context, req Request, tell func(token.Check)) (grant Grant, err error) {
	made := func(name string, err error) error {
		if tell != nil {
			tell(token.Check{Name: name, Err: err})
		}
		return err
	}
	now := g.now()
	if err := made(CheckView, g.view.fresh(now)); err != nil {
		return Grant{}, err
	}
	if req.Token == "" {
		return g.anonymous(ctx, req, now, made)
	}
	if req.Carrier == CarrierPath && len(req.Token) > token.MaxPathSize {
		return Grant{}, made(token.CheckSize, token.Error{Code: token.CodeTooLarge})
	}
	grant.Grant, err = g.verifier.Inspect(req.Token, now, tell)
	if err != nil {
		return grant, err
	}
	if err := made(CheckRevocation, g.checkRevoked(&grant.Grant, now)); err != nil {
		return grant, err
	}
	if err := made(CheckSubject, g.checkSubject(ctx, req, &grant)); err != nil {
		return grant, err
	}
	if err := made(CheckEnvironment, g.checkEnvironment(&grant)); err != nil {
		return grant, err
	}
	if err := made(CheckPlaybackKey, g.checkPlaybackKey(&grant, now)); err != nil {
		return grant, err
	}
	return grant, checkUse(&grant, req, made)
}

// anonymous serves a public playback key. One that is private and one that
// does not exist are told apart by nobody.
func (g *Gate) anonymous(ctx context.Context, req Request, now time.Time, made func(string, error) error) (Grant, error) {
	named, err := g.view.titles.get(ctx, req.PathID)
	k := named.key
	if err == nil && (k == nil || k.Private) {
		err = ErrTokenRequired
	}
	if err != nil {
		return Grant{}, made(CheckSubject, err)
	}
	grant := Grant{Anonymous: true, Hash: k.Hash, PlaybackKey: k}
	if err := made(CheckPlaybackKey, g.checkPublic(k, now)); err != nil {
		return grant, err
	}
	return grant, checkUse(&grant, req, made)
}

// checkUse makes the checks of what is asked for, from where and by which page,
// with a token and without.
func checkUse(grant *Grant, req Request, made func(string, error) error) error {
	if err := made(CheckAudience, checkAudience(grant, req.Scope)); err != nil {
		return err
	}
	if err := made(CheckIP, checkIP(grant, req)); err != nil {
		return err
	}
	return made(CheckReferer, checkReferer(grant, req))
}

// checkPublic is checkPlaybackKey for a request without a token, which counts as
// issued now.
func (g *Gate) checkPublic(k *PlaybackKey, now time.Time) error {
	if err := k.active(now); err != nil {
		return err
	}
	if g.view.revoked.names(RevokePlaybackKey, now, now, k.ID) {
		return token.Error{Code: token.CodeKeyRevoked}
	}
	return nil
}

// issued is when a token was issued. One that does not say may have been issued
// as early as its signing key allows.
func (g *Gate) issued(t *token.Grant) time.Time {
	if !t.IssuedAt.IsZero() {
		return t.IssuedAt
	}
	longest := token.MaxTTL
	if s, ok := g.view.signer(t.KeyID); ok {
		longest = s.key.MaxTTL()
	}
	return t.ExpiresAt.Add(-longest)
}

// checkRevoked looks whether the token, or what it came from, is believed no
// more. A session outlives its signing key in memory alone: here it ends, also
// when another record's key has the kid now.
func (g *Gate) checkRevoked(t *token.Grant, now time.Time) error {
	signers := []string{SharedKey}
	if t.KeyID != "" {
		s, ok := g.view.signer(t.KeyID)
		if !ok || s.kid != t.Record {
			return token.Error{Code: token.CodeRevoked}
		}
		signers = []string{t.KeyID, s.kid}
	}
	return g.view.revoked.token(t, signers, g.issued(t), now)
}

// checkSubject compares what the token is for with what is asked for, byte for
// byte, and finds the playback key of either. Every way of not being the same
// is one refusal.
func (g *Gate) checkSubject(ctx context.Context, req Request, grant *Grant) error {
	title := grant.Title()
	own := req.PathID == "" // inspection without a title: the token's own
	if own {
		if title == token.Wildcard {
			return nil
		}
		req.PathID = title
		if named, err := g.view.titles.get(ctx, title); err != nil {
			return err
		} else if named.hash != "" {
			req.PathID = named.hash
		}
	}
	if cenc.IsHash(req.PathID) {
		if err := g.subjectOfHash(ctx, req.PathID, title, grant); err != nil || own {
			return err
		}
		return g.notPrivate(ctx, grant)
	}
	return g.subjectOfPlaybackKey(ctx, req.PathID, title, grant)
}

func (g *Gate) subjectOfHash(ctx context.Context, hash, title string, grant *Grant) error {
	grant.Hash = hash
	if title == hash || title == token.Wildcard {
		return nil
	}
	if cenc.IsHash(title) {
		return errMismatch
	}
	named, err := g.view.titles.get(ctx, title)
	switch {
	case err != nil:
		return err
	case named.key != nil && named.key.Hash == hash:
		grant.PlaybackKey = named.key
		return nil
	case named.key == nil && named.hash == hash:
		return nil
	}
	return errMismatch
}

// notPrivate refuses a private title by its hash to a token that is for none of
// its playback keys, as if it were for another title.
func (g *Gate) notPrivate(ctx context.Context, grant *Grant) error {
	if grant.PlaybackKey != nil {
		return nil
	}
	private, err := g.view.titles.private(ctx, grant.Hash)
	if err == nil && private {
		err = errMismatch
	}
	return err
}

func (g *Gate) subjectOfPlaybackKey(ctx context.Context, id, title string, grant *Grant) error {
	own := title == id || title == token.Wildcard
	hash := title // of the asset that the token is for
	if !own && !cenc.IsHash(title) {
		named, err := g.view.titles.get(ctx, title)
		if err != nil {
			return err
		}
		if hash = named.hash; hash == "" { // another playback key, or nothing
			return errMismatch
		}
	}
	named, err := g.view.titles.get(ctx, id)
	k := named.key
	switch {
	case err != nil:
		return err
	case k == nil && own:
		return ErrNotFound
	case k == nil, !own && k.Hash != hash:
		return errMismatch
	}
	grant.Hash, grant.PlaybackKey = k.Hash, k
	return nil
}

// checkEnvironment holds the title's environment against the signing key's and
// the claim.
func (g *Gate) checkEnvironment(grant *Grant) error {
	env := g.environment
	if grant.PlaybackKey != nil {
		env = grant.PlaybackKey.Environment
	}
	s, known := g.view.signer(grant.KeyID)
	if (known && s.environment != EnvironmentAll && s.environment != env) || (grant.Env != "" && grant.Env != env) {
		return token.Error{Code: token.CodeNotAllowed}
	}
	return nil
}

func (g *Gate) checkPlaybackKey(grant *Grant, now time.Time) error {
	k := grant.PlaybackKey
	if k == nil {
		return nil
	}
	if err := k.active(now); err != nil {
		return err
	}
	if k.MaxTTL > 0 && grant.ExpiresAt.Sub(now) > k.MaxTTL {
		return token.Error{Code: token.CodeTTLExceeded}
	}
	if g.view.revoked.names(RevokePlaybackKey, g.issued(&grant.Grant), now, k.ID) {
		return token.Error{Code: token.CodeRevoked}
	}
	return nil
}

func checkAudience(grant *Grant, scope byte) error {
	if scope == 0 {
		return nil // inspection without a scope
	}
	downloads := grant.PlaybackKey != nil && grant.PlaybackKey.Downloads
	if !grant.Allows(scope, downloads) || (scope == token.ScopeDownload && grant.PlaybackKey != nil && !downloads) {
		return token.Error{Code: token.CodeScope}
	}
	return nil
}

func checkIP(grant *Grant, req Request) error {
	if grant.PlaybackKey != nil {
		if err := matchIP(grant.PlaybackKey.IPs, req.Client); err != nil {
			return err
		}
	}
	return matchIP(grant.IP, req.Client)
}

func checkReferer(grant *Grant, req Request) error {
	allowNone := false
	if k := grant.PlaybackKey; k != nil {
		allowNone = k.AllowNoReferer
		if err := matchReferer(k.Hosts, req.Origin, req.Referer, allowNone); err != nil {
			return err
		}
	}
	return matchReferer(grant.Ref, req.Origin, req.Referer, allowNone)
}

// Refused reports whether err is a decision, not an outage.
func Refused(err error) bool {
	var refusal token.Error
	return errors.As(err, &refusal) || errors.Is(err, ErrTokenRequired) || errors.Is(err, ErrNotFound)
}
