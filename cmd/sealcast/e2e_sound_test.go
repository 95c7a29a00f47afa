package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealcast/sealcast/worker"
)

// TestE2ESound makes sound alone out of a task in the queue and out of a
// request, plans it, verifies it with the program and takes its downloads.
func TestE2ESound(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.serve()
	song := func(seconds int) string {
		file := filepath.Join(t.TempDir(), "song.m4a")
		out, err := exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", fmt.Sprintf("sine=440:d=%d", seconds), "-f", "lavfi", "-i", "color=red:s=64x64:d=0.04",
			"-map", "0", "-map", "1", "-c:v", "mjpeg", "-disposition:v", "attached_pic", "-c:a", "aac", file).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return file
	}
	hash, source := r.upload(song(4))
	r.task(worker.TypeAudio, "song-1", fmt.Sprintf(`{"hash":%q,"source":%q,"options":{"bit_rates":[128,64],"segment_seconds":2,"download":"mp3"}}`, hash, source))
	job := r.partsReady("song-1")
	var results struct {
		Video []json.RawMessage                         `json:"video_tracks"`
		Audio []struct{ Output, Codec string }          `json:"audio_tracks"`
		Keys  struct{ Outputs []struct{ Name string } } `json:"encryption"`
	}
	if err := json.Unmarshal(job.Results, &results); err != nil || job.State != "succeeded" || len(results.Video) != 0 || len(results.Audio) != 4 || len(results.Keys.Outputs) != 2 {
		t.Errorf("%s: %s, %v", job.State, job.Results, err)
	}
	tok := r.token(hash, 10*time.Minute)
	for _, entry := range []string{"master.m3u8", "eme.m3u8", "manifest.mpd", "cmaf-aes128/master.m3u8"} {
		code, report, out := runVerify(t, r, r.env["BASE_URL"]+"/stream/"+hash+"/"+entry, tok, "-origin", "http://127.0.0.1:1234", "-strict")
		if code != exitOK || !report.OK || len(report.Renditions) != 2 || report.Keys == 0 {
			t.Errorf("%s: exit code %d\n%s", entry, code, out)
		}
	}
	if _, err := r.db.Exec(t.Context(), `INSERT INTO playback_keys (id, hash, environment, private, downloads) VALUES ('a-song', $1, 'production', true, true)`, hash); err != nil {
		t.Fatal(err)
	}
	a := r.do("GET", "/v1/p/a-song/static/audio.mp3", "", "Authorization: Bearer "+tok)
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "audio/mpeg" || len(a.body) < 4*24000-3000 {
		t.Errorf("the MP3: %d %v, %d bytes", a.status, a.header, len(a.body))
	}
	if a := r.do("GET", "/stream/"+hash+"/static/audio.mp3", "", "Authorization: Bearer "+tok); a.status != http.StatusNotFound {
		t.Errorf("the MP3 under its hash: %d", a.status)
	}

	// By a request: first the plan, then clear, then a film, which it is not.
	hash, source = r.upload(song(3))
	plan := r.succeeded(r.accepted(r.do("POST", "/api/jobs", fmt.Sprintf(`{"type":"audio:transcode","hash":%q,"source":%q,"dry_run":true,"options":{"download":"m4a"}}`, hash, source),
		"Content-Type: application/json", r.apiKey())))
	var planned struct {
		Audio []struct {
			BitRate int `json:"bit_rate"`
		}
		Rungs    []json.RawMessage
		Parts    []string
		Estimate struct {
			CPU     float64 `json:"cpu_seconds"`
			Storage int     `json:"storage_bytes"`
		}
	}
	if err := json.Unmarshal(plan.Results, &planned); err != nil || plan.Type != "video:plan" || len(planned.Audio) != 1 || planned.Audio[0].BitRate != 128000 ||
		planned.Rungs == nil || len(planned.Rungs) != 0 || len(planned.Parts) != 1 || planned.Estimate.CPU <= 0 || planned.Estimate.Storage < 2*40000 {
		t.Errorf("plan %s, %v", plan.Results, err)
	}
	r.succeeded(r.accepted(r.submit("audio:transcode", hash, source, `{"encrypt":false}`)))
	if code, report, out := runVerify(t, r, r.env["BASE_URL"]+"/stream/"+hash+"/manifest.mpd", "", "-strict"); code != exitOK || report.Keys != 0 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	film := r.accepted(r.submit("video:transcode", hash, source, `{"encrypt":false}`))
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		if j := r.job(film); j.State == "failed" {
			if j.Error == nil || j.Error.Code != "source_no_video" {
				t.Errorf("%+v", j.Error)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a film of a song does not fail")
		}
	}
}

// task enqueues as an upload service does, and waits until the job is there.
func (r *rig) task(kind, id, payload string) {
	r.t.Helper()
	opt, err := asynq.ParseRedisURI(r.env["REDIS_URL"])
	if err != nil {
		r.t.Fatal(err)
	}
	client := asynq.NewClient(opt)
	defer func() { _ = client.Close() }()
	if _, err := client.EnqueueContext(r.t.Context(), asynq.NewTask(kind, []byte(payload)), asynq.TaskID(id), asynq.Queue(worker.QueueDefault)); err != nil {
		r.t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); r.count(`SELECT count(*) FROM jobs WHERE id = $1`, id) == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("task %s becomes no job", id)
		}
	}
}
