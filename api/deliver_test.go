package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/token"
)

// keyGate decides about playback keys as access.Gate does, without Postgres;
// the end-to-end tests have the real one.
type keyGate struct {
	verifier *token.Verifier
	keys     map[string]*access.PlaybackKey
	seen     []access.Request
}

func (g *keyGate) Authorize(_ context.Context, req access.Request) (access.Grant, error) {
	g.seen = append(g.seen, req)
	k := g.keys[req.PathID]
	if req.Token == "" {
		if k == nil || k.Private {
			return access.Grant{}, access.ErrTokenRequired
		}
		grant := access.Grant{Anonymous: true, Hash: k.Hash, PlaybackKey: k}
		if !grant.Allows(req.Scope, k.Downloads) {
			return grant, token.Error{Code: token.CodeScope}
		}
		return grant, nil
	}
	verified, _, err := g.verifier.Inspect(req.Token, time.Now())
	grant := access.Grant{Grant: verified, PlaybackKey: k}
	if err != nil {
		return grant, err
	}
	downloads := k != nil && k.Downloads
	switch {
	case req.PathID == "" || verified.Title() == req.PathID:
		grant.Hash = verified.Title()
	case k == nil || verified.Title() != k.Hash:
		return grant, token.Error{Code: token.CodeMismatch}
	default:
		grant.Hash = k.Hash
	}
	if k != nil {
		grant.Hash = k.Hash
	}
	if !verified.Allows(req.Scope, downloads) {
		return grant, token.Error{Code: token.CodeScope}
	}
	return grant, nil
}

func (g *keyGate) Session(grant access.Grant) (string, error) {
	if grant.Anonymous {
		return "", nil
	}
	return g.verifier.Sessions.Seal(grant.Grant)
}

const (
	pkPrivate = "pk_private"
	pkPublic  = "pk_public"
	pkOther   = "pk_other" // of hashC
	pkLoads   = "pk_loads" // with downloads
)

