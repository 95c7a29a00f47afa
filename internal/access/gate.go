package access

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/token"
)

// rememberedTokens is half of the tokens whose signature a node remembers.
const rememberedTokens = 20_000

// Config is what Open needs.
type Config struct {
	Pool        *pgxpool.Pool
	Secret      []byte // KEY_TOKEN_SECRET
	Environment string // of titles that are asked for by their hash
	Audit       Audit
	Fetch       Fetch // nil: no key sets
	Log         *slog.Logger
}

// Carrier is how a token came.
type Carrier int

// The carriers.
const (
	CarrierHeader Carrier = iota
	CarrierPath
	CarrierQuery
	CarrierCookie
)

// Request is what somebody asks for.
type Request struct {
	Token   string // empty: none
	Carrier Carrier
	PathID  string // an asset's hash or a playback key, as the path has it
	Scope   byte   // one of the token.Scope constants
	Client  netip.Addr
	Origin  string // as sent; "null" where there is more than one
	Referer string
}

// Grant is what a request may have. Beside a refusal it has the claims of a
// token whose signature is good.
type Grant struct {
	token.Grant
	Anonymous   bool         // no token: the playback key is public
	Hash        string       // the asset that was asked for
	PlaybackKey *PlaybackKey // that was asked for, or the token's; nil: by hash alone. Do not change it
}

// Gate authorizes. It is safe for concurrent use.
type Gate struct {
	*Store
	environment string
	view        *view
	verifier    *token.Verifier
	used        *usage
	log         *slog.Logger
	now         func() time.Time
}

// Open reads the view for the first time. Run keeps it up to date.
func Open(ctx context.Context, cfg Config) (*Gate, error) {
	s, err := newSecrets(cfg.Secret)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(token.Environments, cfg.Environment) {
		return nil, invalid("environment", "want development, staging or production")
	}
	store := &Store{pool: cfg.Pool, audit: cfg.Audit, fetch: cfg.Fetch, secrets: s}
	g := &Gate{
		Store: store, environment: cfg.Environment, view: newView(store), used: newUsage(), log: cfg.Log, now: time.Now,
	}
	g.verifier = &token.Verifier{Secret: s.shared, Sessions: s.sessions, Memo: token.NewMemo(rememberedTokens), Key: func(kid string) *token.Key {
		found, _ := g.view.signer(kid)
		return found.key
	}}
	store.refresh = g.view.refresh
	return g, g.view.refresh(ctx)
}

// Run keeps the view at most two seconds old, fetches key sets again and writes
// the last use of minted tokens, until ctx ends.
func (g *Gate) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	parts.Go(func() { g.used.run(ctx, g.Store, g.log) })
	if g.fetch != nil {
		parts.Go(func() { g.refreshSets(ctx, g.log) })
	}
	g.view.run(ctx, g.log)
	parts.Wait()
	return nil
}

// Authorize decides. Its error is a token.Error, ErrTokenRequired, ErrNotFound
// for a playback key that a good token names and that does not exist, or wraps
// ErrUnavailable.
func (g *Gate) Authorize(ctx context.Context, req Request) (Grant, error) {
	grant, err := g.run(ctx, req, nil)
	if err == nil && grant.JTI != "" && grant.KeyID == OwnKey {
		g.used.note(grant.JTI, g.now())
	}
	return grant, err
}

// Inspect is Authorize that tells each check, and counts as no use. Without a
// PathID it is about what the token says of itself.
func (g *Gate) Inspect(ctx context.Context, req Request) (Grant, []token.Check, error) {
	var checks []token.Check
	grant, err := g.run(ctx, req, func(c token.Check) { checks = append(checks, c) })
	return grant, checks, err
}

// Revoke adds a revocation. A token in place of a token's id is taken for its
// id; whatever else looks like a token is refused, so that none is stored.
func (g *Gate) Revoke(ctx context.Context, r Revocation, by Actor) (Revocation, error) {
	if pasted := trimToken(r.Value); r.Kind == RevokeToken && looksLikeToken(pasted) {
		t, _ := g.verifier.Inspect(pasted, g.now(), nil) // one that has expired, or is not yet valid, has an id too
		switch {
		case t.JTI != "" && t.KeyID == OwnKey:
			r.Value = t.JTI
		case t.ID != "":
			r.Value = t.ID
		}
	}
	return g.Store.Revoke(ctx, r, by)
}

// Session makes the session, form S, of a grant: the same each time. A grant
// without a token has none: "".
func (g *Gate) Session(grant Grant) (string, error) {
	if grant.Anonymous {
		return "", nil
	}
	t := grant.Grant
	if t.SID == "" {
		t.SID = "s-" + t.ID
	}
	return g.secrets.sessions.Seal(t)
}
