package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/token"
)

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
