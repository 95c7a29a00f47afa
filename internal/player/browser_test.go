package player_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/player"
	"github.com/sealcast/sealcast/internal/player/browsertest"
)

const goodToken = "good.token"

// media is a stand-in for the API: the sample's files and the key route, for
// pages of another origin.
type media struct {
	files     http.Handler
	keys      atomic.Int64 // keys handed out
	preflight atomic.Int64
}

func (m *media) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", r.Header.Get("Origin"))
	h.Set("Vary", "Origin")
	switch {
	case r.Method == http.MethodOptions:
		m.preflight.Add(1)
		h.Set("Access-Control-Allow-Headers", "Authorization")
		w.WriteHeader(http.StatusNoContent)
	case strings.HasPrefix(r.URL.Path, "/api/key/"):
		m.key(w, r)
	default:
		http.StripPrefix("/stream/", m.files).ServeHTTP(w, r)
	}
}

func (m *media) key(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	refuse := func(status int, code string) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"status": status, "code": code})
	}
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case !ok:
		refuse(http.StatusUnauthorized, "token_required")
	case bearer == "expired":
		refuse(http.StatusForbidden, "token_expired")
	case bearer != goodToken:
		refuse(http.StatusForbidden, "token_mismatch")
	default:
		m.keys.Add(1)
		key := cmafKey
		if r.URL.Query().Get("kid") == "ts" {
			key = tsKey
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(key)
	}
}

// TestBrowser plays the sample in Chromium, from a page of another origin than
// the media's, with both players.
func TestBrowser(t *testing.T) {
	if !player.Available() {
		t.Fatal("the player libraries are not built in: run make deps")
	}
	api := &media{}
	apiServer := httptest.NewServer(api)
	defer apiServer.Close()
	pageServer := httptest.NewServer(player.Handler(apiServer.URL))
	defer pageServer.Close()
	dir, reference := makeSample(t, apiServer.URL+"/api/key/"+titleHash)
	api.files = http.FileServer(http.Dir(dir))

	for _, output := range []string{"ts", "cmaf"} {
		t.Run(output, func(t *testing.T) {
			api.keys.Store(0)
			res := browsertest.Play(t, browsertest.Config{
				PageURL: pageServer.URL, APIURL: apiServer.URL, Hash: titleHash, Output: output, Token: goodToken,
				Refused: map[string]string{"expired": "expired", "mismatch": "other", "none": ""},
				Times:   []time.Duration{1020 * time.Millisecond, 8220 * time.Millisecond, 3500 * time.Millisecond},
			})
			t.Logf("Chromium %s, %s, %d frames to %s", res.Browser, res.Engine, res.Frames, res.Reached)
			if res.Reached <= 6*time.Second || res.Frames < 100 {
				t.Errorf("reached %s with %d frames, want past 6s", res.Reached, res.Frames)
			}
			if len(res.Qualities) != 2 || res.Qualities[0] != heights[1] || res.Qualities[1] != heights[0] {
				t.Errorf("the quality menu showed %v, want the lowest and the highest of %v", res.Qualities, heights)
			}
			checkShots(t, res.Shots, reference)
			checkRefusals(t, res.Refusals)
			checkRequests(t, res.Requests, apiServer.URL)
			if n := api.keys.Load(); n < 1 || n > 4 {
				t.Errorf("%d keys handed out, want few", n)
			}
			if len(res.Console) > 0 {
				t.Errorf("console: %q", res.Console)
			}
		})
	}
	if api.preflight.Load() == 0 {
		t.Error("no preflight came: the page was not of another origin")
	}
}

func checkShots(t *testing.T, shots []browsertest.Shot, reference string) {
	t.Helper()
	if len(shots) != 3 {
		t.Fatalf("%d pictures, want 3", len(shots))
	}
	for _, s := range shots {
		same := browsertest.Similar(s.Image, browsertest.Frame(t, reference, s.At))
		other := browsertest.Similar(s.Image, browsertest.Frame(t, reference, s.At-time.Second))
		t.Logf("at %s: %.4f to the reference, %.4f to the picture one second before", s.At, same, other)
		if same > 0.03 {
			t.Errorf("at %s: the picture differs from the reference by %.4f", s.At, same)
		}
		if other < 0.1 {
			t.Errorf("at %s: the comparison cannot tell pictures apart: %.4f", s.At, other)
		}
	}
}

func checkRefusals(t *testing.T, refusals map[string]browsertest.Refusal) {
	t.Helper()
	for name, code := range map[string]string{"expired": "token_expired", "mismatch": "token_mismatch", "none": "token_required"} {
		r, ok := refusals[name]
		if !ok {
			t.Errorf("token %s: no refusal", name)
			continue
		}
		if r.Code != code || !strings.Contains(r.Text, code) {
			t.Errorf("token %s: code %q, text %q, want %q in both", name, r.Code, r.Text, code)
		}
		if r.CurrentTime != 0 || r.ReadyState != 0 || r.Frames != 0 {
			t.Errorf("token %s: something was played: time %s, ready state %d, %d frames", name, r.CurrentTime, r.ReadyState, r.Frames)
		}
		if b := browsertest.Brightness(r.Image); b > 0.02 {
			t.Errorf("token %s: the picture is not dark: %.3f", name, b)
		}
	}
}

// checkRequests holds that the token goes out on key requests of the API and
// nowhere else, and that no address and no Referer has it.
func checkRequests(t *testing.T, requests []browsertest.Request, api string) {
	t.Helper()
	for _, r := range requests {
		u, err := url.Parse(r.URL)
		if err != nil {
			t.Fatal(err)
		}
		key := u.Scheme+"://"+u.Host == api && strings.HasPrefix(u.Path, "/api/key/")
		if want := key && r.Case != "none"; r.Authorized != want {
			t.Errorf("case %s: %s %s: has the token: %v, want %v", r.Case, r.Method, r.URL, r.Authorized, want)
		}
		u.Fragment = "" // what a browser sends
		if strings.Contains(u.String(), goodToken) || strings.Contains(r.Referer, goodToken) {
			t.Errorf("the token stands in an address or a Referer: %s, %s", u, r.Referer)
		}
	}
}
