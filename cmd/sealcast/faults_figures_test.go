//go:build faults

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// running waits until the jobs run, each in its first attempt.
func (f *faultRig) running(ids []string) {
	f.t.Helper()
	f.until("all jobs run", func() bool {
		return f.count(`SELECT count(*) FROM jobs WHERE id = ANY($1) AND state = 'running' AND stage = 'encode'`, ids) == len(ids)
	})
}

// again measures how long each job takes from now to its second attempt.
func (f *faultRig) again(ids []string) (took []time.Duration) {
	f.t.Helper()
	began := time.Now()
	seen := map[string]bool{}
	f.until("every job runs again", func() bool {
		for _, id := range ids {
			if j := f.row(id); j.Attempt > 1 && !seen[id] {
				seen[id] = true
				took = append(took, time.Since(began))
			}
		}
		return len(seen) == len(ids)
	})
	return took
}

// TestFigures measures what the reliability promises say in seconds, and
// prints it; it fails only where an invariant does. FIGURE_ROUNDS (5) sets how
// often.
func TestFigures(t *testing.T) {
	rounds := fromEnv("FIGURE_ROUNDS", 5)
	t.Run("another worker takes over", func(t *testing.T) {
		f := newFaultRig(t)
		f.serveAPI()
		var took []time.Duration
		for range rounds {
			first := f.worker(environment{"WORKER_CONCURRENCY": "2"})
			var ids []string
			for range 2 {
				ids = append(ids, f.film(t, "640x360", 40))
			}
			f.running(ids)
			second := f.worker(environment{"WORKER_CONCURRENCY": "2"})
			outage(t, 2*time.Second) // it has looked for dead workers, and will not again
			f.kill9(first)
			took = append(took, f.again(ids)...)
			for _, id := range ids {
				f.ends(id, "succeeded")
			}
			second.stop(t)
		}
		t.Logf("re-dispatch after SIGKILL, to another worker: p50 %.1f s, p99 %.1f s of %d (goal ≤ 20)",
			percentile(took, 50).Seconds(), percentile(took, 99).Seconds(), len(took))
		f.invariants(t)
	})
	t.Run("the same worker starts again", func(t *testing.T) {
		f := newFaultRig(t)
		f.serveAPI()
		var took []time.Duration
		for range rounds {
			worker := f.worker(nil)
			id := f.film(t, "640x360", 40)
			f.running([]string{id})
			f.kill9(worker)
			worker = f.run(nil, []string{"worker"})
			took = append(took, f.again([]string{id})...)
			f.ends(id, "succeeded")
			worker.stop(t)
		}
		t.Logf("re-dispatch after SIGKILL, the same worker started again: p50 %.1f s, p99 %.1f s of %d (goal ≤ 3)",
			percentile(took, 50).Seconds(), percentile(took, 99).Seconds(), len(took))
		f.invariants(t)
	})
	t.Run("Redis loses everything", func(t *testing.T) {
		f := newCrashRig(t)
		f.serveAPI()
		var ids []string
		for range rounds {
			ids = append(ids, f.film(t, "320x240", 4))
		}
		f.rung()
		if err := f.redisNow().FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		worker := f.worker(environment{"WORKER_CONCURRENCY": "100"})
		var last time.Duration
		f.until("every job runs", func() bool {
			last = time.Since(began)
			return f.count(`SELECT count(*) FROM jobs WHERE attempt = 0`) == 0
		})
		t.Logf("after total loss of Redis the last of %d waiting jobs began after %.1f s (goal ≤ 75)", rounds, last.Seconds())
		for _, id := range ids {
			f.ends(id, "succeeded")
		}
		worker.stop(t)
		f.invariants(t)
	})
	t.Run("truncated sources", figureTruncated)
	t.Run("hostile sources", figureHostile)
}

// refused submits files and waits until each job has failed; it returns how
// many were published.
func (f *faultRig) refused(t *testing.T, files []string) int {
	t.Helper()
	for _, file := range files {
		hash, source := f.upload(file)
		id := f.accepted(f.submit("video:transcode", hash, source, `{"encrypt":true,"outputs":["ts"]}`))
		f.until("the job has ended", func() bool { s := f.row(id).State; return s == "failed" || s == "succeeded" })
		if j := f.row(id); j.State != "failed" {
			t.Errorf("%s: %+v", filepath.Base(file), j)
		}
	}
	return f.count(`SELECT count(*) FROM publications`)
}

// figureTruncated cuts films whose index is at the front at every tenth.
func figureTruncated(t *testing.T) {
	f := newFaultRig(t)
	f.serveAPI()
	f.worker(nil)
	whole := filepath.Join(t.TempDir(), "whole.mp4")
	if out, err := exec.Command("ffmpeg", "-v", "error", "-i", clip(t, "320x240", 12), "-c", "copy", "-movflags", "+faststart", whole).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	body, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for tenth := 1; tenth < 10; tenth++ {
		file := filepath.Join(t.TempDir(), fmt.Sprintf("%d-tenths.mp4", tenth))
		if err := os.WriteFile(file, body[:len(body)*tenth/10], 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	t.Logf("truncated sources: %d, published %d", len(files), f.refused(t, files))
	f.nothingLeft(t)
}

// figureHostile submits sources that name a URL or another file in the ways
// that ffmpeg follows, and counts who is reached.
func figureHostile(t *testing.T) {
	f := newFaultRig(t)
	f.serveAPI()
	worker := f.worker(nil)
	var reached atomic.Int64
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			reached.Add(1)
			_ = conn.Close()
		}
	}()
	other := clip(t, "320x240", 2) // another tenant's film, which ffmpeg could read
	away := "http://" + ln.Addr().String() + "/x.ts"
	var files []string
	for name, text := range map[string]string{
		"hls-url.mp4":    "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n" + away + "\n#EXT-X-ENDLIST\n",
		"hls-file.mp4":   "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nfile://" + other + "\n#EXT-X-ENDLIST\n",
		"hls-concat.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nconcat:" + away + "|" + other + "\n#EXT-X-ENDLIST\n",
		"hls-key.mp4":    "#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"" + away + "\"\n#EXTINF:5,\n" + away + "\n#EXT-X-ENDLIST\n",
		"ffconcat.mp4":   "ffconcat version 1.0\nfile '" + other + "'\n",
		"ffconcat-2.mp4": "ffconcat version 1.0\nfile '" + away + "'\n",
		"dash.mp4":       `<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT5S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>` + away + `</BaseURL></Representation></AdaptationSet></Period></MPD>`,
		"sdp.mp4":        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
		"ffmeta.mp4":     ";FFMETADATA1\ntitle=x\n",
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	published := f.refused(t, files)
	t.Logf("hostile sources: %d, reached the network %d, published %d", len(files), reached.Load(), published)
	if reached.Load() != 0 || published != 0 {
		t.Errorf("%d connections, %d publications", reached.Load(), published)
	}
	if strings.Contains(worker.out.String(), filepath.Dir(other)) {
		t.Error("a tool has looked at the other file")
	}
	f.nothingLeft(t)
}
