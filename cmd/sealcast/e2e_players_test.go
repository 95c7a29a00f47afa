package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/player"
	"github.com/sealcast/sealcast/internal/player/browsertest"
)

// Every way to play an encrypted output in a browser shows the right pictures
// with the token on key and licence requests only, and refuses a wrong one:
// AES-128 in fMP4, H.264 and AV1; cbcs and cenc by the key route alone in hls.js (the adapter)
// and in Shaka Player; by the licence route from HLS and from DASH.
func TestE2EPlayers(t *testing.T) {
	if !player.Available() {
		t.Fatal("the player libraries are not built in: run make deps")
	}
	r := newRig(t)
	r.serve()
	page := httptest.NewServer(player.Handler(r.env["BASE_URL"]))
	defer page.Close()
	for options, outputs := range map[string][]string{
		`{"outputs":["cmaf","cmaf-aes128"],"ladder":["240p"],"segment_seconds":2,"pssh":["widevine","playready"]}`: {
			"cmaf-aes128", "cmaf-dash", "cmaf-eme", "cmaf-identity",
		},
		`{"outputs":["cmaf","cmaf-aes128"],"codecs":["av1"],"ladder":["240p"],"segment_seconds":2}`: {
			"cmaf-aes128", "cmaf-dash",
		},
		`{"outputs":["cmaf"],"ladder":["240p"],"segment_seconds":2,"scheme":"cenc"}`: {
			"cmaf", "cmaf-dash", "cmaf-eme", "cmaf-identity",
		},
	} {
		file := clip(t, "426x240", 8)
		hash, source := r.upload(file)
		r.succeeded(r.accepted(r.submit("video:transcode", hash, source, options)))
		for _, output := range outputs {
			t.Run(options+"/"+output, func(t *testing.T) {
				res := browsertest.Play(t, browsertest.Config{
					PageURL: page.URL, APIURL: r.env["BASE_URL"], Hash: hash, Output: output, Token: r.token(hash, 10*time.Minute),
					Refused: map[string]string{"another title": r.token(strings.Repeat("0", 64), 10*time.Minute)},
					Past:    3 * time.Second,
					Times:   []time.Duration{1020 * time.Millisecond, 6220 * time.Millisecond},
				})
				t.Logf("Chromium %s, %s, %d frames to %s", res.Browser, res.Engine, res.Frames, res.Reached)
				if len(res.Shots) != 2 {
					t.Fatalf("%d pictures", len(res.Shots))
				}
				for _, s := range res.Shots {
					same := browsertest.Similar(s.Image, browsertest.Frame(t, file, s.At))
					other := browsertest.Similar(s.Image, browsertest.Frame(t, file, s.At-time.Second))
					if same > 0.03 || other < 0.1 {
						t.Errorf("at %s: %.4f from the source's picture, %.4f from the one a second before", s.At, same, other)
					}
				}
				if got := res.Refusals["another title"]; got.Code != "token_mismatch" || got.Frames != 0 {
					t.Errorf("a token of another title: code %q, text %q, %d frames", got.Code, got.Text, got.Frames)
				}
				checkKeyRequests(t, res.Requests, r.env["BASE_URL"], output)
			})
		}
	}
}

// checkKeyRequests wants the token on the requests of one key route, the one
// that the way to play is about, and nowhere else.
func checkKeyRequests(t *testing.T, requests []browsertest.Request, base, output string) {
	t.Helper()
	route := "/api/key/"
	if output == "cmaf-dash" || output == "cmaf-eme" {
		route = "/api/license/clearkey/"
	}
	keys := 0
	for _, q := range requests {
		if isKey := strings.HasPrefix(q.URL, base+route); q.Authorized && !isKey {
			t.Errorf("the token went to %s", q.URL)
		} else if isKey && q.Case == "play" && q.Method != "OPTIONS" {
			keys++
		}
	}
	if keys < 1 || keys > 4 {
		t.Errorf("%d requests of %s", keys, route)
	}
}
