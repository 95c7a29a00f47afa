package pipeline_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// lavfi inputs: a moving picture and a tone.
func moving(size, rate, seconds string) []string {
	return []string{"-f", "lavfi", "-i", "testsrc2=s=" + size + ":r=" + rate + ":d=" + seconds}
}

func tone(seconds string) []string {
	return []string{"-f", "lavfi", "-i", "sine=440:r=44100:d=" + seconds}
}

func join(parts ...[]string) []string {
	var out []string
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func words(s string) []string { return strings.Fields(s) }

// Broken sources fail for good with a code, and nothing that refers to a
// segment is in the store.
func TestBrokenSources(t *testing.T) {
	whole := makeSource(t, "whole.mp4", join(moving("640x360", "25", "20"), tone("20"), words("-c:v libx264 -preset ultrafast -g 25 -c:a aac -movflags +faststart"))...)
	body, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	mkv := makeSource(t, "whole.mkv", "-i", whole, "-c", "copy")
	mkvBody, err := os.ReadFile(mkv)
	if err != nil {
		t.Fatal(err)
	}
	audio := makeSource(t, "audio.m4a", join(tone("3"), words("-c:a aac"))...)
	audioBody, err := os.ReadFile(audio)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, code string
		body       []byte
	}{
		{"empty", pipeline.CodeSourceEmpty, nil},
		{"text", pipeline.CodeSourceUnreadable, []byte("hello, I am no film\n")},
		{"playlist under a video's name", pipeline.CodeSourceUnreadable, []byte("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")},
		{"concat list", pipeline.CodeSourceUnreadable, []byte("ffconcat version 1.0\nfile /etc/passwd\n")},
		{"box header and nothing else", pipeline.CodeSourceUnreadable, []byte("\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2")},
		{"mp4 truncated by half", pipeline.CodeSourceTruncated, body[:len(body)/2]},
		{"mkv truncated by half", pipeline.CodeSourceTruncated, mkvBody[:len(mkvBody)/2]},
		{"mp4 without its index", pipeline.CodeSourceUnreadable, body[len(body)-4096:]},
		{"audio only", pipeline.CodeSourceNoVideo, audioBody},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			file := filepath.Join(t.TempDir(), "bad.mp4")
			if err := os.WriteFile(file, c.body, 0o600); err != nil {
				t.Fatal(err)
			}
			req := l.request(file)
			_, err := l.runner.Run(t.Context(), req)
			var perr *pipeline.Error
			if !errors.As(err, &perr) || perr.Code != c.code || !perr.Permanent || perr.Message == "" {
				t.Fatalf("got %v, want a permanent %s", err, c.code)
			}
			l.nothingPlayable(req)
		})
	}
	t.Run("missing", func(t *testing.T) {
		l := newLab(t)
		req := l.request(whole)
		req.SourceKey = "uploads/nothing"
		_, err := l.runner.Run(t.Context(), req)
		var perr *pipeline.Error
		if !errors.As(err, &perr) || perr.Code != pipeline.CodeSourceNotFound || !perr.Permanent {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("too large", func(t *testing.T) {
		l := newLab(t)
		req := l.request(whole)
		req.MaxSourceBytes = 1000
		_, err := l.runner.Run(t.Context(), req)
		var perr *pipeline.Error
		if !errors.As(err, &perr) || perr.Code != pipeline.CodeSourceTooLarge || !perr.Permanent {
			t.Fatalf("got %v", err)
		}
	})
}

// The packager writes a fragment of one sample without a list of sizes: the
// gate must find the size where it is.
func TestLastSegmentOfOnePicture(t *testing.T) {
	l := newLab(t)
	file := makeSource(t, "a.mp4", join(moving("160x90", "25", "2.04"), words("-c:v libx264 -preset ultrafast"))...)
	req := l.request(file, func(o *pipeline.Options) { o.SegmentSeconds = 2 })
	p := l.run(req)
	if p.Video[0].Frames != 51 {
		t.Errorf("%d frames, want 51", p.Video[0].Frames)
	}
	l.playable(req, p)
}
