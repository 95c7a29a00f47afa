package access

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/token"
)

func TestSubjects(t *testing.T) {
	t.Parallel()
	g := node(t, database(t))
	playbackKey(t, g, PlaybackKey{ID: "film-a1", Policy: Policy{Private: true}})
	playbackKey(t, g, PlaybackKey{ID: "film-a2", Policy: Policy{Private: true}})
	playbackKey(t, g, PlaybackKey{ID: "film-b1", Hash: hashB, Policy: Policy{Private: true}})
	playbackKey(t, g, PlaybackKey{ID: "open-a", Policy: Policy{Private: false}})
	if _, err := g.pool.Exec(t.Context(), `INSERT INTO asset_policies (hash, external_id) VALUES ($1, 'cms:17.a')`, hashA); err != nil {
		t.Fatal(err)
	}
	g.mustRefresh(t)
	signs := signingKey(t, g, SigningKey{})
	wide := signingKey(t, g, SigningKey{AllowWildcard: true})
	of := func(sub string) string { return mint(t, signs, token.Claims{Subject: sub}) }
	all := mint(t, wide, token.Claims{Subject: "*"})
	h := mintH(t, token.Claims{Hash: hashA})
	tests := []struct{ name, tok, id, code string }{
		{"H at its hash", h, hashA, ""},
		{"H at a playback key of its asset", h, "film-a1", ""},
		{"H at another hash", h, hashB, token.CodeMismatch},
		{"H at a playback key of another asset", h, "film-b1", token.CodeMismatch},
		{"H at a playback key that does not exist", h, "film-zz", token.CodeMismatch},
		{"J for a playback key, there", of("film-a1"), "film-a1", ""},
		{"J for a playback key, at its hash", of("film-a1"), hashA, ""},
		{"J for a playback key, at its sibling", of("film-a1"), "film-a2", token.CodeMismatch},
		{"J for a playback key, at an open sibling", of("film-a1"), "open-a", token.CodeMismatch},
		{"J for a playback key, at another hash", of("film-a1"), hashB, token.CodeMismatch},
		{"J for a playback key, at a hash that nobody has", of("film-a1"), strings.Repeat("0", 64), token.CodeMismatch},
		{"J for a hash, there", of(hashA), hashA, ""},
		{"J for a hash, at a playback key", of(hashA), "film-a2", ""},
		{"J for a hash, elsewhere", of(hashA), "film-b1", token.CodeMismatch},
		{"J for an external id, at its hash", of("cms:17.a"), hashA, ""},
		{"J for an external id, at a playback key", of("cms:17.a"), "film-a1", ""},
		{"J for an external id, at another asset", of("cms:17.a"), "film-b1", token.CodeMismatch},
		{"J for an external id, at another hash", of("cms:17.a"), hashB, token.CodeMismatch},
		{"J for an external id that nobody has", of("cms:18"), hashA, token.CodeMismatch},
		{"an external id is no path", of("cms:17.a"), "cms:17.a", "not_found"},
		{"J for nothing that exists", of("film-zz"), "film-zz", "not_found"},
		{"J for nothing that exists, at a hash", of("film-zz"), hashA, token.CodeMismatch},
		{"J for a prefix", of("film-a"), "film-a1", token.CodeMismatch},
		{"J at a longer id", of("film-a1"), "film-a11", token.CodeMismatch},
		{"case counts", of("Film-a1"), "film-a1", token.CodeMismatch},
		{"path parameter", of("film-a1"), "film-a1;x=1", token.CodeMismatch},
		{"dot segment", of("film-a1"), "film-a1/../film-b1", token.CodeMismatch},
		{"encoded", of("film-a1"), "film%2da1", token.CodeMismatch},
		{"wildcard", all, "film-b1", ""},
		{"wildcard at a hash", all, hashB, ""},
		{"wildcard at nothing", all, "film-zz", "not_found"},
		{"wildcard of a key that may not", of("*"), "film-b1", token.CodeNotAllowed},
		{"nothing, private", "", "film-a1", "token_required"},
		{"nothing, does not exist", "", "film-zz", "token_required"},
		{"nothing, hash", "", hashA, "token_required"},
		{"nothing, open", "", "open-a", ""},
		{"garbage at an open one", "garbage", "open-a", token.CodeInvalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantCode(t, g, ask(tt.tok, tt.id), tt.code) })
	}
	if _, err := g.pool.Exec(t.Context(), `UPDATE asset_policies SET hash = $1`, hashB); err != nil {
		t.Fatal(err)
	}
	g.mustRefresh(t)
	wantCode(t, g, ask(of("cms:17.a"), hashA), token.CodeMismatch)
	wantCode(t, g, ask(of("cms:17.a"), hashB), "")
	for _, sql := range []string{`UPDATE asset_policies SET external_id = 'film-a1'`, `INSERT INTO asset_policies (hash, external_id) VALUES (repeat('0', 64), 'film-a2')`} {
		if _, err := g.pool.Exec(t.Context(), sql); err == nil {
			t.Error("a word is a playback key and an external id: " + sql)
		}
	}
	if _, err := g.pool.Exec(t.Context(), `UPDATE asset_policies SET external_id = 'word'`); err != nil {
		t.Fatal(err)
	}
	if _, err := g.CreatePlaybackKey(t.Context(), PlaybackKey{ID: "word", Hash: hashA, Environment: "production"}, admin); !errors.Is(err, ErrExists) {
		t.Errorf("a word is an external id and a playback key: %v", err)
	}
	grant, err := g.Authorize(t.Context(), ask(of("film-a1"), hashA))
	if err != nil || grant.Hash != hashA || grant.PlaybackKey.ID != "film-a1" || grant.Subject != "film-a1" {
		t.Errorf("%+v, %v", grant, err)
	}
	if grant, err = g.Authorize(t.Context(), ask(of("film-a1"), "film-a2")); grant.ID == "" || err == nil {
		t.Error("a refusal after the signature has no claims for the record")
	}
	if grant, err = g.Authorize(t.Context(), ask(of("film-a1")+"A", "film-a1")); grant.ID != "" || grant.Subject != "" || err == nil {
		t.Errorf("a refusal before the signature has claims: %+v", grant)
	}
}

