package api

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestParseOrigins(t *testing.T) {
	for _, good := range []string{
		"https://player.example.com", "https://player.example.com:8443", "http://127.0.0.1:*", "http://localhost:*",
		"http://[::1]:*", "http://[::1]:8080", "https://xn--bcher-kva.example",
	} {
		if _, err := parseOrigins([]string{good}); err != nil {
			t.Errorf("%v", err)
		}
	}
	for _, bad := range []string{
		"*", "", "null", "https://*", "https://*.example.com", "*://example.com", "https://example.com/", "https://example.com/x",
		"https://example.com?", "https://example.com#", "https://user@example.com", "example.com", "//example.com", "ftp://example.com",
		"HTTPS://example.com", "https://Example.com", "https://example.com:443", "http://example.com:80", "https://example.com:",
		"https://example.com:0", "https://example.com:65536", "https://example.com:08", "https://example.com:80:*", "https://example.com:*:*",
		"https://bücher.example", "https://a.example,https://b.example", "https://a.example https://b.example", "https://:8080", "https://:*",
	} {
		if _, err := parseOrigins([]string{"https://ok.example", bad}); err == nil {
			t.Errorf("%q accepted", bad)
		} else if !strings.Contains(err.Error(), "CORS origin") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// originTests are for CORSOrigins "https://player.example.com", "http://127.0.0.1:*".
var originTests = map[string]bool{
	"https://player.example.com":         true,
	"http://127.0.0.1:1":                 true,
	"http://127.0.0.1:65535":             true,
	"http://127.0.0.1":                   true,
	"":                                   false,
	"null":                               false,
	"*":                                  false,
	"http://player.example.com":          false,
	"https://player.example.com:8443":    false,
	"https://player.example.com/":        false,
	"https://player.example.com.evil.io": false,
	"https://player.example.com@evil.io": false,
	"https://evil.io/https://player.example.com": false,
	"https://evilplayer.example.com":             false,
	"https://sub.player.example.com":             false,
	"https://PLAYER.example.com":                 false,
	"https://player.example.com.":                false,
	"https://127.0.0.1:1":                        false,
	"http://127.0.0.1:":                          false,
	"http://127.0.0.1:0":                         false,
	"http://127.0.0.1:65536":                     false,
	"http://127.0.0.1:08":                        false,
	"http://127.0.0.1:80@evil.io":                false,
	"http://127.0.0.1:80.evil.io":                false,
	"http://127.0.0.1.evil.io:80":                false,
	"http://127.0.0.1:*":                         false,
	"http://127.0.0.1:-1":                        false,
	"http://127.0.0.1:+1":                        false,
}

func TestOrigins(t *testing.T) {
	rig := newRig(t)
	paths := map[string]int{"/api/key/" + hashA: 401, "/stream/" + hashA + "/master.m3u8": 200}
	for origin, allowed := range originTests {
		want := ""
		if allowed {
			want = origin
		}
		for path, status := range paths {
			a := rig.do("GET", path, "", "Origin: "+origin)
			if a.StatusCode != status || a.Header.Get("Access-Control-Allow-Origin") != want {
				t.Errorf("%s from %q: %d, allows %q", path, origin, a.StatusCode, a.Header.Get("Access-Control-Allow-Origin"))
			}
			if expose := a.Header.Get("Access-Control-Expose-Headers"); allowed != (strings.Contains(expose, "Content-Length") &&
				strings.Contains(expose, "Content-Range") && strings.Contains(expose, "ETag")) {
				t.Errorf("%s from %q exposes %q", path, origin, expose)
			}
			p := rig.do("OPTIONS", path, "", "Origin: "+origin, "Access-Control-Request-Method: GET", "Access-Control-Request-Headers: authorization,range")
			if got := p.Header.Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("preflight of %s from %q allows %q", path, origin, got)
			}
			if allowed {
				for name, want := range map[string]string{
					"Access-Control-Allow-Methods": "GET, HEAD", "Access-Control-Allow-Headers": "Authorization, Content-Type, Range",
					"Access-Control-Max-Age": "600", "Access-Control-Allow-Credentials": "",
				} {
					if got := p.Header.Get(name); p.StatusCode != http.StatusNoContent || got != want {
						t.Errorf("preflight of %s: %d, %s %q", path, p.StatusCode, name, got)
					}
				}
			} else if origin != "" && (p.StatusCode != http.StatusForbidden || p.code() != "origin_not_allowed") {
				t.Errorf("preflight of %s from %q: %d", path, origin, p.StatusCode)
			}
			if strings.HasPrefix(path, "/api/key/") {
				if got := p.Header.Get("Cache-Control"); got != "no-store" {
					t.Errorf("preflight of %s: Cache-Control %q", path, got)
				}
			}
			if !slices.Contains(p.Header.Values("Vary"), "Origin") {
				t.Errorf("preflight of %s: Vary %q", path, p.Header.Values("Vary"))
			}
		}
	}
}

func TestTwoOriginsAreNone(t *testing.T) {
	rig := newRig(t)
	a := rig.do("GET", "/api/key/"+hashA, "", "Origin: "+testOrigin, "Origin: "+testOrigin)
	if got := a.Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("allows %q", got)
	}
}

func TestOptions(t *testing.T) {
	rig := newRig(t)
	for path, allow := range map[string]string{
		"/api/key/" + hashA: "GET, HEAD, OPTIONS", "/api/jobs": "GET, HEAD, POST, OPTIONS", "/api/jobs/1": "GET, HEAD, OPTIONS",
	} {
		a := rig.do("OPTIONS", path, "", "Origin: "+testOrigin)
		if a.StatusCode != http.StatusNoContent || a.Header.Get("Allow") != allow {
			t.Errorf("%s: %d, Allow %q", path, a.StatusCode, a.Header.Get("Allow"))
		}
	}
	a := rig.do("OPTIONS", "/api/jobs", "", "Origin: "+testOrigin, "Access-Control-Request-Method: POST")
	if a.Header.Get("Access-Control-Allow-Origin") != "" || a.Header.Get("Access-Control-Allow-Methods") != "" {
		t.Errorf("pages may submit jobs: %v", a.Header)
	}
	a = rig.do("OPTIONS", "/api/key/"+hashA, "", "Origin: "+testOrigin, "Access-Control-Request-Method: DELETE")
	if strings.Contains(a.Header.Get("Access-Control-Allow-Methods"), "DELETE") {
		t.Errorf("pages may delete keys: %v", a.Header)
	}
}
