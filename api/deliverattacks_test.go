package api

import (
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/token"
)

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