// A private title is opened by tokens for its playback keys, at its hash too,
// and by tokens for its hash at its playback keys. Nodes hear of the change.
func TestPrivateTitles(t *testing.T) {
	t.Parallel()
	pool := database(t)
	g, other := node(t, pool), node(t, pool)
	playbackKey(t, g, PlaybackKey{ID: "film-a1", Policy: Policy{Private: true}})
	other.mustRefresh(t)
	if _, err := pool.Exec(t.Context(), `INSERT INTO asset_policies (hash, external_id) VALUES ($1, 'cms:17')`, hashA); err != nil {
		t.Fatal(err)
	}
	signs := signingKey(t, g, SigningKey{AllowWildcard: true})
	other.mustRefresh(t)
	of := func(sub string) string { return mint(t, signs, token.Claims{Subject: sub}) }
	h := mintH(t, token.Claims{Hash: hashA})
	set := func(private bool) {
		t.Helper()
		if _, err := pool.Exec(t.Context(), `UPDATE asset_policies SET private = $1`, private); err != nil {
			t.Fatal(err)
		}
		other.mustRefresh(t)
	}
	check := func(atHash string) {
		t.Helper()
		for _, tok := range []string{h, of(hashA), of("cms:17"), of("*")} {
			wantCode(t, other, ask(tok, hashA), atHash)
			wantCode(t, other, ask(tok, "film-a1"), "")
		}
		wantCode(t, other, ask(of("film-a1"), hashA), "")
		wantCode(t, other, ask(of("film-a1"), "film-a1"), "")
		wantCode(t, other, ask(h, ""), "") // what it says of itself
		wantCode(t, other, ask(mintH(t, token.Claims{Hash: hashB}), hashB), "")
	}
	for range 2 {
		check("")
		set(true)
		check(token.CodeMismatch)
		set(false)
	}
	if _, err := pool.Exec(t.Context(), `INSERT INTO asset_policies (hash, private) VALUES ($1, true)`, hashB); err != nil {
		t.Fatal(err)
	}
	other.mustRefresh(t)
	wantCode(t, other, ask(mintH(t, token.Claims{Hash: hashB}), hashB), token.CodeMismatch)
	if _, err := pool.Exec(t.Context(), `DELETE FROM asset_policies WHERE hash = $1`, hashB); err != nil {
		t.Fatal(err)
	}
	other.mustRefresh(t)
	wantCode(t, other, ask(mintH(t, token.Claims{Hash: hashB}), hashB), "")
}