func newDeliveryRig(t *testing.T, change ...func(*Config)) (*rig, *keyGate) {
	t.Helper()
	sealer, err := token.NewSealer([]byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	shared, err := token.NewHMAC([]byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := token.NewSymmetricKey("kid1", []byte(testSecret), token.Rules{})
	if err != nil {
		t.Fatal(err)
	}
	key := func(kid string) *token.Key {
		if kid == "kid1" {
			return signer
		}
		return nil
	}
	g := &keyGate{verifier: &token.Verifier{Secret: shared, Sessions: sealer, Key: key}, keys: map[string]*access.PlaybackKey{}}
	for id, k := range map[string]access.PlaybackKey{
		pkPrivate: {Hash: hashA, Policy: access.Policy{Private: true}},
		pkPublic:  {Hash: hashA},
		pkOther:   {Hash: hashC, Policy: access.Policy{Private: true}},
		pkLoads:   {Hash: hashA, Policy: access.Policy{Private: true, Downloads: true}},
	} {
		k.ID = id
		g.keys[id] = &k
	}
	r := newRig(t, append([]func(*Config){func(c *Config) { c.Gate = g }}, change...)...)
	for name, doc := range carried {
		kind := kindHLS
		if strings.HasSuffix(name, ".mpd") {
			kind = kindDASH
		}
		r.pubs.add(r.store, hashA, name, kind, []byte(strings.ReplaceAll(doc, "HASH", hashA)), true)
	}
	r.pubs.add(r.store, hashA, "eme.m3u8", kindHLS, []byte(masterPlaylist), true)
	jpeg := aJPEG(t, 320, 180)
	r.addPart(hashA, "poster.jpg", "image/jpeg", jpeg)
	r.addPart(hashA, "storyboard-0.jpg", "image/jpeg", jpeg)
	r.addPart(hashA, "storyboard.vtt", "text/vtt", []byte(storyboardVTT))
	r.addPart(hashA, "static/720p.mp4", "video/mp4", []byte(segment))
	r.addPart(hashA, "text/en/full.vtt", "text/vtt", []byte("WEBVTT\n"))
	return r, g
}

// addPart adds an object of a current part.
func (r *rig) addPart(hash, name, kind string, data []byte) {
	first, _, _ := strings.Cut(name, "/")
	r.pubs.objects[objectKey(hash, testPart, name)] = Object{
		Name: name, ContentType: kind, Size: int64(len(data)), SHA256: sha256.Sum256(data), Encrypted: true, Kind: first,
	}
	r.store.data[objectKey(hash, testPart, name)] = data
}

const storyboardVTT = "WEBVTT\n\n00:00.000 --> 00:05.000\nstoryboard-0.jpg#xywh=0,0,160,90\n\n00:05.000 --> 00:10.000\nstoryboard-0.jpg#xywh=160,0,160,90\n"

func (g *keyGate) mint(t *testing.T, c token.Claims) string {
	t.Helper()
	if c.ExpiresAt.IsZero() {
		c.ExpiresAt = time.Now().Add(5 * time.Minute)
	}
	signer, err := token.NewSymmetricSigner("kid1", []byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	tok, err := signer.Mint(c)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// good is a token for everything under a playback key.
func (g *keyGate) good(t *testing.T, pk string) string {
	return g.mint(t, token.Claims{Subject: pk, Audience: []string{"v"}})
}

func TestDeliveryByEachCarrier(t *testing.T) {
	rig, gate := newDeliveryRig(t)
	tok := gate.good(t, pkPrivate)
	grant, err := gate.verifier.Verify(tok, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	session, err := gate.verifier.Sessions.Seal(grant)
	if err != nil {
		t.Fatal(err)
	}
	base := "/v1/p/" + pkPrivate + "/"
	type way struct {
		path    func(string) string
		headers []string
		key     string // where the playlist says the key is
		child   string // before {prefix}
		control string
	}
	plain := func(p string) string { return base + p }
	for name, way := range map[string]way{
		"header":       {plain, []string{"Authorization: Bearer " + tok}, base + "key", "", privateShortControl},
		"path":         {func(p string) string { return base + "t/" + tok + "/" + p }, nil, base + "t/" + tok + "/key", "", privateShortControl},
		"query, jwt":   {func(p string) string { return base + p + "?jwt=" + tok }, nil, base + "t/" + session + "/key", "t/" + session + "/", secretControl},
		"query, token": {func(p string) string { return base + p + "?token=" + tok }, nil, base + "t/" + session + "/key", "t/" + session + "/", secretControl},
		"cookie":       {plain, []string{"Cookie: " + cookieName + "=" + session}, base + "key", "", privateShortControl},
	} {
		t.Run(name, func(t *testing.T) {
			rig.t = t
			master := rig.do("GET", way.path("ts/master.m3u8"), "", way.headers...)
			if want := "../" + way.child + testPrefix + "/ts/720p/media.m3u8"; master.StatusCode != 200 || !strings.Contains(string(master.body), want) {
				t.Fatalf("%d %s", master.StatusCode, master.body)
			}
			if got := master.Header.Get("Cache-Control"); got != way.control {
				t.Errorf("cache control %q", got)
			}
			media := rig.do("GET", way.path(testPrefix+"/ts/720p/media.m3u8"), "", way.headers...)
			if n := strings.Count(string(media.body), `URI="`+way.key+`?kid=`); media.StatusCode != 200 || n != 2 {
				t.Errorf("%d %s", media.StatusCode, media.body)
			}
			if again := rig.do("GET", way.path(testPrefix+"/ts/720p/media.m3u8"), "", way.headers...); !bytes.Equal(again.body, media.body) {
				t.Error("the key's address is another one the second time")
			}
			seg := rig.do("GET", way.path(segmentPath), "", way.headers...)
			if seg.StatusCode != 200 || string(seg.body) != segment || !strings.HasPrefix(seg.Header.Get("Cache-Control"), "private") {
				t.Errorf("segment: %d %v", seg.StatusCode, seg.Header)
			}
			if part := rig.do("GET", way.path(segmentPath), "", append([]string{"Range: bytes=0-4"}, way.headers...)...); part.StatusCode != 206 || string(part.body) != "01234" {
				t.Errorf("range: %d", part.StatusCode)
			}
			cmaf := rig.do("GET", way.path("cmaf/master.m3u8"), "", way.headers...)
			if want := "\n../" + way.child + testPrefix + "/cmaf/720p/media.m3u8"; cmaf.StatusCode != 200 || !strings.Contains(string(cmaf.body), want) {
				t.Errorf("cmaf: %d %s", cmaf.StatusCode, cmaf.body)
			}
			// One address for all players: of an encrypted title the output with AES-128.
			any := rig.do("GET", way.path("master.m3u8"), "", way.headers...)
			if want := "\n" + way.child + testPrefix + "/ts/720p/media.m3u8"; any.StatusCode != 200 || !strings.Contains(string(any.body), want) {
				t.Errorf("any: %d %s", any.StatusCode, any.body)
			}
			for _, p := range []string{"manifest.mpd", "eme.m3u8", "poster.jpg", "storyboard.vtt", "storyboard-0.jpg", "text/en/full.vtt", testPart + "/poster.jpg"} {
				if a := rig.do("GET", way.path(p), "", way.headers...); a.StatusCode != 200 {
					t.Errorf("%s: %d %s", p, a.StatusCode, a.body)
				}
			}
			// What the playlist says about the key is where it is.
			a := rig.do("GET", way.key, "", way.headers...)
			if a.StatusCode != 200 || len(a.body) != 16 || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("key: %d %s", a.StatusCode, a.body)
			}
		})
	}
}

// TestDeliveryScopes: each class of objects has its scope.
func TestDeliveryScopes(t *testing.T) {
	rig, gate := newDeliveryRig(t)
	paths := map[string]string{
		"master.m3u8": "v", "manifest.mpd": "v", segmentPath: "v", testPrefix + "/ts/720p/media.m3u8": "v", "playback.json": "v",
		"key": "vk", "poster.jpg": "vt", testPart + "/poster.jpg": "vt", "thumbnail.jpg": "vt", "storyboard.vtt": "vs", "storyboard-0.jpg": "vs",
		testPart + "/storyboard-0.jpg": "vs", "text/en/full.vtt": "vc", testPart + "/text/en/full.vtt": "vc", "static/720p.mp4": "d", testPart + "/static/720p.mp4": "d",
	}
	for _, scope := range []string{"v", "k", "t", "s", "c", "d"} {
		bearer := "Authorization: Bearer " + gate.mint(t, token.Claims{Subject: pkPrivate, Audience: []string{scope}})
		for path, opens := range paths {
			a := rig.do("GET", "/v1/p/"+pkPrivate+"/"+path, "", bearer)
			want := 403
			if strings.Contains(opens, scope) {
				want = 200
			}
			if a.StatusCode != want || (want == 403 && a.code() != "insufficient_scope") {
				t.Errorf("scope %s, %s: %d %s", scope, path, a.StatusCode, a.code())
			}
		}
	}
	// Downloads are inside v only where the policy says so.
	if a := rig.do("GET", "/v1/p/"+pkLoads+"/static/720p.mp4", "", "Authorization: Bearer "+gate.good(t, pkLoads)); a.StatusCode != 200 {
		t.Errorf("downloads by policy: %d", a.StatusCode)
	}
}

func TestPublicPlaybackKey(t *testing.T) {
	rig, gate := newDeliveryRig(t)
	base := "/v1/p/" + pkPublic + "/"
	for _, path := range []string{"master.m3u8", segmentPath, "poster.jpg", "playback.json", "key"} {
		if a := rig.do("GET", base+path, ""); a.StatusCode != 200 {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	if a := rig.do("GET", base+segmentPath, ""); a.Header.Get("Cache-Control") != publicControl {
		t.Errorf("a segment: %q", a.Header.Get("Cache-Control"))
	}
	// What may be replaced is not kept under its own address.
	if a := rig.do("GET", base+"poster.jpg", ""); a.Header.Get("Cache-Control") != entryControl {
		t.Errorf("a cover: %q", a.Header.Get("Cache-Control"))
	}
	if a := rig.do("GET", base+testPart+"/poster.jpg", ""); a.Header.Get("Cache-Control") != publicControl {
		t.Errorf("this cover: %q", a.Header.Get("Cache-Control"))
	}
	gate.keys[pkPublic].Hosts = []string{"www.example.com"} // caches cannot check that
	if a := rig.do("GET", base+"poster.jpg", ""); a.Header.Get("Cache-Control") != privateShortControl {
		t.Errorf("a cover under a policy: %q", a.Header.Get("Cache-Control"))
	}
	if a := rig.do("GET", base+segmentPath, ""); a.Header.Get("Cache-Control") != privateControl {
		t.Errorf("a segment under a policy: %q", a.Header.Get("Cache-Control"))
	}
	if a := rig.do("GET", base+"static/720p.mp4", ""); a.StatusCode != 403 {
		t.Errorf("a download: %d", a.StatusCode)
	}
	if a := rig.do("POST", base+"session", ""); a.StatusCode != 401 {
		t.Errorf("a session without a token: %d", a.StatusCode)
	}
}

// TestDeliveryAttacks are those of the design, from the outside. None of them
// reaches the object store, and none is cached.
func TestDeliveryAttacks(t *testing.T) {
	rig, gate := newDeliveryRig(t)
	tok := gate.good(t, pkPrivate)
	bearer := "Authorization: Bearer " + tok
	base := "/v1/p/" + pkPrivate + "/"
	expired := gate.mint(t, token.Claims{Subject: pkPrivate, Audience: []string{"v"}, ExpiresAt: time.Now().Add(-time.Second)})
	other := gate.good(t, pkOther)
	byHash := rig.token(hashC)
	foreign := strings.Replace(testPrefix, "-1", "-2", 1) // a generation of another title
	rig.pubs.objects[objectKey(hashC, foreign, "video/720p/1.m4s")] = rig.pubs.objects[objectKey(hashC, testPrefix, "video/720p/1.m4s")]
	for name, tt := range map[string]struct {
		method, path string
		headers      []string
		status       int
		code         string
	}{
		"no credential":                     {"GET", base + "master.m3u8", nil, 401, "token_required"},
		"no credential, a segment":          {"GET", base + segmentPath, nil, 401, "token_required"},
		"no credential, nothing there":      {"GET", base + "static/none.mp4", nil, 401, "token_required"},
		"no credential, an unknown key":     {"GET", "/v1/p/pk_nobody/master.m3u8", nil, 401, "token_required"},
		"only an API key":                   {"GET", base + "master.m3u8", []string{"X-API-Key: " + testAPIKey}, 401, "token_required"},
		"an API key as a token":             {"GET", base + "master.m3u8", []string{"Authorization: Bearer " + testAPIKey}, 401, "invalid_token"},
		"not Bearer":                        {"GET", base + "master.m3u8", []string{"Authorization: Basic dTpw"}, 401, "token_required"},
		"expired":                           {"GET", base + "master.m3u8", []string{"Authorization: Bearer " + expired}, 401, "token_expired"},
		"expired, in the path":              {"GET", base + "t/" + expired + "/master.m3u8", nil, 401, "token_expired"},
		"expired, in a cookie":              {"GET", base + "master.m3u8", []string{"Cookie: " + cookieName + "=" + expired}, 401, "token_expired"},
		"of another playback key":           {"GET", base + "master.m3u8", []string{"Authorization: Bearer " + other}, 403, "token_mismatch"},
		"of another playback key, by path":  {"GET", base + "t/" + other + "/" + segmentPath, nil, 403, "token_mismatch"},
		"of another title":                  {"GET", base + "master.m3u8", []string{"Authorization: Bearer " + byHash}, 403, "token_mismatch"},
		"for a key that does not exist":     {"GET", "/v1/p/pk_nobody/master.m3u8", []string{bearer}, 403, "token_mismatch"},
		"header and query":                  {"GET", base + "master.m3u8?jwt=" + tok, []string{bearer}, 400, "ambiguous_credentials"},
		"header and path":                   {"GET", base + "t/" + tok + "/master.m3u8", []string{bearer}, 400, "ambiguous_credentials"},
		"path and query":                    {"GET", base + "t/" + tok + "/master.m3u8?token=" + tok, nil, 400, "ambiguous_credentials"},
		"two headers":                       {"GET", base + "master.m3u8", []string{bearer, bearer}, 400, "ambiguous_credentials"},
		"two queries":                       {"GET", base + "master.m3u8?jwt=" + tok + "&token=" + tok, nil, 400, "ambiguous_credentials"},
		"Basic beside a path":               {"GET", base + "t/" + tok + "/master.m3u8", []string{"Authorization: Basic dTpw"}, 400, "ambiguous_credentials"},
		"a query on a key route":            {"GET", base + "key?token=" + tok, nil, 401, "token_required"},
		"a query beside a header, key":      {"GET", base + "key?token=" + tok, []string{bearer}, 400, "ambiguous_credentials"},
		"too large, in the header":          {"GET", base + "master.m3u8", []string{"Authorization: Bearer " + strings.Repeat("a", 4097)}, 401, "token_too_large"},
		"of another title's generation":     {"GET", base + foreign + "/video/720p/1.m4s", []string{bearer}, 404, "not_found"},
		"a segment without its prefix":      {"GET", base + "video/720p/1.m4s", []string{bearer}, 404, "not_found"},
		"encoded dots":                      {"GET", base + testPrefix + "/video/%2e%2e/poster.jpg", []string{bearer}, 404, "not_found"},
		"encoded twice":                     {"GET", base + testPrefix + "/video/%252e%252e/poster.jpg", []string{bearer}, 404, "not_found"},
		"encoded separators":                {"GET", base + testPrefix + "%2fvideo%2f720p%2f1.m4s", []string{bearer}, 404, "not_found"},
		"dots":                              {"GET", base + testPrefix + "/../" + segmentPath, []string{bearer}, 404, "not_found"},
		"dots out of the token":             {"GET", base + "t/" + tok + "/../" + tok + "/master.m3u8", nil, 404, "not_found"},
		"a parameter in the path":           {"GET", base + testPrefix + "/video/720p/1.m4s;x", []string{bearer}, 404, "not_found"},
		"a parameter behind the key":        {"GET", "/v1/p/" + pkPrivate + ";x/master.m3u8", []string{bearer}, 404, "not_found"},
		"the key in another case":           {"GET", "/v1/p/" + strings.ToUpper(pkPrivate) + "/master.m3u8", []string{bearer}, 403, "token_mismatch"},
		"a prefix of the key":               {"GET", "/v1/p/" + pkPrivate[:5] + "/master.m3u8", []string{bearer}, 403, "token_mismatch"},
		"the key and more":                  {"GET", "/v1/p/" + pkPrivate + "b/master.m3u8", []string{bearer}, 403, "token_mismatch"},
		"a scope as a key":                  {"GET", "/v1/p/v/master.m3u8", []string{bearer}, 404, "not_found"},
		"a wildcard as a key":               {"GET", "/v1/p/*/master.m3u8", []string{bearer}, 404, "not_found"},
		"a hash as a key":                   {"GET", "/v1/p/" + hashA + "/master.m3u8", []string{"Authorization: Bearer " + rig.token(hashA)}, 404, "not_found"},
		"an empty token in the path":        {"GET", base + "t//master.m3u8", nil, 404, "not_found"},
		"NUL":                               {"GET", base + testPrefix + "/%00", []string{bearer}, 404, "not_found"},
		"another method":                    {"POST", base + "master.m3u8", []string{bearer}, 405, "method_not_allowed"},
		"a session by a cookie":             {"POST", base + "session", []string{"Cookie: " + cookieName + "=" + tok}, 401, "token_required"},
		"legacy, expired":                   {"GET", "/v1/video/playback/key/" + expired + "/job-1", nil, 401, "token_expired"},
		"legacy, an unknown job":            {"GET", "/v1/video/playback/key/" + tok + "/nobody", nil, 403, "token_mismatch"},
		"legacy, scope":                     {"GET", "/v1/video/playback/key/" + gate.mint(t, token.Claims{Subject: hashA, Audience: []string{"t"}}) + "/job-1", nil, 401, "insufficient_scope"},
		"legacy by cookie, no cookie":       {"GET", "/video/key/job-1", nil, 401, "token_required"},
		"legacy master, token of another":   {"GET", "/v1/" + pkPrivate + "/master.m3u8?jwt=" + other, nil, 403, "token_mismatch"},
		"legacy master, nothing":            {"GET", "/v1/" + pkPrivate + "/master.m3u8", nil, 401, "token_required"},
		"an unknown parameter of thumbnail": {"GET", base + "thumbnail.jpg?height=3", []string{bearer}, 400, "invalid_request"},
	} {
		t.Run(name, func(t *testing.T) {
			rig.t = t
			before, _ := rig.store.counts()
			a := rig.do(tt.method, tt.path, "", tt.headers...)
			if a.StatusCode != tt.status || a.code() != tt.code {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
			if a.Header.Get("Cache-Control") != "no-store" || a.Header.Get("ETag") != "" {
				t.Errorf("a cache may keep it: %v", a.Header)
			}
			if a.StatusCode == 401 && a.Header.Get("WWW-Authenticate") != "Bearer" {
				t.Errorf("challenge %q", a.Header.Get("WWW-Authenticate"))
			}
			if after, _ := rig.store.counts(); after != before {
				t.Error("the object store was asked")
			}
		})
	}
	rig.server.Close()
	for _, secret := range []string{tok, expired, other, tok[strings.LastIndexByte(tok, '.')+1:]} {
		if strings.Contains(rig.log.String(), secret) {
			t.Error("a token stands in the log")
		}
	}
}

// TestNothingIsLookedUpBeforeTheToken: a refusal costs no query about the title.
func TestNothingIsLookedUpBeforeTheToken(t *testing.T) {
	rig, gate := newDeliveryRig(t)
	other := "Authorization: Bearer " + gate.good(t, pkOther)
	for _, path := range []string{"master.m3u8", segmentPath, "poster.jpg", "thumbnail.jpg", "playback.json", "key"} {
		before := rig.pubs.lookups
		rig.do("GET", "/v1/p/"+pkPrivate+"/"+path, "", other)
		rig.do("GET", "/v1/p/"+pkPrivate+"/"+path, "")
		if rig.pubs.lookups != before || rig.keys.called() != 0 {
			t.Errorf("%s: looked up before the token was refused", path)
		}
	}
}

func TestSessionAndCookie(t *testing.T) {
	rig, gate := newDeliveryRig(t)
	bearer := "Authorization: Bearer " + gate.good(t, pkPrivate)
	base := "/v1/p/" + pkPrivate + "/"
	a := rig.do("POST", base+"session", "", bearer, "Origin: "+testOrigin)
	var got struct {
		Folder    string
		ExpiresAt time.Time `json:"expires_at"`
	}
	if err := json.Unmarshal(a.body, &got); err != nil || a.StatusCode != 200 || a.Header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Fatalf("%d %s %v", a.StatusCode, a.body, a.Header)
	}
	cookies := a.Cookies()
	if len(cookies) != 2 || cookies[0].Path != "/v1/p/"+pkPrivate || cookies[1].Path != "/video/key/job-1" {
		t.Fatalf("%v", cookies)
	}
	for _, c := range cookies {
		if c.Name != "__Secure-pb" || !c.Secure || !c.HttpOnly || !c.Partitioned || c.SameSite != http.SameSiteNoneMode || c.Domain != "" || c.MaxAge < 290 || c.MaxAge > 300 {
			t.Errorf("%v", c)
		}
	}
	cookie := "Cookie: " + cookies[0].Name + "=" + cookies[0].Value
	if a := rig.do("GET", base+"master.m3u8", "", cookie); a.StatusCode != 200 {
		t.Errorf("by cookie: %d", a.StatusCode)
	}
	// An explicit token counts alone.
	if a := rig.do("GET", base+"master.m3u8", "", cookie, "Authorization: Bearer x"); a.StatusCode != 401 {
		t.Errorf("a bad token beside a good cookie: %d", a.StatusCode)
	}
	if a := rig.do("GET", got.Folder+"master.m3u8", ""); a.StatusCode != 200 {
		t.Errorf("by the folder of the session: %d", a.StatusCode)
	}
}

func TestLegacyRoutes(t *testing.T) {
	rig, gate := newDeliveryRig(t)
	rig.jobs.put(Job{ID: "job-1", Hash: hashA, Type: "video:transcode", State: "succeeded"})
	rig.jobs.put(Job{ID: "job-2", Hash: hashC, Type: "video:transcode", State: "succeeded"})
	tok := rig.token(hashA)
	for path, headers := range map[string][]string{
		"/video/key/job-1":                              {"Cookie: " + cookieName + "=" + tok},
		"/v1/video/playback/key/" + tok + "/job-1":      nil,
		"/v1/video/playback/key/" + tok + "/job-1?kid=": nil,
	} {
		a := rig.do("GET", path, "", headers...)
		if strings.HasSuffix(path, "=") {
			if a.StatusCode != 404 || a.code() != "no_key" {
				t.Errorf("%s: %d", path, a.StatusCode)
			}
			continue
		}
		if a.StatusCode != 200 || len(a.body) != 16 || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	if a := rig.do("GET", "/v1/video/playback/key/"+tok+"/job-2", ""); a.StatusCode != 403 || a.code() != "token_mismatch" {
		t.Errorf("another title's job: %d %s", a.StatusCode, a.body)
	}
	pkToken := gate.good(t, pkPrivate)
	for _, name := range []string{"jwt", "token"} {
		a := rig.do("GET", "/v1/"+pkPrivate+"/master.m3u8?"+name+"="+pkToken, "")
		if a.StatusCode != 200 || !strings.Contains(string(a.body), "../p/"+pkPrivate+"/t/st_") || !strings.Contains(string(a.body), "/ts/720p/media.m3u8") {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
}

func TestPlaybackDocument(t *testing.T) {
	rig, gate := newDeliveryRig(t)
	rig.assets.results = fmt.Sprintf(`{"duration_seconds":12.5,"streaming":{"outputs":[
		{"name":"cmaf","master_playlist":"https://v.example/stream/%[1]s/master.m3u8","manifest":"https://v.example/stream/%[1]s/manifest.mpd","scheme":"cbcs","container":"fmp4"},
		{"name":"ts","master_playlist":"https://v.example/stream/%[1]s/ts/master.m3u8","scheme":"aes-128","container":"mpegts"}]}}`, hashA)
	a := rig.do("GET", "/v1/p/"+pkPrivate+"/playback.json", "", "Authorization: Bearer "+gate.good(t, pkPrivate))
	for _, want := range []string{
		`"master_playlist":"cmaf/master.m3u8","manifest":"manifest.mpd","scheme":"cbcs"`, `"master_playlist":"ts/master.m3u8","manifest":null`,
		`"poster":"poster.jpg"`, `"storyboard":"storyboard.vtt"`, `"duration_seconds":12.5`, `"scopes":["v"]`,
	} {
		if a.StatusCode != 200 || !strings.Contains(string(a.body), want) {
			t.Errorf("%d %s: no %s", a.StatusCode, a.body, want)
		}
	}
	if strings.Contains(string(a.body), hashA) {
		t.Error("the hash stands in it")
	}
}

// TestEmbedder: the page around our own player page counts as the page that
// asks; nobody else may say so.
func TestEmbedder(t *testing.T) {
	rig, gate := newDeliveryRig(t)
	bearer := "Authorization: Bearer " + gate.good(t, pkPrivate)
	for _, tt := range []struct {
		site string
		want string
	}{{"same-origin", "https://www.example.com"}, {"cross-site", ""}, {"", ""}} {
		headers := []string{bearer, "Sealcast-Embedder: https://www.example.com"}
		if tt.site != "" {
			headers = append(headers, "Sec-Fetch-Site: "+tt.site)
		}
		rig.do("GET", "/v1/p/"+pkPrivate+"/master.m3u8", "", headers...)
		if got := gate.seen[len(gate.seen)-1].Origin; got != tt.want {
			t.Errorf("%q: the gate hears of %q", tt.site, got)
		}
	}
	a := rig.do("OPTIONS", "/v1/p/"+pkPrivate+"/master.m3u8", "", "Origin: "+testOrigin, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: sealcast-embedder")
	if strings.Contains(strings.ToLower(a.Header.Get("Access-Control-Allow-Headers")), "embedder") {
		t.Error("a page of another origin may send the header")
	}
	if a.Header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Error("no credentials: cookies do not work from another origin")
	}
}

// TestDeliveryLimits: by what the token says and by the client's address,
// whatever the token's spelling.
func TestDeliveryLimits(t *testing.T) {
	rig, gate := newDeliveryRig(t, func(c *Config) {
		c.KeysPerToken = 2
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	tok := gate.good(t, pkPrivate)
	codes := ""
	for range 4 {
		a := rig.do("GET", "/v1/p/"+pkPrivate+"/key", "", "Authorization: Bearer "+tok, "X-Forwarded-For: 192.0.2.1")
		codes += fmt.Sprint(a.StatusCode, " ")
	}
	if !strings.HasPrefix(codes, "200 200 429") {
		t.Error(codes)
	}
	if a := rig.do("GET", "/v1/p/"+pkPrivate+"/t/"+tok+"/key", "", "X-Forwarded-For: 192.0.2.2"); a.StatusCode != 429 || a.Header.Get("Retry-After") == "" {
		t.Errorf("by another carrier and address: %d", a.StatusCode)
	}
	// Viewers of a public playback key have nothing in common.
	for range 4 {
		if a := rig.do("GET", "/v1/p/"+pkPublic+"/key", "", "X-Forwarded-For: 192.0.2.3"); a.StatusCode != 200 {
			t.Errorf("public: %d", a.StatusCode)
		}
	}
}
