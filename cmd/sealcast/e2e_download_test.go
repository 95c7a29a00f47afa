package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/sealcast/sealcast/token"
)

// TestE2EDownloads takes the progressive MP4 of an encrypted title, and its
// original, by its playback key and by nothing else; without keep_source there
// is no original.
func TestE2EDownloads(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.serve()
	submit := func(file, id, more string) (hash, job string) {
		hash, source := r.upload(file)
		body := fmt.Sprintf(`{"type":"video:full","hash":%q,"source":%q,"options":{"cover":false,"preview":false,"storyboard":false,"text":false,
			"static_mp4":["240p"],"transcode":{"ladder":["240p"],"outputs":["cmaf"]}}%s}`, hash, source, more)
		job = r.accepted(r.do("POST", "/api/jobs", body, "Content-Type: application/json", r.apiKey()))
		_, err := r.db.Exec(t.Context(), `
			INSERT INTO playback_keys (id, hash, environment, private, downloads) VALUES ($1, $2, 'production', true, true)`, id, hash)
		if err != nil {
			t.Fatal(err)
		}
		return hash, job
	}
	kept := clip(t, "320x180", 3)
	hash, job := submit(kept, "kept-film", "")
	removed, other := submit(clip(t, "320x180", 2), "removed-film", `,"keep_source":false`)
	done := r.partsReady(job)
	r.partsReady(other)

	tok := r.token(hash, 10*time.Minute)
	base := "/v1/p/kept-film/"
	a := r.do("GET", base+"static/240p.mp4", "", "Authorization: Bearer "+tok)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "video/mp4" {
		t.Fatalf("the download: %d %s", a.status, a.header)
	}
	file := filepath.Join(t.TempDir(), "a.mp4")
	if err := os.WriteFile(file, a.body, 0o600); err != nil {
		t.Fatal(err)
	}
	if frames, err := ffmpegPlays(t, file); err != nil || frames != 75 {
		t.Errorf("the download has %d pictures, want 75: %v", frames, err)
	}
	if p := r.do("GET", base+"static/240p.mp4", "", "Authorization: Bearer "+tok, "Range: bytes=4-7"); p.status != http.StatusPartialContent || string(p.body) != "ftyp" {
		t.Errorf("a range: %d %q", p.status, p.body)
	}
	var prefix string
	if err := r.db.QueryRow(t.Context(), `SELECT prefix FROM asset_parts WHERE hash = $1 AND kind = 'static'`, hash).Scan(&prefix); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/stream/" + hash + "/static/240p.mp4", "/stream/" + hash + "/" + prefix + "/static/240p.mp4", "/stream/" + hash + "/original"} {
		if a := r.do("GET", path, "", "Authorization: Bearer "+tok); a.status != http.StatusNotFound {
			t.Errorf("%s: %d", path, a.status)
		}
	}
	if a := r.do("GET", base+"static/240p.mp4", ""); a.status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", a.status)
	}
	if bytes.Contains(done.Parts[0].Results, []byte("/stream/")) {
		t.Errorf("results %s", done.Parts[0].Results)
	}

	want, err := os.ReadFile(kept)
	if err != nil {
		t.Fatal(err)
	}
	a = r.do("GET", base+"original", "", "Authorization: Bearer "+tok)
	if a.status != http.StatusOK || !bytes.Equal(a.body, want) || a.header.Get("Content-Disposition") != "attachment" || a.header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("the original: %d, %d bytes of %d, %v", a.status, len(a.body), len(want), a.header)
	}
	if _, err := r.db.Exec(t.Context(), `INSERT INTO playback_keys (id, hash, environment, private) VALUES ('only-watch', $1, 'production', true)`, hash); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"original", "static/240p.mp4"} {
		if a := r.do("GET", "/v1/p/only-watch/"+name, "", "Authorization: Bearer "+tok); a.status != http.StatusForbidden || a.code() != token.CodeScope {
			t.Errorf("%s, where nothing may be downloaded: %d %s", name, a.status, a.code())
		}
	}
	// Other bytes under the source's name are nobody's original.
	if _, err := r.source.Put(t.Context(), "uploads/"+hash+"/"+filepath.Base(kept), []byte("other"), "video/mp4", ""); err != nil {
		t.Fatal(err)
	}
	if a := r.do("GET", base+"original", "", "Authorization: Bearer "+tok); a.status != http.StatusNotFound {
		t.Errorf("other bytes: %d", a.status)
	}

	gone := "Authorization: Bearer " + r.token(removed, 10*time.Minute)
	for deadline := time.Now().Add(time.Minute); r.count(`SELECT count(*) FROM source_removals WHERE job_id = $1`, other) > 0; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the source is not removed")
		}
	}
	if a := r.do("GET", "/v1/p/removed-film/original", "", gone); a.status != http.StatusNotFound {
		t.Errorf("a source that was removed: %d", a.status)
	}
	if a := r.do("GET", "/v1/p/removed-film/static/240p.mp4", "", gone); a.status != http.StatusOK {
		t.Errorf("its download: %d", a.status)
	}
	// A download needs no source: it can be asked for after that.
	again := r.accepted(r.do("POST", "/api/jobs", fmt.Sprintf(`{"type":"video:static","hash":%q,"source":"gone.mp4","options":{"rung":"240p"}}`, removed),
		"Content-Type: application/json", r.apiKey()))
	r.succeeded(again)
}
