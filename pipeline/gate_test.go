package pipeline_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/internal/sandbox"
	"github.com/sealcast/sealcast/pipeline"
)

// onlyEncode runs a script instead of the encoder; other calls of ffmpeg are
// left alone.
func onlyEncode(script string) string {
	return `case "$*" in *-progress*) ` + script + `;; *) exec "$REAL" "$@";; esac`
}

// scripted puts a script in a tool's place. Scripts start processes, which the
// sandbox forbids.
func scripted(t *testing.T, cfg *pipeline.Config, tool, script string) {
	cfg.Sandbox = sandbox.Disable
	path := wrapTool(t, tool, script)
	switch tool {
	case "ffmpeg":
		cfg.FFmpeg = path
	case "ffprobe":
		cfg.FFprobe = path
	case "packager":
		cfg.Packager = path
	}
}

// A child that hangs, or that waits for one that hangs, ends the attempt.
func TestStall(t *testing.T) {
	file := clip(t, "60")
	const stopSoon = `"$REAL" "$@" & p=$!; sleep 1; kill -STOP $p; wait $p`
	for _, c := range []struct {
		name   string
		change func(*pipeline.Config)
	}{
		{"encoder", func(cfg *pipeline.Config) { scripted(t, cfg, "ffmpeg", onlyEncode(stopSoon)) }},
		{"packager", func(cfg *pipeline.Config) { scripted(t, cfg, "packager", stopSoon) }},
		{"probe", func(cfg *pipeline.Config) { scripted(t, cfg, "ffprobe", `exec sleep 600`) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, c.change, func(cfg *pipeline.Config) { cfg.StallAfter = 3 * time.Second })
			req := l.request(file)
			_, err := l.runner.Run(t.Context(), req)
			wantCode(t, err, pipeline.CodeStalled, false)
			l.nothingPlayable(req)
		})
	}
}

// A store that takes its time is no stall.
func TestPatienceWithTheStore(t *testing.T) {
	const stall = 2 * time.Second
	var slow atomic.Bool
	l := newLab(t, func(cfg *pipeline.Config) {
		cfg.StallAfter = stall
		cfg.Media = &spyStore{ObjectStore: cfg.Media, beforePut: func(ctx context.Context, key string) error {
			if strings.HasSuffix(key, "/1.ts") && !slow.Swap(true) {
				select {
				case <-time.After(2 * stall):
				case <-ctx.Done():
				}
			}
			return ctx.Err()
		}}
	})
	l.run(l.request(clip(t, "4")))
	if !slow.Load() {
		t.Error("the store was never slow")
	}
}

