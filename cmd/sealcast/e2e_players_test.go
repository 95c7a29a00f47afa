package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/player"
	"github.com/sealcast/sealcast/internal/player/browsertest"
)

// playerTitles are what TestE2EPlayers plays, by name.
var playerTitles = map[string]string{
	"cbcs":  `{"outputs":["cmaf","cmaf-aes128","ts"],"segment_seconds":2,"pssh":["widevine","playready"]}`,
	"cenc":  `{"outputs":["cmaf"],"scheme":"cenc","segment_seconds":2}`,
	"av1":   `{"outputs":["cmaf","cmaf-aes128"],"codecs":["av1"],"segment_seconds":2}`,
	"clear": `{"encrypt":false,"outputs":["cmaf"],"segment_seconds":2}`,
}

// The decisive cells of make matrix: AES-128 in MPEG-TS and fMP4, H.264 and
// AV1; cbcs and cenc by the key route alone in hls.js (the adapter) and in Shaka
// Player, by the licence route from HLS and from DASH; a clear one in dash.js.
// Subtitles show in time. Each plays with sound and the right pictures, goes on
// with a fresh token, has it on its key route only, and refuses a wrong one.
func TestE2EPlayers(t *testing.T) {
	if !player.Available() {
		t.Fatal("the player libraries are not built in: run make deps")
	}
	t.Parallel()
	r := newRig(t)
	r.serve()
	films, hashes, jobs := map[string]string{}, map[string]string{}, map[string]string{}
	for name, options := range playerTitles {
		films[name] = subtitled(t, clip(t, "320x180", 6))
		hash, source := r.upload(films[name])
		hashes[name] = hash
		full := fmt.Sprintf(`{"transcode":%s,"cover":false,"preview":false,"storyboard":false}`, options)
		jobs[name] = r.accepted(r.submit("video:full", hash, source, full))
	}
	for _, id := range jobs {
		r.succeeded(id)
		r.partsReady(id)
	}

	const key, licence = "/api/key/", "/api/license/clearkey/"
	var cells []browsertest.Cell
	routes := map[string]string{} // by cell
	for _, c := range []struct{ engine, title, path, scheme, route string }{
		{"hls.js", "cbcs", "ts/master.m3u8", "aes-128", key},
		{"hls.js", "cbcs", "cmaf-aes128/master.m3u8", "aes-128", key},
		{"hls.js", "cbcs", "master.m3u8", "cbcs", key},
		{"hls.js", "cbcs", "eme.m3u8", "cbcs", licence},
		{"Shaka Player", "cbcs", "master.m3u8", "cbcs", key},
		{"Shaka Player", "cbcs", "manifest.mpd", "cbcs", licence},
		{"hls.js", "cenc", "master.m3u8", "cenc", key},
		{"hls.js", "cenc", "eme.m3u8", "cenc", licence},
		{"Shaka Player", "cenc", "master.m3u8", "cenc", key},
		{"Shaka Player", "cenc", "manifest.mpd", "cenc", licence},
		{"hls.js", "av1", "cmaf-aes128/master.m3u8", "aes-128", key},
		{"Shaka Player", "av1", "manifest.mpd", "cbcs", licence},
		{"dash.js", "clear", "manifest.mpd", "", ""},
	} {
		hash := hashes[c.title]
		cell := browsertest.Cell{
			ID: fmt.Sprintf("%s-%s-%s", c.title, strings.ReplaceAll(c.path, "/", "-"), c.engine), Engine: c.engine, Scheme: c.scheme,
			URL: r.env["BASE_URL"] + "/stream/" + hash + "/" + c.path, Licence: r.env["BASE_URL"] + licence + hash,
			Past: 1.5, Times: []float64{1.22, 5.02}, Tones: []float64{440},
			Cues: []browsertest.Cue{{At: 5.02, Text: "last words"}, {At: 3.02}, {At: 1.22, Text: "first words"}},
		}
		if c.scheme != "" {
			own := time.Duration(len(cells)) * time.Second // each is revoked
			cell.Token, cell.Fresh, cell.Wrong = r.token(hash, 10*time.Minute+own), r.token(hash, 20*time.Minute+own), r.token(strings.Repeat("0", 64), 10*time.Minute)
			cell.Probe = r.env["BASE_URL"] + key + hash
		}
		cells = append(cells, cell)
		routes[cell.ID] = c.route + hash
	}
	page := matrixPage(t)
	shown, dir := pictures{t: t}, cmp.Or(os.Getenv("CELL_SHOTS"), t.TempDir())
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	err := browsertest.PlayCells(ctx, browsertest.Site{Page: page.URL, Revocations: r.env["BASE_URL"] + "/api/revocations", APIKey: r.env["API_KEY"]}, dir, 3, cells, func(res browsertest.CellResult) {
		c := cells[slices.IndexFunc(cells, func(c browsertest.Cell) bool { return c.ID == res.ID })]
		title, _, _ := strings.Cut(c.ID, "-")
		if err := shown.judge(c, films[title], res); err != nil {
			t.Errorf("%s: %v", c.ID, err)
		}
		for _, address := range res.Authorized {
			if !strings.HasPrefix(address, r.env["BASE_URL"]+routes[c.ID]) {
				t.Errorf("%s: a token went to %s", c.ID, address)
			}
		}
		if res.KeyRequests > 8 {
			t.Errorf("%s: %d key requests", c.ID, res.KeyRequests)
		}
	})
	if err != nil {
		t.Error(err)
	}
	r.demoPage(t, hashes["cbcs"])
}

