package verify_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/verify"
)

// The token goes to key routes of one origin, and nowhere else; a playlist
// that names another place for its key does not get it.
func TestTokenStaysAtHome(t *testing.T) {
	thief := make(chan string, 10)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		thief <- r.Header.Get("Authorization")
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer elsewhere.Close()
	s := &site{title: titleOf(t, encrypted).copy()}
	s.title.edit(t, "cmaf/a-0/index.m3u8", func(b []byte) []byte {
		return []byte(strings.ReplaceAll(string(b), placeholder, elsewhere.URL))
	})
	s.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Authorization") != "" && !strings.HasPrefix(r.URL.Path, "/api/key/") {
			t.Errorf("the token went to %s", r.URL)
		}
		return false
	}
	r := s.verify(t, hls)
	close(thief)
	n := 0
	for got := range thief {
		n++
		if strings.Contains(got, testToken) {
			t.Errorf("another origin was sent %q", got)
		}
	}
	if n == 0 || r.OK || !strings.Contains(text(r), "-key-origin "+elsewhere.URL) {
		t.Errorf("%d requests there\n%s", n, text(r))
	}
	if strings.Contains(text(r), testToken) {
		t.Error("the report has the token")
	}
}

// What is no presentation is an error, not a report.
func TestNothingToVerify(t *testing.T) {
	bodies := map[string]string{
		"/empty": "", "/html": "<html></html>", "/text": "hello", "/xml": "<MPD", "/404": "",
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/404" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(bodies[r.URL.Path]))
	}))
	defer srv.Close()
	urls := []string{"file:///etc/passwd", "ftp://x/", "not a URL", "http://127.0.0.1:1/x.m3u8"}
	for path := range bodies {
		urls = append(urls, srv.URL+path)
	}
	for _, u := range urls {
		if r, err := verify.Run(t.Context(), verify.Config{URL: u}); !errors.Is(err, verify.ErrUnreachable) {
			t.Errorf("%s: %v, %v", u, r, err)
		}
	}
}
