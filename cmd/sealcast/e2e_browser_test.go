package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/player"
	"github.com/sealcast/sealcast/internal/player/browsertest"
)

// A real browser plays what the product made, from a page of another origin:
// hls.js the ts output with the token on key requests only, Shaka Player the
// cmaf output. Wrong tokens give a clear error and no picture.
func TestE2EBrowser(t *testing.T) {
	if !player.Available() {
		t.Fatal("the player libraries are not built in: run make deps")
	}
	r := newRig(t)
	r.serve()
	file := clip(t, "640x360", 12)
	hash, source := r.upload(file)
	r.succeeded(r.accepted(r.submit("video:transcode", hash, source, `{"encrypt":true}`)))
	page := httptest.NewServer(player.Handler(r.env["BASE_URL"]))
	defer page.Close()

	// A token that has run out, but is ours.
	expired := r.token(hash, time.Second)
	time.Sleep(1100 * time.Millisecond) // exp has whole seconds and no leeway
	codes := map[string]string{"expired": "token_expired", "another title": "token_mismatch", "none": "token_required", "rubbish": "invalid_token"}
	for _, output := range []string{"ts", "cmaf"} {
		t.Run(output, func(t *testing.T) {
			res := browsertest.Play(t, browsertest.Config{
				PageURL: page.URL, APIURL: r.env["BASE_URL"], Hash: hash, Output: output, Token: r.token(hash, 5*time.Minute),
				Refused: map[string]string{
					"expired": expired, "another title": r.token(strings.Repeat("0", 64), time.Minute), "none": "", "rubbish": "rubbish",
				},
				Times: []time.Duration{1020 * time.Millisecond, 9220 * time.Millisecond, 3500 * time.Millisecond},
			})
			t.Logf("Chromium %s, %s, %d frames to %s", res.Browser, res.Engine, res.Frames, res.Reached)
			if res.Reached <= 6*time.Second {
				t.Errorf("reached %s", res.Reached)
			}
			if len(res.Shots) != 3 {
				t.Fatalf("%d pictures", len(res.Shots))
			}
			for _, s := range res.Shots {
				same := browsertest.Similar(s.Image, browsertest.Frame(t, file, s.At))
				other := browsertest.Similar(s.Image, browsertest.Frame(t, file, s.At-time.Second))
				if same > 0.03 || other < 0.1 {
					t.Errorf("at %s: %.4f from the source's picture, %.4f from the one a second before", s.At, same, other)
				}
			}
			for name, code := range codes {
				got := res.Refusals[name]
				if got.Code != code || got.Text == "" || got.Frames != 0 || got.CurrentTime != 0 || browsertest.Brightness(got.Image) > 0.15 {
					t.Errorf("token %s: code %q, text %q, %d frames to %s, brightness %.2f", name, got.Code, got.Text, got.Frames, got.CurrentTime, browsertest.Brightness(got.Image))
				}
			}
			keys := 0
			for _, q := range res.Requests {
				isKey := strings.HasPrefix(q.URL, r.env["BASE_URL"]+"/api/key/")
				if isKey && q.Case == "play" && q.Method == "GET" {
					keys++
				}
				if q.Authorized && !isKey {
					t.Errorf("the token went to %s", q.URL)
				}
			}
			if keys < 1 || keys > 4 {
				t.Errorf("%d key requests", keys)
			}
		})
	}
}