// demoPage plays on the page of make dev what it plays beside ts and cmaf.
func (r *rig) demoPage(t *testing.T, hash string) {
	page := httptest.NewServer(player.Handler(r.env["BASE_URL"]))
	defer page.Close()
	var steps []browsertest.Step
	outputs := []string{"cmaf-aes128", "cmaf-dash", "cmaf-eme", "cmaf-identity"}
	for _, output := range outputs {
		address := fmt.Sprintf("%s/#api=%s&hash=%s&output=%s&token=", page.URL, r.env["BASE_URL"], hash, output)
		steps = append(steps, browsertest.Step{
			Name: output, Fresh: true, Goto: address + r.token(hash, 10*time.Minute), Until: `sealcast.error || sealcast.ready && (document.querySelector('video').play(), sealcast.currentTime > 0.5)`,
			Value: `sealcast.error`,
		}, browsertest.Step{
			Name: "not " + output, Fresh: true, Goto: address + r.token(strings.Repeat("0", 64), 10*time.Minute),
			Until: `document.querySelector('video').play().catch(() => {}), sealcast.error`, Value: `[sealcast.error.code, sealcast.currentTime]`,
		})
	}
	w := browsertest.Walk(t, "", 3*time.Minute, steps)
	for _, output := range outputs {
		var code []any
		if err := json.Unmarshal(w.Values["not "+output], &code); err != nil || string(w.Values[output]) != "null" || code[0] != "token_mismatch" || code[1] != 0. {
			t.Errorf("%s: %s, with another title's token: %s", output, w.Values[output], w.Values["not "+output])
		}
	}
}

func matrixPage(t *testing.T) *httptest.Server {
	t.Helper()
	handler, err := browsertest.MatrixPage()
	if err != nil {
		t.Fatal(err)
	}
	page := httptest.NewServer(handler)
	t.Cleanup(page.Close)
	return page
}

// subtitled is a film of 6 s with subtitles: English by default, and German.
func subtitled(t *testing.T, film string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "film.mp4")
	inputs := []string{"-v", "error", "-nostdin", "-i", film}
	for i, words := range [][2]string{{"first words", "last words"}, {"erste Worte", "letzte Worte"}} {
		srt := filepath.Join(dir, fmt.Sprintf("%d.srt", i))
		text := fmt.Sprintf("1\n00:00:00,600 --> 00:00:02,000\n%s\n\n2\n00:00:04,800 --> 00:00:05,600\n%s\n", words[0], words[1])
		if err := os.WriteFile(srt, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		inputs = append(inputs, "-i", srt)
	}
	args := append(slices.Clone(inputs), "-map", "0", "-map", "1", "-map", "2", "-c", "copy", "-c:s", "mov_text", "-metadata:s:s:0", "language=eng", "-metadata:s:s:1", "language=deu",
		"-disposition:s:0", "default", "-disposition:s:1", "0", "-metadata", "comment="+randomHex(8), file)
	if out, err := exec.CommandContext(t.Context(), "ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}
