package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/player"
)

// playbackKey makes a playback key of the title.
func (r *rig) playbackKey(id, hash string, private bool) {
	r.t.Helper()
	_, err := r.db.Exec(r.t.Context(), `
		INSERT INTO playback_keys (id, hash, environment, private) VALUES ($1, $2, 'production', $3)`, id, hash, private)
	if err != nil {
		r.t.Fatal(err)
	}
}

// ffmpegPlays decodes what lies at a URL with nothing but the URL, and says how
// many pictures there were.
func ffmpegPlays(t *testing.T, url string) (frames int, err error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "ffprobe", "-v", "error", "-count_frames", "-select_streams", "v:0",
		"-show_entries", "stream=nb_read_frames", "-of", "json", url)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	var found struct {
		Streams []struct {
			Frames string `json:"nb_read_frames"`
		}
	}
	if err := json.Unmarshal(out, &found); err != nil || len(found.Streams) == 0 {
		return 0, fmt.Errorf("ffprobe says %s", out)
	}
	_, err = fmt.Sscan(found.Streams[0].Frames, &frames)
	return frames, err
}

// TestE2EDelivery serves a private title by every carrier, closes it under its
// hash, and plays it on the player page in a real browser.
func TestE2EDelivery(t *testing.T) {
	if !player.Available() {
		t.Fatal("the player libraries are not built in: run make deps")
	}
	r := newRig(t)
	p := r.serve()
	hash, source := r.upload(subtitled(t, clip(t, "640x360", 6)))
	body := fmt.Sprintf(`{"type":"video:full","hash":%q,"source":%q,"private":true}`, hash, source)
	job := r.succeeded(r.accepted(r.do("POST", "/api/jobs", body, "Content-Type: application/json", "X-API-Key: "+r.env["API_KEY"])))
	r.partsReady(job.ID)
	r.playbackKey("film-one", hash, true)
	r.playbackKey("film-open", hash, false)
	tok := r.token(hash, 10*time.Minute)

	t.Run("closed under its hash", func(t *testing.T) {
		r.t = t
		for _, path := range []string{"master.m3u8", "ts/master.m3u8", "manifest.mpd", "poster.jpg"} {
			if a := r.do("GET", "/stream/"+hash+"/"+path, "", "Authorization: Bearer "+tok); a.status != http.StatusNotFound {
				t.Errorf("%s: %d", path, a.status)
			}
		}
		var name, prefix string
		err := r.db.QueryRow(t.Context(), `SELECT name, prefix FROM publication_objects WHERE name LIKE '%.ts' LIMIT 1`).Scan(&name, &prefix)
		if err != nil {
			t.Fatal(err)
		}
		if a := r.do("GET", "/stream/"+hash+"/"+prefix+"/"+name, ""); a.status != http.StatusNotFound {
			t.Errorf("a segment: %d", a.status)
		}
		r.patch(hash, `{"private":false}`)
		if a := r.do("GET", "/stream/"+hash+"/"+prefix+"/"+name, ""); a.status != http.StatusOK {
			t.Errorf("a segment, opened: %d", a.status)
		}
		r.patch(hash, `{"private":true}`)
		if a := r.do("GET", "/stream/"+hash+"/"+prefix+"/"+name, ""); a.status != http.StatusNotFound {
			t.Errorf("a segment, closed again: %d", a.status)
		}
	})

	t.Run("plays from a URL alone", func(t *testing.T) {
		base := r.env["BASE_URL"] + "/v1/"
		want := 0
		for name, url := range map[string]string{
			"public":       base + "p/film-open/master.m3u8",
			"path":         base + "p/film-one/t/" + tok + "/master.m3u8",
			"path, ts":     base + "p/film-one/t/" + tok + "/ts/master.m3u8",
			"path, cmaf":   base + "p/film-one/t/" + tok + "/cmaf/master.m3u8",
			"query":        base + "p/film-one/master.m3u8?token=" + tok,
			"query, ts":    base + "p/film-one/ts/master.m3u8?jwt=" + tok,
			"legacy, jwt":  base + "film-one/master.m3u8?jwt=" + tok,
			"legacy, open": base + "film-open/master.m3u8",
		} {
			frames, err := ffmpegPlays(t, url)
			if want == 0 {
				want = frames
			}
			if err != nil || frames == 0 || frames != want {
				t.Errorf("%s: %d pictures, want %d: %v", name, frames, want, err)
			}
		}
		for name, url := range map[string]string{
			"nothing": base + "p/film-one/master.m3u8", "another's": base + "p/film-one/t/" + r.token(strings.Repeat("0", 64), 10*time.Minute) + "/master.m3u8",
		} {
			if frames, err := ffmpegPlays(t, url); err == nil {
				t.Errorf("%s: %d pictures", name, frames)
			}
		}
	})

	t.Run("keys as others have them", func(t *testing.T) {
		r.t = t
		ask := func(tok string) (answers []answer) {
			for path, header := range map[string]string{
				"/v1/video/playback/key/" + tok + "/" + job.ID: "Accept: */*",
				"/video/key/" + job.ID:                         "Cookie: __Secure-pb=" + tok,
				"/api/key/" + hash:                             "Authorization: Bearer " + tok,
			} {
				answers = append(answers, r.do("GET", path, "", header))
			}
			return answers
		}
		var minted struct{ Token string }
		m := r.do("POST", "/api/playback-keys/film-one/tokens", "{}", "Content-Type: application/json", "X-API-Key: "+r.env["API_KEY"])
		if err := json.Unmarshal(m.body, &minted); err != nil || minted.Token == "" {
			t.Fatalf("%d %s", m.status, m.body)
		}
		s := r.do("POST", "/v1/p/film-one/session", "", "Authorization: Bearer "+tok)
		cookie, _, _ := strings.Cut(s.header.Get("Set-Cookie"), ";")
		d := r.do("GET", "/v1/p/film-one/key", "", "Cookie: "+cookie)
		if d.status != 200 || len(d.body) != 16 {
			t.Errorf("by the session's cookie: %d", d.status)
		}
		for _, a := range ask(minted.Token) {
			if a.status != 200 || string(a.body) != string(d.body) {
				t.Errorf("a token for the playback key: %d %s", a.status, a.body)
			}
		}
		// The title is private: a token for its hash opens playback keys alone,
		// until it is opened, and then again.
		closed := func(want bool) {
			t.Helper()
			deadline := time.Now().Add(2 * time.Second)
			for {
				right := 0
				for _, a := range ask(tok) {
					if (want && a.status == http.StatusForbidden && strings.Contains(string(a.body), "token_mismatch")) || (!want && string(a.body) == string(d.body)) {
						right++
					}
				}
				if right == 3 {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("closed %v: %d of 3 routes", want, right)
				}
			}
		}
		closed(true)
		r.patch(hash, `{"private":false}`)
		closed(false)
		r.patch(hash, `{"private":true}`)
		closed(true)
	})

	gone := r.token(hash, time.Second)
	time.Sleep(1100 * time.Millisecond) // exp has whole seconds
	t.Run("on the player page", func(t *testing.T) { r.watch(t, hash, tok, gone) })
	t.Run("by the browser itself", func(t *testing.T) { r.native(t, hash, tok) })
	t.Run("by a cookie", func(t *testing.T) { r.dashboard(t, tok) })
	t.Run("inside another page", func(t *testing.T) { r.embedded(t, gone, tok) })
	t.Run("in the console", func(t *testing.T) { r.console(t, hash) })

	if log := p.out.String(); strings.Contains(log, tok) || strings.Contains(log, tok[strings.LastIndexByte(tok, '.')+1:]) {
		t.Error("a token stands in the log")
	}
}

func (r *rig) patch(hash, body string) {
	r.t.Helper()
	if a := r.do("PATCH", "/api/media/"+hash, body, "Content-Type: application/json", "X-API-Key: "+r.env["API_KEY"]); a.status != http.StatusOK {
		r.t.Fatalf("%d %s", a.status, a.body)
	}
}

func quoteJS(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
