package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A film with subtitles of its own and some put later: the masters of both
// outputs and the manifest lead to both; what was put can be taken off. ffmpeg's
// own HLS reader leaves subtitles out, so this follows the playlists itself; that
// of DASH has them.
func TestE2ETextTracks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.serve()
	dir := t.TempDir()
	srt, film := filepath.Join(dir, "s.srt"), filepath.Join(dir, "film.mkv")
	if err := os.WriteFile(srt, []byte("1\n00:00:01,000 --> 00:00:02,000\nof the source\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("ffmpeg", "-v", "error", "-nostdin", "-i", clip(t, "320x180", 4), "-i", srt, "-c", "copy", "-c:s", "srt",
		"-metadata:s:s:0", "language=eng", film).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	hash, source := r.upload(film)
	job := r.accepted(r.submit("video:full", hash, source, `{"transcode":{"encrypt":false,"passthrough":"off"},"cover":false,"preview":false,"storyboard":false}`))
	r.succeeded(job)
	r.partsReady(job)
	put := r.do("PUT", "/api/media/"+hash+"/tracks/de?default=true", "WEBVTT\n\n00:03.000 --> 00:03.500\nspäter\n", r.apiKey(), "Content-Type: text/vtt")
	r.succeeded(r.accepted(put))

	// Each master leads to playlists whose first segment has the text, on its clock.
	uri := regexp.MustCompile(`TYPE=SUBTITLES.*LANGUAGE="(en|de)".*URI="([^"]+)/index.m3u8"`)
	for name, ticks := range map[string]string{"master.m3u8": "MPEGTS:0,", "ts/master.m3u8": "MPEGTS:90000,"} {
		master := r.do("GET", "/stream/"+hash+"/"+name, "")
		found := uri.FindAllStringSubmatch(string(master.body), -1)
		if len(found) != 2 {
			t.Fatalf("%s names other tracks:\n%s", name, master.body)
		}
		for i, want := range []string{"\nof the source\n", "00:00:03.000 --> 00:00:03.500\nspäter\n"} {
			dir := "/stream/" + hash + "/" + path.Join(path.Dir(name), found[i][2])
			list, segment := r.do("GET", dir+"/index.m3u8", ""), r.do("GET", dir+"/1.vtt", "")
			if !strings.Contains(string(list.body), "1.vtt\n#EXT-X-ENDLIST") || !strings.Contains(string(segment.body), want) ||
				!strings.Contains(string(segment.body), ticks) || !strings.HasPrefix(segment.header.Get("Content-Type"), "text/vtt") {
				t.Errorf("%s, %s:\n%s\n%s", name, found[i][1], list.body, segment.body)
			}
		}
	}
	manifest := r.do("GET", "/stream/"+hash+"/manifest.mpd", "")
	if manifest.status != http.StatusOK || strings.Count(string(manifest.body), `mimeType="text/vtt"`) != 2 {
		t.Errorf("manifest: %d\n%s", manifest.status, manifest.body)
	}
	for track, want := range []string{"of the source", "später"} {
		out, err := exec.CommandContext(t.Context(), "ffmpeg", "-v", "error", "-nostdin", "-i", r.env["BASE_URL"]+"/stream/"+hash+"/manifest.mpd",
			"-map", fmt.Sprintf("0:s:%d", track), "-f", "webvtt", "-").CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("ffmpeg reads no text %q in DASH: %v\n%s", want, err, out)
		}
	}
	var listed struct {
		Tracks []struct {
			ID       string
			Embedded bool
			URL      string
		}
	}
	a := r.do("GET", "/api/media/"+hash+"/tracks", "", r.apiKey())
	if err := json.Unmarshal(a.body, &listed); err != nil || len(listed.Tracks) != 2 || listed.Tracks[0].ID != "en" || !listed.Tracks[0].Embedded || listed.Tracks[1].ID != "de" {
		t.Fatalf("tracks: %s", a.body)
	}
	if a := r.do("DELETE", "/api/media/"+hash+"/tracks/de", "", r.apiKey()); a.status != http.StatusNoContent {
		t.Errorf("delete: %d %s", a.status, a.body)
	}
	if a := r.do("GET", "/api/media/"+hash+"/tracks", "", r.apiKey()); strings.Contains(string(a.body), `"de"`) {
		t.Errorf("after it was taken off: %s", a.body)
	}
}