func TestEnvironments(t *testing.T) {
	t.Parallel()
	g := node(t, database(t))
	playbackKey(t, g, PlaybackKey{ID: "dev", Environment: "development", Policy: Policy{Private: true}})
	playbackKey(t, g, PlaybackKey{ID: "prod", Policy: Policy{Private: true}})
	dev := signingKey(t, g, SigningKey{Environment: "development", AllowWildcard: true})
	all := signingKey(t, g, SigningKey{AllowWildcard: true})
	wild := token.Claims{Subject: "*"}
	devOnly := token.Claims{Subject: "*", Env: "development"}
	for _, tt := range []struct {
		tok, id, code string
	}{
		{mint(t, dev, wild), "dev", ""},
		{mint(t, dev, wild), "prod", token.CodeNotAllowed},
		{mint(t, dev, wild), hashA, token.CodeNotAllowed}, // this installation is production
		{mint(t, all, wild), "dev", ""},
		{mint(t, all, wild), "prod", ""},
		{mint(t, all, devOnly), "dev", ""},
		{mint(t, all, devOnly), "prod", token.CodeNotAllowed},
		{mint(t, all, devOnly), hashA, token.CodeNotAllowed},
		// Of another title nothing is told, its environment neither.
		{mint(t, dev, token.Claims{Subject: "dev"}), "prod", token.CodeMismatch},
		{mint(t, dev, token.Claims{Subject: "dev"}), "none", token.CodeMismatch},
		{mintH(t, token.Claims{Hash: hashA, Env: "staging"}), hashA, token.CodeNotAllowed},
		{mintH(t, token.Claims{Hash: hashA, Env: "production"}), hashA, ""},
	} {
		wantCode(t, g, ask(tt.tok, tt.id), tt.code)
	}
	session := func(tok, id string) string {
		grant, err := g.Authorize(t.Context(), ask(tok, id))
		if err != nil {
			t.Fatal(err)
		}
		s, err := g.Session(grant)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	wantCode(t, g, ask(session(mint(t, dev, wild), "dev"), "prod"), token.CodeNotAllowed)
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	g := node(t, database(t))
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	lan := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	policies := map[string]Policy{
		"plain":    {Private: true},
		"lan":      {Private: true, IPs: lan},
		"page":     {Private: true, Hosts: []string{"www.good.com", "*.good.com"}},
		"page-or":  {Private: true, Hosts: []string{"www.good.com"}, AllowNoReferer: true},
		"early":    {Private: true, NotBefore: &future},
		"late":     {Private: true, NotAfter: &past},
		"in-time":  {Private: true, NotBefore: &past, NotAfter: &future},
		"short":    {Private: true, MaxTTL: time.Minute},
		"download": {Private: true, Downloads: true},
		"open-lan": {IPs: lan[1:]},
		"open-web": {Hosts: []string{"www.good.com"}},
	}
	for id, p := range policies {
		playbackKey(t, g, PlaybackKey{ID: id, Policy: p})
	}
	signs := signingKey(t, g, SigningKey{AllowWildcard: true})
	wild := func(c token.Claims) string { c.Subject = "*"; return mint(t, signs, c) }
	v := wild(token.Claims{})
	from := func(addr string) func(*Request) { return func(r *Request) { r.Client = netip.MustParseAddr(addr) } }
	origin := func(o string) func(*Request) { return func(r *Request) { r.Origin = o } }
	referer := func(o string) func(*Request) { return func(r *Request) { r.Referer = o } }
	scope := func(s byte) func(*Request) { return func(r *Request) { r.Scope = s } }
	with := func(p ...string) []netip.Prefix {
		var out []netip.Prefix
		for _, s := range p {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	tests := []struct {
		name, tok, id string
		change        func(*Request)
		code          string
	}{
		{"address of the policy", v, "lan", from("192.0.2.200"), ""},
		{"mapped into IPv6", v, "lan", from("::ffff:192.0.2.200"), ""},
		{"IPv6", v, "lan", from("2001:db8::1"), ""},
		{"another address", v, "lan", from("198.51.100.1"), token.CodeIP},
		{"no address", v, "lan", func(r *Request) { r.Client = netip.Addr{} }, token.CodeIP},
		{"address of the token", wild(token.Claims{IP: with("198.51.100.1/32")}), "plain", from("198.51.100.1"), ""},
		{"not of the token", wild(token.Claims{IP: with("198.51.100.1/32")}), "plain", from("198.51.100.2"), token.CodeIP},
		{"of the token, not of the policy", wild(token.Claims{IP: with("0.0.0.0/0")}), "lan", from("198.51.100.1"), token.CodeIP},
		{"of the policy, not of the token", wild(token.Claims{IP: with("198.51.100.0/24")}), "lan", from("192.0.2.1"), token.CodeIP},

		{"page", v, "page", origin("https://www.good.com"), ""},
		{"page, another port and case", v, "page", origin("HTTPS://WWW.Good.com:8443"), ""},
		{"page, root dot", v, "page", origin("https://www.good.com."), ""},
		{"deep below", v, "page", origin("https://a.b.good.com"), ""},
		{"apex", v, "page", origin("https://good.com"), token.CodeReferer},
		{"suffix of a name", v, "page", origin("https://evilgood.com"), token.CodeReferer},
		{"prefix of a name", v, "page", origin("https://www.good.com.evil.io"), token.CodeReferer},
		{"user info", v, "page", origin("https://www.good.com@evil.io"), token.CodeReferer},
		{"user info, the other way", v, "page", origin("https://evil.io@www.good.com"), token.CodeReferer},
		{"null", v, "page", origin("null"), token.CodeReferer},
		{"null beside a good referer", v, "page", func(r *Request) { r.Origin, r.Referer = "null", "https://www.good.com/x" }, token.CodeReferer},
		{"file", v, "page", origin("file://www.good.com"), token.CodeReferer},
		{"garbage", v, "page", origin("https://[::1"), token.CodeReferer},
		{"referer", v, "page", referer("https://www.good.com/watch?x=https://evil.io"), ""},
		{"referer that mentions", v, "page", referer("https://evil.io/https://www.good.com/"), token.CodeReferer},
		{"neither", v, "page", func(*Request) {}, token.CodeReferer},
		{"neither, allowed", v, "page-or", func(*Request) {}, ""},
		{"another page, where none is allowed", v, "page-or", origin("https://evil.io"), token.CodeReferer},
		{"page of the token", wild(token.Claims{Ref: []string{"*.good.com"}}), "plain", origin("https://x.good.com"), ""},
		{"not of the token", wild(token.Claims{Ref: []string{"*.good.com"}}), "plain", origin("https://good.com"), token.CodeReferer},
		{"token's page, neither sent", wild(token.Claims{Ref: []string{"good.com"}}), "plain", func(*Request) {}, token.CodeReferer},
		{"token's page, neither sent, allowed", wild(token.Claims{Ref: []string{"good.com"}}), "page-or", func(*Request) {}, ""},
		{"token's page wider than the policy", wild(token.Claims{Ref: []string{"evil.io"}}), "page", origin("https://evil.io"), token.CodeReferer},

		{"too early", v, "early", nil, token.CodeKeyNotActive},
		{"too late", v, "late", nil, token.CodeKeyNotActive},
		{"in time", v, "in-time", nil, ""},
		{"longer than the policy's ttl", v, "short", nil, token.CodeTTLExceeded},
		{"shorter", wild(token.Claims{ExpiresAt: time.Now().Add(50 * time.Second)}), "short", nil, ""},

		{"scope of another class", wild(token.Claims{Audience: []string{"t"}}), "plain", nil, token.CodeScope},
		{"scope k", wild(token.Claims{Audience: []string{"k"}}), "plain", nil, ""},
		{"k is no v", wild(token.Claims{Audience: []string{"k"}}), "plain", scope('v'), token.CodeScope},
		{"v, downloads are off", v, "plain", scope('d'), token.CodeScope},
		{"d, downloads are off", wild(token.Claims{Audience: []string{"d"}}), "plain", scope('d'), token.CodeScope},
		{"v, downloads are on", v, "download", scope('d'), ""},
		{"d alone", wild(token.Claims{Audience: []string{"d"}}), "download", scope('v'), token.CodeScope},

		{"open, address", "", "open-lan", from("2001:db8::2"), ""},
		{"open, another address", "", "open-lan", from("192.0.2.1"), token.CodeIP},
		{"open, page", "", "open-web", origin("https://www.good.com"), ""},
		{"open, another page", "", "open-web", origin("https://evil.io"), token.CodeReferer},
		{"open, download", "", "open-web", func(r *Request) { r.Origin, r.Scope = "https://www.good.com", 'd' }, token.CodeScope},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := ask(tt.tok, tt.id)
			if tt.change != nil {
				tt.change(&req)
			}
			wantCode(t, g, req, tt.code)
			// A session is held against the same.
			if grant, err := g.Authorize(t.Context(), ask(tt.tok, tt.id)); err == nil && tt.tok != "" {
				if req.Token, err = g.Session(grant); err != nil {
					t.Fatal(err)
				}
				req.Carrier = CarrierPath
				wantCode(t, g, req, tt.code)
			}
		})
	}
}

func TestPlaybackKeyLife(t *testing.T) {
	t.Parallel()
	pool := database(t)
	g := node(t, pool)
	playbackKey(t, g, PlaybackKey{ID: "one", Policy: Policy{Private: true}})
	playbackKey(t, g, PlaybackKey{ID: "two", Policy: Policy{Private: true}})
	h := mintH(t, token.Claims{Hash: hashA})
	signs := signingKey(t, g, SigningKey{})
	one, two := mint(t, signs, token.Claims{Subject: "one"}), mint(t, signs, token.Claims{Subject: "two"})
	wantCode(t, g, ask(one, "one"), "")

	disable := func(status string) func(*PlaybackKey) error {
		return func(k *PlaybackKey) error { k.Status = status; return nil }
	}
	if _, err := g.UpdatePlaybackKey(t.Context(), "one", admin, disable(StatusDisabled)); err != nil {
		t.Fatal(err)
	}
	g.mustRefresh(t)
	wantCode(t, g, ask(one, "one"), token.CodeKeyNotActive)
	wantCode(t, g, ask(one, hashA), token.CodeKeyNotActive)
	if _, err := g.UpdatePlaybackKey(t.Context(), "one", admin, disable(StatusActive)); err != nil {
		t.Fatal(err)
	}
	g.mustRefresh(t)
	wantCode(t, g, ask(one, "one"), "")

	if err := g.RevokePlaybackKey(t.Context(), "one", admin); err != nil {
		t.Fatal(err)
	}
	g.mustRefresh(t)
	wantCode(t, g, ask(one, "one"), token.CodeKeyRevoked)
	wantCode(t, g, ask(one, hashA), token.CodeKeyRevoked)
	wantCode(t, g, ask(h, "one"), token.CodeKeyRevoked)
	wantCode(t, g, ask(two, "two"), "")
	wantCode(t, g, ask(h, hashA), "")
	for name, err := range map[string]error{
		"revoked twice": g.RevokePlaybackKey(t.Context(), "one", admin),
		"back to life":  second(g.UpdatePlaybackKey(t.Context(), "one", admin, disable(StatusActive))),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := g.CreatePlaybackKey(t.Context(), PlaybackKey{ID: "one", Hash: hashB, Environment: "production"}, admin); !errors.Is(err, ErrExists) {
		t.Errorf("the id of a revoked one is given again: %v", err)
	}
	// The asset goes, and its playback keys with it.
	if _, err := pool.Exec(t.Context(), `DELETE FROM assets WHERE hash = $1`, hashA); err != nil {
		t.Fatal(err)
	}
	g.mustRefresh(t)
	wantCode(t, g, ask(two, "two"), token.CodeKeyRevoked)

	var entries int
	if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM audit_log WHERE action LIKE 'playback_key.%' AND actor = 'api_key' AND details->>'request_id' = 'r'`).Scan(&entries); err != nil || entries != 5 {
		t.Errorf("%d audit entries, %v", entries, err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestPlaybackKeysThatAreRefused(t *testing.T) {
	t.Parallel()
	g := node(t, database(t))
	good := PlaybackKey{ID: "good", Hash: hashA, Environment: "production"}
	now := time.Now()
	for name, spoil := range map[string]func(*PlaybackKey){
		"one character":  func(k *PlaybackKey) { k.ID = "v" },
		"two characters": func(k *PlaybackKey) { k.ID = "ab" },
		"star":           func(k *PlaybackKey) { k.ID = "*" },
		"a hash":         func(k *PlaybackKey) { k.ID = hashB },
		"a slash":        func(k *PlaybackKey) { k.ID = "a/b" },
		"a dot":          func(k *PlaybackKey) { k.ID = "a.b" },
		"percent":        func(k *PlaybackKey) { k.ID = "a%2e" },
		"no hash":        func(k *PlaybackKey) { k.Hash = "x" },
		"environment":    func(k *PlaybackKey) { k.Environment = "all" },
		"times":          func(k *PlaybackKey) { k.NotBefore, k.NotAfter = &now, &now },
		"ttl":            func(k *PlaybackKey) { k.MaxTTL = 366 * 24 * time.Hour },
		"label":          func(k *PlaybackKey) { k.Label = strings.Repeat("x", 201) },
	} {
		k := good
		spoil(&k)
		if _, err := g.CreatePlaybackKey(t.Context(), k, admin); err == nil {
			t.Errorf("%s: created", name)
		} else if !errors.As(err, new(InvalidError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	unknown := good
	unknown.Hash = strings.Repeat("0", 64)
	if _, err := g.CreatePlaybackKey(t.Context(), unknown, admin); !errors.Is(err, ErrAssetNotFound) {
		t.Errorf("of an asset that nobody knows: %v", err)
	}
}
