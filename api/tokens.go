package api

import (
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/token"
)

type newToken struct {
	Scope       []string   `json:"scope"`
	ExpiresIn   *int64     `json:"expires_in"` // seconds
	ExpiresAt   *time.Time `json:"expires_at"`
	IP          []string   `json:"ip"`
	Referer     []string   `json:"referer"`
	Environment string     `json:"environment"`
	Orgawide    bool       `json:"orgawide"`
	Tag         string     `json:"tag"`
	Tags        []string   `json:"tags"`
	UID         string     `json:"uid"`
	SID         string     `json:"sid"`
	Cust        string     `json:"cust"`
}

type wireMinted struct {
	ID          string     `json:"id"` // the claim jti
	PlaybackKey *string    `json:"playback_key"`
	Scope       []string   `json:"scope"`
	Tag         string     `json:"tag"`
	UID         string     `json:"uid"`
	IP          []string   `json:"ip"`
	Referer     []string   `json:"referer"`
	Environment string     `json:"environment"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   time.Time  `json:"expires_at"`
	LastUsedAt  *time.Time `json:"last_used_at"`
	Revoked     bool       `json:"revoked"`
}

func wireOfMinted(m access.Minted) wireMinted {
	return wireMinted{
		ID: m.ID, PlaybackKey: optional(m.PlaybackKey), Scope: noNil(m.Scope), Tag: m.Tag, UID: m.UID,
		IP: formatPrefixes(m.IPs), Referer: noNil(m.Hosts), Environment: m.Environment,
		CreatedAt: m.CreatedAt.UTC(), ExpiresAt: m.ExpiresAt.UTC(), LastUsedAt: utc(m.LastUsedAt), Revoked: m.Revoked,
	}
}

// tokenURLs are ready to be given away; each has the token in it.
type tokenURLs struct {
	Playlist string `json:"playlist"`
	Player   string `json:"player"`
	Embed    string `json:"embed"` // HTML
}

// urlsOf makes them. The player page reads the token from the fragment, which
// no browser sends.
func (s *server) urlsOf(playbackKey, tok string) tokenURLs {
	embed := s.BaseURL + "/embed/" + playbackKey + "#token=" + tok
	return tokenURLs{
		Playlist: s.BaseURL + "/v1/p/" + playbackKey + "/t/" + tok + "/master.m3u8",
		Player:   s.BaseURL + "/watch/" + playbackKey + "#token=" + tok,
		Embed:    `<iframe src="` + embed + `" allow="autoplay; encrypted-media; fullscreen; picture-in-picture" allowfullscreen style="border:0;width:100%;aspect-ratio:16/9"></iframe>`,
	}
}

// ttl is how long the token shall live; 0: the default.
func (t newToken) ttl() (time.Duration, error) {
	if t.ExpiresIn != nil && t.ExpiresAt != nil {
		return 0, invalidRequest("expires_in: give it or expires_at, not both")
	}
	if t.ExpiresAt != nil {
		ttl := time.Until(*t.ExpiresAt).Truncate(time.Second)
		if ttl < time.Second || ttl > token.MaxKeyTTL {
			return 0, invalidRequest("expires_at: want a time to come, at most 365 days ahead")
		}
		return ttl, nil
	}
	ttl, ok := seconds(t.ExpiresIn)
	if !ok {
		return 0, invalidRequest("expires_in: want 1 to 31536000 seconds")
	}
	return ttl, nil
}

// request is what Admin mints.
func (t newToken) request(k access.PlaybackKey, caller access.APIKey) (req access.MintRequest, err error) {
	req = access.MintRequest{
		PlaybackKey: k.ID, Scope: t.Scope, Environment: t.Environment,
		Tag: t.Tag, Tags: t.Tags, UID: t.UID, SID: t.SID, Cust: t.Cust,
	}
	if t.Orgawide {
		req.PlaybackKey = ""
		if req.Environment == "" && caller.Environment != access.EnvironmentAll {
			req.Environment = caller.Environment
		}
		if req.Environment != "" && !caller.In(req.Environment) {
			return req, environmentProblem()
		}
	}
	if req.TTL, err = t.ttl(); err != nil {
		return req, err
	}
	if req.IPs, err = parsePrefixes("ip", t.IP); err != nil {
		return req, err
	}
	req.Hosts, err = parseHosts("referer", t.Referer)
	return req, err
}

// postToken mints a token for a playback key. The answer has it, once.
func (s *server) postToken(w http.ResponseWriter, r *http.Request) error {
	k, err := s.playbackKey(r)
	if err != nil {
		return err
	}
	var body newToken
	if err := decodeBody(r, &body); err != nil {
		return err
	}
	req, err := body.request(k, exchangeOf(r).caller)
	if err != nil {
		return err
	}
	made, tok, err := s.Admin.Mint(r.Context(), req, actor(r))
	if err != nil {
		return s.adminError(r, err, unknownPlaybackKey)
	}
	w.Header().Set("Referrer-Policy", "no-referrer")
	return writeJSON(w, http.StatusCreated, struct {
		wireMinted
		Token string    `json:"token"`
		URLs  tokenURLs `json:"urls"`
	}{wireOfMinted(made), tok, s.urlsOf(k.ID, tok)})
}

// listTokens gives one page of what was minted here, newest first; never a token.
func (s *server) listTokens(w http.ResponseWriter, r *http.Request) error {
	values, after, limit, err := page(r.URL.RawQuery, "playback_key", "tag")
	if err != nil {
		return err
	}
	f := access.MintedFilter{PlaybackKey: values["playback_key"], Tag: values["tag"], After: after, Limit: limit + 1}
	if env := exchangeOf(r).caller.Environment; env != access.EnvironmentAll {
		f.Environment = env
	}
	minted, err := s.Admin.MintedTokens(r.Context(), f)
	if err != nil {
		return s.adminError(r, err, unknownPlaybackKey)
	}
	out := struct {
		Tokens     []wireMinted `json:"tokens"`
		NextCursor *string      `json:"next_cursor"`
	}{Tokens: []wireMinted{}}
	if len(minted) > limit {
		minted = minted[:limit]
		out.NextCursor = nextCursor(true, minted[limit-1].CreatedAt, minted[limit-1].ID)
	}
	for _, m := range minted {
		out.Tokens = append(out.Tokens, wireOfMinted(m))
	}
	return writeJSON(w, http.StatusOK, out)
}

type inspection struct {
	Token   string `json:"token"`
	For     string `json:"for"` // a hash or a playback key; empty: what the token is for
	Scope   string `json:"scope"`
	IP      string `json:"ip"`
	Origin  string `json:"origin"`
	Referer string `json:"referer"`
	Carrier string `json:"carrier"`
}

var carriers = []string{"header", "path", "query", "cookie"} // in the order of access.Carrier

func (i inspection) request() (access.Request, error) {
	req := access.Request{Token: i.Token, PathID: i.For, Origin: i.Origin, Referer: i.Referer}
	if i.Token == "" {
		return req, invalidRequest("token: want one")
	}
	if i.Scope != "" {
		if !slices.Contains([]string{"v", "k", "t", "s", "c", "d"}, i.Scope) {
			return req, invalidRequest("scope: want v, k, t, s, c or d")
		}
		req.Scope = i.Scope[0]
	}
	if i.IP != "" {
		addr, err := netip.ParseAddr(i.IP)
		if err != nil {
			return req, invalidRequest("ip: want the client's address")
		}
		req.Client = addr.Unmap().WithZone("")
	}
	if i.Carrier != "" {
		at := slices.Index(carriers, i.Carrier)
		if at < 0 {
			return req, invalidRequest("carrier: want header, path, query or cookie")
		}
		req.Carrier = access.Carrier(at)
	}
	return req, nil
}

type wireCheck struct {
	Name    string  `json:"name"`
	Outcome string  `json:"outcome"` // passed, failed, skipped
	Code    *string `json:"code"`
}

// postInspect says what would become of a token, check by check, by the code
// that decides.
func (s *server) postInspect(w http.ResponseWriter, r *http.Request) error {
	var body inspection
	if err := decodeBody(r, &body); err != nil {
		return err
	}
	req, err := body.request()
	if err != nil {
		return err
	}
	grant, checks, refusal := s.Admin.Inspect(r.Context(), req)
	if refusal != nil && !access.Refused(refusal) {
		return s.adminError(r, refusal, unknownPlaybackKey)
	}
	if k := grant.PlaybackKey; k != nil && !exchangeOf(r).caller.In(k.Environment) {
		return environmentProblem()
	}
	w.Header().Set("Referrer-Policy", "no-referrer")
	return writeJSON(w, http.StatusOK, struct {
		Valid  bool        `json:"valid"`
		Code   *string     `json:"code"`
		Checks []wireCheck `json:"checks"`
		Token  *wireGrant  `json:"token"`
	}{refusal == nil, codeOf(refusal), wireOfChecks(checks), wireOfGrant(grant)})
}

func codeOf(err error) *string {
	if err == nil {
		return nil
	}
	code := toProblem(err).Code
	return &code
}

// wireOfChecks lists all checks; what was not reached is skipped.
func wireOfChecks(made []token.Check) []wireCheck {
	var out []wireCheck
	for _, name := range access.Checks {
		c := wireCheck{Name: name, Outcome: "skipped"}
		if i := slices.IndexFunc(made, func(m token.Check) bool { return m.Name == name }); i >= 0 {
			c.Outcome = "passed"
			if err := made[i].Err; err != nil {
				c.Outcome, c.Code = "failed", codeOf(err)
			}
		}
		out = append(out, c)
	}
	return out
}

// wireGrant is what a token with a good signature says.
type wireGrant struct {
	ID          string     `json:"id"` // for revocations
	Form        string     `json:"form"`
	KID         *string    `json:"kid"`
	Subject     string     `json:"sub"`
	Audience    []string   `json:"aud"`
	Issuer      *string    `json:"iss"`
	ExpiresAt   time.Time  `json:"expires_at"`
	NotBefore   *time.Time `json:"not_before"`
	IssuedAt    *time.Time `json:"issued_at"`
	IP          []string   `json:"ip"`
	Referer     []string   `json:"referer"`
	Environment *string    `json:"env"`
	JTI         *string    `json:"jti"`
	SID         *string    `json:"sid"`
	UID         *string    `json:"uid"`
	Tag         *string    `json:"tag"`
	Tags        []string   `json:"tags"`
	Cust        *string    `json:"cust"`
	Hash        *string    `json:"hash"`         // the title that was asked for
	PlaybackKey *string    `json:"playback_key"` // whose policy holds
}

func wireOfGrant(g access.Grant) *wireGrant {
	if g.ID == "" || g.ExpiresAt.IsZero() {
		return nil // no good signature: it says nothing
	}
	moment := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return utc(&t)
	}
	w := &wireGrant{
		ID: g.ID, Form: string(rune(g.Form)), KID: optional(g.KeyID), Subject: g.Title(), Audience: noNil(g.Audience), Issuer: optional(g.Issuer),
		ExpiresAt: g.ExpiresAt.UTC(), NotBefore: moment(g.NotBefore), IssuedAt: moment(g.IssuedAt),
		IP: formatPrefixes(g.IP), Referer: noNil(g.Ref), Environment: optional(g.Env),
		JTI: optional(g.JTI), SID: optional(g.SID), UID: optional(g.UID), Tag: optional(g.Tag), Tags: noNil(g.Tags), Cust: optional(g.Cust),
		Hash: optional(g.Hash),
	}
	if g.PlaybackKey != nil {
		w.PlaybackKey = &g.PlaybackKey.ID
	}
	return w
}
