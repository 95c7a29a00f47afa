package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/token"
)

// Admin keeps what decides about access; access.Gate has it. Its errors are an
// access.InvalidError or one of the access.Err values; every other one is
// answered with 503.
type Admin interface {
	CheckAPIKey(ctx context.Context, secret string) (access.APIKey, error)
	CreateAPIKey(context.Context, access.APIKey, access.Actor) (access.APIKey, string, error)
	RevokeAPIKey(ctx context.Context, id string, by access.Actor) error
	APIKeys(context.Context) ([]access.APIKey, error)

	CreateSigningKey(context.Context, access.SigningKey, access.Actor) (access.CreatedKey, error)
	RevokeSigningKey(ctx context.Context, kid string, by access.Actor) error
	SigningKey(ctx context.Context, kid string) (access.SigningKey, error)
	SigningKeys(context.Context) ([]access.SigningKey, error)

	CreatePlaybackKey(context.Context, access.PlaybackKey, access.Actor) (access.PlaybackKey, error)
	UpdatePlaybackKey(ctx context.Context, id string, by access.Actor, edit func(*access.PlaybackKey) error) (access.PlaybackKey, error)
	RevokePlaybackKey(ctx context.Context, id string, by access.Actor) error
	PlaybackKey(ctx context.Context, id string) (access.PlaybackKey, error)
	PlaybackKeys(context.Context, access.PlaybackFilter) ([]access.PlaybackKey, error)

	Mint(context.Context, access.MintRequest, access.Actor) (access.Minted, string, error)
	MintedTokens(context.Context, access.MintedFilter) ([]access.Minted, error)
	Inspect(context.Context, access.Request) (access.Grant, []token.Check, error)

	Revoke(context.Context, access.Revocation, access.Actor) (access.Revocation, error)
	Lift(ctx context.Context, id int64, by access.Actor) error
	Revocations(ctx context.Context, below int64, limit int) ([]access.Revocation, error)
}

// firstAdministrator is the API key of the environment.
var firstAdministrator = access.APIKey{ID: "api_key", Scopes: []string{access.ScopeAdmin}, Environment: access.EnvironmentAll}

// apiKey finds whose API key a request has, and whether it may do what the
// route does.
func (s *server) apiKey(r *http.Request) error {
	values := r.Header.Values("X-Api-Key")
	caller := firstAdministrator
	if err := s.APIKey.check(values); err != nil {
		if len(values) != 1 || values[0] == "" {
			return err
		}
		found, lookup := s.Admin.CheckAPIKey(r.Context(), values[0])
		if errors.Is(lookup, access.ErrNotFound) {
			return err
		}
		if lookup != nil {
			s.metrics.failed(r, depPostgres)
			return unavailable(lookup)
		}
		caller = found
	}
	exchangeOf(r).caller = caller
	resource, scope := apiScope(r)
	if !caller.Allows(scope) {
		return problem(http.StatusForbidden, "api_key_scope", "the API key lacks the scope "+scope)
	}
	if (resource == "jobs" || resource == "media") && !caller.In(s.Environment) {
		return environmentProblem()
	}
	return nil
}

func environmentProblem() *Problem {
	return problem(http.StatusForbidden, "api_key_environment", "the API key is for another environment")
}

// apiScope is the scope of a route: its resource, and whether it changes
// something. Minting is of tokens, whatever path it has; inspecting only reads.
func apiScope(r *http.Request) (resource, scope string) {
	resource, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/api/"), "/")
	kind := ":write"
	if strings.HasSuffix(rest, "/tokens") {
		resource = "tokens"
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead || (resource == "tokens" && rest == "inspect") {
		kind = ":read"
	}
	return resource, resource + kind
}

// actor is who sent the request, for the audit.
func actor(r *http.Request) access.Actor {
	x := exchangeOf(r)
	return access.Actor{Name: x.caller.ID, Details: map[string]any{"request_id": x.id, "client": x.from}}
}

// adminError turns an error of Admin into an answer. taken is the code when an
// id is, unknown the one when what the path names is not there.
func (s *server) adminError(r *http.Request, err error, unknown string) error {
	var wrong access.InvalidError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		return invalidRequest(wrong.Error())
	case errors.Is(err, access.ErrNotFound):
		return problem(http.StatusNotFound, unknown, "there is no such thing, or not any more")
	case errors.Is(err, access.ErrExists):
		return problem(http.StatusConflict, "id_taken", "the id is taken, or was once")
	case errors.Is(err, access.ErrAssetNotFound):
		return assetNotFound()
	}
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	s.metrics.failed(r, depPostgres)
	return unavailable(err)
}

// page reads limit and cursor, and one value of each parameter in names.
func page(rawQuery string, names ...string) (values map[string]string, after access.Position, limit int, err error) {
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return nil, after, 0, invalidRequest("the query is malformed")
	}
	limit, values = defaultPage, map[string]string{}
	for name, given := range query {
		known := name == "limit" || name == "cursor"
		for _, n := range names {
			known = known || n == name
		}
		switch {
		case !known:
			return nil, after, 0, invalidRequest(fmt.Sprintf("unknown parameter %q", shorten(name)))
		case len(given) > 1:
			return nil, after, 0, invalidRequest(fmt.Sprintf("%s: stands there twice", shorten(name)))
		case name == "limit":
			if limit, err = strconv.Atoi(given[0]); err != nil || limit < 1 || limit > maxPage {
				return nil, after, 0, invalidRequest(fmt.Sprintf("limit: want a whole number from 1 to %d", maxPage))
			}
		case name == "cursor":
			at, err := parseCursor(given[0])
			if err != nil {
				return nil, after, 0, err
			}
			after = access.Position{CreatedAt: at.CreatedAt, ID: at.ID}
		default:
			values[name] = given[0]
		}
	}
	return values, after, limit, nil
}

// nextCursor names the last of a page when there is more.
func nextCursor(more bool, createdAt time.Time, id string) *string {
	if !more {
		return nil
	}
	cursor := JobPosition{CreatedAt: createdAt, ID: id}.cursor()
	return &cursor
}

// parsePrefixes reads addresses and CIDRs.
func parsePrefixes(name string, texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range texts {
		p, err := token.ParsePrefix(s)
		if err != nil {
			return nil, invalidRequest(name + ": " + shorten(err.Error()))
		}
		out = append(out, p)
	}
	return out, nil
}

func parseHosts(name string, texts []string) ([]string, error) {
	var out []string
	for _, s := range texts {
		host, err := token.ParseHost(s)
		if err != nil {
			return nil, invalidRequest(name + ": want hosts, or *. and a host: www.example.com, *.example.com")
		}
		out = append(out, host)
	}
	return out, nil
}

func formatPrefixes(in []netip.Prefix) []string {
	out := []string{}
	for _, p := range in {
		out = append(out, token.FormatPrefix(p))
	}
	return out
}

func noNil[T any](in []T) []T {
	if in == nil {
		return []T{}
	}
	return in
}

func seconds(n *int64) (time.Duration, bool) {
	if n == nil {
		return 0, true
	}
	return time.Duration(*n) * time.Second, *n > 0 && *n <= int64(token.MaxKeyTTL/time.Second)
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

func noContent(w http.ResponseWriter) error {
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
	return nil
}
