package webhook

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFetch(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/set", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"keys":[]}`) })
	mux.HandleFunc("/moved", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/set", http.StatusFound) })
	mux.HandleFunc("/none", http.NotFound)
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, strings.Repeat("x", 101)) })
	srv := httptest.NewServer(mux)
	defer srv.Close()
	targets := allow(t, srv.Listener.Addr().String())
	body, err := targets.Fetch(t.Context(), srv.URL+"/set", 100, nil)
	if err != nil || string(body) != `{"keys":[]}` {
		t.Errorf("%q, %v", body, err)
	}
	for _, path := range []string{"/moved", "/none", "/large"} {
		if body, err := targets.Fetch(t.Context(), srv.URL+path, 100, nil); err == nil {
			t.Errorf("%s: %q", path, body)
		}
	}
	var refused *Refusal
	for _, url := range []string{srv.URL + "/set", "https://127.0.0.1/", "https://169.254.169.254/", "http://example.com/", "file:///etc/passwd"} {
		if _, err := allow(t).Fetch(t.Context(), url, 100, nil); !errors.As(err, &refused) {
			t.Errorf("%s: %v", url, err)
		}
	}
}