// says patches a Matroska file so that it promises another duration.
func says(t *testing.T, file string, stream int, seconds float64) {
	t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if i := bytes.Index(body, []byte{0x44, 0x89, 0x88}); i > 0 { // Segment Info, Duration
		binary.BigEndian.PutUint64(body[i+3:], math.Float64bits(1000*seconds))
	}
	at := 0
	for range stream + 1 { // one tag per stream, in order
		i := bytes.Index(body[at:], []byte("DURATION\x44\x87"))
		if i < 0 {
			t.Fatal("no DURATION tag")
		}
		at += i + len("DURATION\x44\x87") + 1
	}
	copy(body[at:], fmt.Sprintf("%02d:%02d:%012.9f", int(seconds)/3600, int(seconds)/60%60, math.Mod(seconds, 60)))
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What a source promises and does not keep fails it for good.
func TestBrokenPromises(t *testing.T) {
	h264 := words("-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac")
	for _, c := range []struct {
		name, code string
		make       func(t *testing.T) string
	}{
		{"pictures end early", pipeline.CodeSourceTruncated, func(t *testing.T) string {
			f := makeSource(t, "a.mkv", join(moving("320x240", "25", "3"), tone("9"), h264)...)
			says(t, f, 0, 9)
			return f
		}},
		{"sound ends early", pipeline.CodeSourceTruncated, func(t *testing.T) string {
			f := makeSource(t, "a.mkv", join(moving("320x240", "25", "9"), tone("3"), h264)...)
			says(t, f, 1, 9)
			return f
		}},
		{"sound that is shorter than the pictures ends early", pipeline.CodeSourceTruncated, func(t *testing.T) string {
			f := makeSource(t, "a.mkv", join(moving("320x180", "25", "6"), tone("1"), h264)...)
			says(t, f, 1, 3)
			return f
		}},
		{"a gap in the timestamps", pipeline.CodeSourceUnsupported, func(t *testing.T) string {
			f := makeSource(t, "a.mkv", join(moving("320x240", "25", "4"), words("-vf setpts='if(lt(N,50),N,N+50000)/25/TB' -vsync vfr"), h264)...)
			says(t, f, 0, 4)
			return f
		}},
		{"mp4 cut behind the beginning of its media", pipeline.CodeSourceTruncated, func(t *testing.T) string {
			f := makeSource(t, "a.mp4", join(moving("320x240", "25", "20"), tone("20"), h264, words("-movflags +faststart"))...)
			body, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(f, body[:bytes.Index(body, []byte("mdat"))+40], 0o600); err != nil {
				t.Fatal(err)
			}
			return f
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			req := l.request(c.make(t))
			_, err := l.runner.Run(t.Context(), req)
			wantCode(t, err, c.code, true)
			l.nothingPlayable(req)
		})
	}
}

// Silence follows sound that the source says ends early, to the end of the
// pictures, also when its word is a little off.
func TestSilenceFollowsShortSound(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	file := makeSource(t, "a.mkv", join(moving("320x180", "25", "6"), tone("2"), words("-c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac"))...)
	says(t, file, 1, 2.4)
	req := l.request(file)
	p := l.run(req)
	for _, track := range p.Audio {
		if off := (track.Duration - 6*time.Second).Abs(); off > 100*time.Millisecond {
			t.Errorf("%s of %s lasts %s, the pictures 6 s", track.Name, track.Output, track.Duration)
		}
	}
	l.accepted(req, p)
}

// Children that do their work wrong are noticed.
func TestWrongWorkIsNoticed(t *testing.T) {
	file := clip(t, "15")
	// replace runs the tool with one argument's beginning exchanged.
	replace := func(from, to string) string {
		return `for a; do shift; case "$a" in *"` + from + `"*) a="${a%%` + from + `*}` + to + `${a#*` + from + `}";; esac; set -- "$@" "$a"; done; exec "$REAL" "$@"`
	}
	// after runs the tool with the value of one option exchanged.
	after := func(option, value string) string {
		return `p=; for a; do shift; [ "$p" = "` + option + `" ] && a=` + value + `; p=$a; set -- "$@" "$a"; done; exec "$REAL" "$@"`
	}
	for _, c := range []struct {
		name, code string
		change     func(*pipeline.Config)
	}{
		{"a clear lead", pipeline.CodePackFailed, func(cfg *pipeline.Config) {
			scripted(t, cfg, "packager", after("--clear_lead", "5"))
		}},
		{"another scheme", pipeline.CodeVerifyFailed, func(cfg *pipeline.Config) {
			scripted(t, cfg, "packager", after("--protection_scheme", "cenc"))
		}},
		{"another size", pipeline.CodeVerifyFailed, func(cfg *pipeline.Config) {
			scripted(t, cfg, "ffmpeg", onlyEncode(replace("scale=426:240", "scale=424:240")))
		}},
		{"another key frame distance in one rung", pipeline.CodeVerifyFailed, func(cfg *pipeline.Config) {
			scripted(t, cfg, "ffmpeg", onlyEncode(`n=0; p=; for a; do shift; if [ "$p" = -g ]; then n=$((n+1)); [ $n = 2 ] && a=60; fi; p=$a; set -- "$@" "$a"; done; exec "$REAL" "$@"`))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, c.change)
			req := l.request(file)
			_, err := l.runner.Run(t.Context(), req)
			wantCode(t, err, c.code, false)
			l.nothingPlayable(req)
		})
	}
}

// A failed check of an early segment ends the encode. The source is read as
// slowly as it plays.
func TestFailedCheckEndsTheEncode(t *testing.T) {
	l := newLab(t, func(cfg *pipeline.Config) {
		scripted(t, cfg, "ffmpeg", onlyEncode(`exec "$REAL" -re "$@"`))
	})
	req := l.request(clip(t, "60"))
	req.StoredKey = func(context.Context, cenc.KID) (cenc.ContentKey, error) { return cenc.NewContentKey(), nil }
	_, err := l.runner.Run(t.Context(), req)
	wantCode(t, err, pipeline.CodeVerifyFailed, false)
	infos, err := l.media.List(t.Context(), "stream/"+req.Hash+"/")
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		if strings.HasSuffix(info.Key, "/10.ts") {
			t.Error("the encode went on to its end")
		}
	}
}

