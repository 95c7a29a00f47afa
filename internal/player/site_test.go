package player

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
)

// wholeSite has every page and script, and stand-ins for the libraries.
func wholeSite(t *testing.T) fstest.MapFS {
	t.Helper()
	fsys := built()
	entries, err := files.ReadDir("page")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		data, err := files.ReadFile("page/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		fsys["page/"+e.Name()] = &fstest.MapFile{Data: data}
	}
	return fsys
}

func serveSite(s *Site, path string) *http.Response {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /watch/{pk}", s.Watch)
	mux.HandleFunc("GET /embed/{pk}", func(w http.ResponseWriter, r *http.Request) { s.Embed(w, r, []string{"www.example.com"}) })
	mux.HandleFunc("GET /console", s.Console)
	mux.HandleFunc("GET /player/{file}", func(w http.ResponseWriter, r *http.Request) {
		if !s.File(w, r, r.PathValue("file")) {
			http.NotFound(w, r)
		}
	})
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w.Result()
}

func TestSitePolicies(t *testing.T) {
	s := newSite(wholeSite(t))
	for path, ancestors := range map[string]string{
		"/watch/film": "frame-ancestors 'none'", "/console": "frame-ancestors 'none'",
		"/embed/film": "frame-ancestors https://www.example.com:* http://www.example.com:*",
	} {
		r := serveSite(s, path)
		policy := r.Header.Get("Content-Security-Policy")
		if r.StatusCode != 200 || !strings.HasSuffix(policy, ancestors) || !strings.Contains(policy, "default-src 'none'") ||
			strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src *") {
			t.Errorf("%s: %d %q", path, r.StatusCode, policy)
		}
		if r.Header.Get("X-Content-Type-Options") != "nosniff" || r.Header.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: %v", path, r.Header)
		}
	}
}

// TestSiteIsWhole: each page loads only what is served, and has nothing inline.
func TestSiteIsWhole(t *testing.T) {
	s := newSite(wholeSite(t))
	loads := regexp.MustCompile(`(?:src|href)="(/[^"]*)"`)
	imports := regexp.MustCompile(`from '\./([^']+)'`)
	for _, path := range []string{"/watch/film", "/console"} {
		page := body(t, serveSite(s, path))
		found := loads.FindAllStringSubmatch(page, -1)
		if len(found) < 2 {
			t.Errorf("%s loads %v", path, found)
		}
		for _, m := range found {
			r := serveSite(s, m[1])
			if r.StatusCode != 200 || r.Header.Get("ETag") == "" {
				t.Errorf("%s: %s is %d", path, m[1], r.StatusCode)
			}
			for _, i := range imports.FindAllStringSubmatch(body(t, r), -1) {
				if r := serveSite(s, "/player/"+i[1]); r.StatusCode != 200 || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/javascript") {
					t.Errorf("%s imports %s: %d", m[1], i[1], r.StatusCode)
				}
			}
		}
		for _, inline := range []string{"<style", " style=", " onclick=", " onload=", "javascript:", "<script>"} {
			if strings.Contains(page, inline) {
				t.Errorf("%s has %q, which its policy forbids", path, inline)
			}
		}
	}
	for _, name := range []string{"index.html", "watch.html", "..", "page", ".gitkeep", ""} {
		if r := serveSite(s, "/player/"+name); r.StatusCode == 200 {
			t.Errorf("%q is served", name)
		}
	}
}

func TestSiteWithoutLibraries(t *testing.T) {
	fsys := wholeSite(t)
	delete(fsys, hlsFile)
	s := newSite(fsys)
	if r := serveSite(s, "/watch/film"); r.StatusCode != 200 || !strings.Contains(body(t, r), "make deps") {
		t.Errorf("%d: want a page that names make deps", r.StatusCode)
	}
	if r := serveSite(s, "/console"); r.StatusCode != 200 || !strings.Contains(body(t, r), "API key") {
		t.Error("the console needs no library")
	}
}

func TestFrameAncestors(t *testing.T) {
	for _, tt := range []struct {
		hosts []string
		want  string
	}{
		{nil, "*"},
		{[]string{"a.example", "*.b.example"}, "https://a.example:* http://a.example:* https://*.b.example:* http://*.b.example:*"},
		{[]string{"a.example; script-src *"}, "'none'"},
		{[]string{"a b", "*", "'self'", ""}, "'none'"},
	} {
		if got := frameAncestors(tt.hosts); got != tt.want {
			t.Errorf("%q: %q, want %q", tt.hosts, got, tt.want)
		}
	}
}
