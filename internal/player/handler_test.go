package player

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func built() fstest.MapFS {
	return fstest.MapFS{
		"page/index.html": {Data: []byte("<!doctype html>the player")},
		hlsFile:           {Data: []byte("hls")},
		shakaFile:         {Data: []byte("shaka")},
		licensesFile:      {Data: []byte("licences")},
	}
}

func get(h http.Handler, method, path string) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, path, nil))
	return w.Result()
}

func body(t *testing.T, r *http.Response) string {
	t.Helper()
	var b strings.Builder
	if err := r.Write(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestHandlerRoutes(t *testing.T) {
	fsys := built()
	for _, name := range []string{"page/index.html", "page/app.css", "page/app.js", "page/hls-clearkey.js"} {
		data, err := files.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fsys[name] = &fstest.MapFile{Data: data}
	}
	h := handler(fsys, []string{"https://media.example.org"})
	for _, tc := range []struct {
		name, method, path string
		status             int
		contentType        string
	}{
		{"page", "GET", "/", 200, "text/html; charset=utf-8"},
		{"page, HEAD", "HEAD", "/", 200, "text/html; charset=utf-8"},
		{"page, with a query", "GET", "/?a=b", 200, "text/html; charset=utf-8"},
		{"style", "GET", "/app.css", 200, "text/css; charset=utf-8"},
		{"script", "GET", "/app.js", 200, "text/javascript; charset=utf-8"},
		{"adapter", "GET", "/hls-clearkey.js", 200, "text/javascript; charset=utf-8"},
		{"hls.js", "GET", "/hls.min.js", 200, "text/javascript; charset=utf-8"},
		{"Shaka Player", "GET", "/shaka-player.js", 200, "text/javascript; charset=utf-8"},
		{"licences", "GET", "/licenses.txt", 200, "text/plain; charset=utf-8"},
		{"nothing else of dist", "GET", "/.gitkeep", 404, "text/plain; charset=utf-8"},
		{"no folder", "GET", "/page/", 404, "text/plain; charset=utf-8"},
		{"no POST", "POST", "/", 405, "text/plain; charset=utf-8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := get(h, tc.method, tc.path)
			if r.StatusCode != tc.status || r.Header.Get("Content-Type") != tc.contentType {
				t.Errorf("%d %s, want %d %s", r.StatusCode, r.Header.Get("Content-Type"), tc.status, tc.contentType)
			}
			for _, name := range []string{"Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy"} {
				if r.Header.Get(name) == "" {
					t.Errorf("no %s", name)
				}
			}
		})
	}
}

func TestHandlerRevalidates(t *testing.T) {
	h := handler(built(), nil)
	etag := get(h, "GET", "/").Header.Get("ETag")
	if etag == "" {
		t.Fatal("no ETag")
	}
	w := httptest.NewRecorder()
	r := httptest.NewRequest("GET", "/", nil)
	r.Header.Set("If-None-Match", etag)
	h.ServeHTTP(w, r)
	if w.Code != http.StatusNotModified {
		t.Errorf("status %d, want 304", w.Code)
	}
}

func TestHandlerWithoutLibraries(t *testing.T) {
	missing, err := files.ReadFile("page/missing.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, gone := range []string{hlsFile, shakaFile, licensesFile} {
		t.Run(gone, func(t *testing.T) {
			fsys := built()
			fsys["page/missing.html"] = &fstest.MapFile{Data: missing}
			delete(fsys, gone)
			if available(fsys) {
				t.Error("available without " + gone)
			}
			r := get(handler(fsys, nil), "GET", "/")
			if text := body(t, r); r.StatusCode != 200 || !strings.Contains(text, "make deps") {
				t.Errorf("%d %s, want a page that names make deps", r.StatusCode, text)
			}
		})
	}
}

func TestConnectSources(t *testing.T) {
	for _, tc := range []struct {
		name    string
		origins []string
		want    string
	}{
		{"none", nil, "connect-src 'none';"},
		{"one", []string{"https://media.example.org"}, "connect-src https://media.example.org;"},
		{"with a port", []string{"http://127.0.0.1:8080"}, "connect-src http://127.0.0.1:8080;"},
		{"v6", []string{"http://[::1]:8080"}, "connect-src http://[::1]:8080;"},
		{"two", []string{"https://a.example", "https://b.example"}, "connect-src https://a.example https://b.example;"},
		{"path and user cut off", []string{"https://u:p@a.example/x?y#z"}, "connect-src https://a.example;"},
		{"a wildcard", []string{"https://*.example"}, "connect-src 'none';"},
		{"another scheme", []string{"data:text/plain,x"}, "connect-src 'none';"},
		{"no host", []string{"https://"}, "connect-src 'none';"},
		{"an injected directive", []string{"https://a.example;script-src *"}, "connect-src 'none';"},
		{"an injected source", []string{"https://a.example *"}, "connect-src 'none';"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := contentSecurityPolicy(tc.origins)
			if !strings.Contains(got, tc.want) {
				t.Errorf("policy %q, want %q in it", got, tc.want)
			}
			if strings.Contains(got, "unsafe") {
				t.Errorf("policy %q allows something unsafe", got)
			}
		})
	}
}