// The same pictures have the same digests in every container; one changed byte
// of a picture that is no key picture has another.
func TestPictureDigests(t *testing.T) {
	mp4 := makeSource(t, "a.mp4", join(moving("320x240", "25", "4"), words("-c:v libx264 -g 50 -keyint_min 50 -sc_threshold 0 -movflags frag_keyframe+empty_moov"))...)
	ts := makeSource(t, "a.ts", "-i", mp4, "-c", "copy", "-muxdelay", "0")
	digests := func(output string, body []byte) string {
		d, err := pipeline.SegmentDigests(output, body)
		if err != nil {
			t.Fatal(err)
		}
		if len(d) != 2 {
			t.Fatalf("%d key frame distances, want 2", len(d))
		}
		return fmt.Sprintf("%x", d)
	}
	read := func(file string) []byte {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	whole := read(mp4)
	want := digests(pipeline.OutputCMAF, whole)
	if got := digests(pipeline.OutputTS, read(ts)); got != want {
		t.Errorf("in ts %s, in mp4 %s", got, want)
	}
	whole[len(whole)-200] ^= 1
	tail := bytes.LastIndex(whole, []byte("mdat"))
	if tail < 0 || tail > len(whole)-200 {
		t.Fatal("the changed byte is no media")
	}
	if digests(pipeline.OutputCMAF, whole) == want {
		t.Error("a changed picture is not noticed")
	}
}

func TestCompareGOPs(t *testing.T) {
	g := func(names string) (out [][32]byte) {
		for _, c := range names {
			out = append(out, [32]byte{byte(c)})
		}
		return out
	}
	for _, c := range []struct {
		got   string
		first int
		same  bool
	}{
		{"ab", 0, true},
		{"cd", 2, true},
		{"e", 4, true},
		{"", 0, false},
		{"ax", 0, false},
		{"ba", 0, false},
		{"cd", 1, false},
		{"ef", 4, false},
		{"a", 9, false},
	} {
		if err := pipeline.CompareGOPs(g(c.got), g("abcde"), c.first); (err == nil) != c.same {
			t.Errorf("%q from %d: %v", c.got, c.first, err)
		}
	}
}

// What comes after the end of an attempt is refused.
func TestLatePutIsRefused(t *testing.T) {
	sink, closeSink, uploads, aborted := pipeline.SinkForTests()
	put := func(name string) int {
		w := httptest.NewRecorder()
		sink.ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/"+name, strings.NewReader("x")).WithContext(t.Context()))
		return w.Code
	}
	if code := put("ts/a-0/1.ts"); code != http.StatusOK || *uploads != 1 {
		t.Fatalf("status %d, %d uploads", code, *uploads)
	}
	if code := put("ts/a-0/1.ts"); code != http.StatusBadRequest || *uploads != 1 || *aborted == nil {
		t.Errorf("the same segment again: status %d, %d uploads, %v", code, *uploads, *aborted)
	}
	closeSink()
	if code := put("ts/a-0/2.ts"); code != http.StatusBadRequest || *uploads != 1 {
		t.Errorf("late segment: status %d, %d uploads", code, *uploads)
	}
}

func TestManifest(t *testing.T) {
	doc, err := os.ReadFile(filepath.Join("testdata", "manifest.mpd"))
	if err != nil {
		t.Fatal(err)
	}
	made := map[string]int{"cmaf/v-360p": 2, "cmaf/a-0": 2}
	kid, err := cenc.ParseKID("2468c6936d3ea029d774b598b6f70336")
	if err != nil {
		t.Fatal(err)
	}
	protected := pipeline.Protect(pipeline.DefaultOptions(), pipeline.Key{KID: kid})
	for _, c := range []struct{ name, from, to, want string }{
		{"as made", "", "", ""},
		{"another folder", `media="cmaf/v-360p/$Number$.m4s"`, `media="http://127.0.0.1:1/x/$Number$.m4s"`, "not made"},
		{"a base URL", `<Period id="0">`, `<Period id="0"><BaseURL>http://127.0.0.1:1/</BaseURL>`, "base URL"},
		{"a segment too many", `<S t="150000" d="75000"/>`, `<S t="150000" d="75000" r="1"/>`, "3 segments"},
		{"a rendition twice", `cmaf/a-0/`, `cmaf/v-360p/`, "twice"},
		{"another key id", `2468c693`, `2468c694`, "key id"},
		{"another scheme", `value="cbcs"`, `value="cenc"`, "key id"},
		{"live", `type="static"`, `type="dynamic"`, "not static"},
		{"no XML", `<MPD `, `<MPD <`, "parse manifest"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := pipeline.CheckManifest([]byte(strings.ReplaceAll(string(doc), c.from, c.to)), made, protected)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
	if err := pipeline.CheckManifest(doc, made, nil); err == nil {
		t.Error("an encrypted manifest passes for a clear output")
	}
	if err := pipeline.CheckManifest(doc, map[string]int{"cmaf/v-360p": 2, "cmaf/a-0": 2, "cmaf/a-1": 2}, protected); err == nil {
		t.Error("a manifest that lacks a rendition passes")
	}
}
