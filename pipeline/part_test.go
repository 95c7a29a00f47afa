package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"image/jpeg"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// part asks for a part of a file.
func (l *lab) part(file string, part pipeline.Part) pipeline.PartRequest {
	l.t.Helper()
	req := l.request(file)
	return pipeline.PartRequest{Hash: req.Hash, Prefix: "fedcba9876543210-1", SourceKey: req.SourceKey, Part: part}
}

func (l *lab) makePart(req pipeline.PartRequest) *pipeline.MadePart {
	l.t.Helper()
	made, err := l.runner.MakePart(l.t.Context(), req)
	if err != nil {
		l.t.Fatalf("make %T: %v", req.Part, err)
	}
	return made
}

// partFile is an object of a part as a file.
func (l *lab) partFile(req pipeline.PartRequest, name string) string {
	l.t.Helper()
	file := filepath.Join(l.t.TempDir(), filepath.Base(name))
	body := l.object(pipeline.Request{Hash: req.Hash, Prefix: req.Prefix}, name)
	if err := os.WriteFile(file, body, 0o600); err != nil {
		l.t.Fatal(err)
	}
	return file
}

func number(v float64) *float64 { return &v }

// The cover of a film with a black beginning and a black middle shows its
// pictures; with a time it shows what the film shows then.
func TestCover(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	file := makeSource(t, "dark.mp4", words(`-f lavfi -i testsrc2=s=320x180:r=25:d=8 -vf drawbox=c=black:t=fill:enable='lt(t,3)+gt(t,6)' -c:v libx264 -preset ultrafast -g 25`)...)
	req := l.part(file, pipeline.Cover{})
	made := l.makePart(req)
	if len(made.Objects) != 1 || made.Objects[0].Name != "poster.jpg" || made.Objects[0].ContentType != "image/jpeg" || !made.SourceVerified || made.SourceETag == "" || made.Bytes != made.Objects[0].Size {
		t.Errorf("made %+v", made)
	}
	var in, out int64
	for _, s := range made.Stages {
		in, out = in+s.In, out+s.Out
	}
	if in != made.BytesRead || in < made.SourceBytes || out != made.Bytes {
		t.Errorf("%d bytes in, %d out, made %+v", in, out, made)
	}
	for _, c := range made.Children {
		if c.Stage != pipeline.StageProbe && c.Stage != pipeline.StageEncode || c.CPU <= 0 {
			t.Errorf("child %+v", c)
		}
	}
	best := l.partFile(req, "poster.jpg")
	if d := difference(look(t, best, "0"), look(t, file, "4.2")); d > 40 {
		t.Errorf("the cover differs by %.0f from a picture of the middle", d)
	}
	if d := difference(look(t, best, "0"), look(t, file, "1")); d < 60 {
		t.Errorf("the cover is nearly black: %.0f", d)
	}

	req = l.part(file, pipeline.Cover{Time: number(5)})
	req.Prefix = "fedcba9876543210-2"
	made = l.makePart(req)
	if made.Facts["time"] != 5.0 || made.Facts["width"] != 320 || made.Facts["height"] != 180 {
		t.Errorf("facts %v", made.Facts)
	}
	if d := difference(look(t, l.partFile(req, "poster.jpg"), "0"), look(t, file, "5")); d > 3 {
		t.Errorf("the cover at 5 s differs by %.1f", d)
	}
	req.Part, req.Prefix = pipeline.Cover{Time: number(8.5)}, "fedcba9876543210-3"
	wantPermanent(t, l, req, "options_invalid")
}

// A preview that is larger than what is kept of it is refused for good.
func TestPreviewIsTooLarge(t *testing.T) {
	t.Parallel()
	const rest = "exec head -c 67108864 /dev/zero" // 64 MiB after the first byte
	l := newLab(t, func(cfg *pipeline.Config) { scripted(t, cfg, "ffmpeg", "printf R; "+rest) })
	file := makeSource(t, "a.mp4", join(moving("64x64", "5", "2"), words("-c:v mpeg4"))...)
	wantPermanent(t, l, l.part(file, pipeline.Preview{}), pipeline.CodeOptionsInvalid)
}

func wantPermanent(t *testing.T, l *lab, req pipeline.PartRequest, code string) {
	t.Helper()
	_, err := l.runner.MakePart(t.Context(), req)
	var e *pipeline.Error
	if !errors.As(err, &e) || e.Code != code || !e.Permanent {
		t.Errorf("got %v, want %s for good", err, code)
	}
}

// A film with much more sound than picture has a cover, an all black one too,
// and one larger than 1080p a cover of 1080p.
func TestCoverOfOddFilms(t *testing.T) {
	for name, args := range map[string][]string{
		"a.mp4": join(moving("320x240", "25", "2"), tone("40"), words("-c:v mpeg4 -c:a mp2")),
		"a.avi": join(moving("320x240", "25", "2"), tone("40"), words("-c:v mpeg4 -c:a mp2")),
		"b.mp4": words("-f lavfi -i color=black:s=320x180:r=25:d=2 -c:v libx264 -preset ultrafast"),
		"c.mp4": join(moving("3840x2160", "10", "1"), words("-c:v libx264 -preset ultrafast")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			req := l.part(makeSource(t, name, args...), pipeline.Cover{})
			made := l.makePart(req)
			size, err := jpeg.DecodeConfig(bytes.NewReader(l.object(pipeline.Request{Hash: req.Hash, Prefix: req.Prefix}, "poster.jpg")))
			if err != nil || size.Height > 1080 || size.Width < 320 {
				t.Errorf("%+v, %v", size, err)
			}
			for _, child := range made.Children {
				// A child inherits the peak of the process that started it.
				if child.MaxRSS > 600<<20 && child.MaxRSS > peakOfThisProcess(t) {
					t.Errorf("%s took %d MiB", child.Name, child.MaxRSS>>20)
				}
			}
		})
	}
}

// peakOfThisProcess returns its largest resident set so far, in bytes.
func peakOfThisProcess(t *testing.T) int64 {
	t.Helper()
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		t.Fatal(err)
	}
	return ru.Maxrss << 10
}

// A part of other bytes than the asset's is refused, unless they are known to
// be the asset's: then they are not read through.
func TestPartChecksItsSource(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	req := l.part(makeSource(t, "a.mp4", join(moving("320x180", "25", "2"), words("-c:v libx264 -preset ultrafast"))...), pipeline.Cover{})
	req.Hash = "00" + req.Hash[2:]
	wantPermanent(t, l, req, "source_hash_mismatch")
	asked := ""
	req.Verified = func(_ context.Context, etag string) (bool, error) { asked = etag; return true, nil }
	req.Prefix = "fedcba9876543210-2"
	if made := l.makePart(req); asked == "" || made.SourceETag != asked {
		t.Errorf("asked for %q, made %+v", asked, made)
	}
}

// A preview moves, has the length, the size and the speed that were asked for,
// and shows what the film shows.
func TestPreview(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	file := makeSource(t, "a.mp4", join(moving("320x180", "25", "6"), words("-c:v libx264 -preset ultrafast -g 50"))...)
	for i, c := range []struct {
		part   pipeline.Preview
		name   string
		start  float64
		frames int
		width  int
	}{
		{pipeline.Preview{}, "preview.webp", 0.6, 30, 320},
		{pipeline.Preview{Start: number(4), Length: 5, Width: 160, FPS: 5, Format: "gif"}, "preview.gif", 4, 10, 160},
	} {
		req := l.part(file, c.part)
		req.Prefix = "fedcba9876543210-" + string(rune('1'+i))
		made := l.makePart(req)
		if made.Facts["preview"] != c.name || made.Facts["start"] != c.start || made.Facts["frames"] != c.frames || made.Facts["width"] != c.width || made.Facts["height"] != c.width*9/16 {
			t.Errorf("%s: facts %v", c.name, made.Facts)
		}
		if kind := made.Objects[0].ContentType; kind != "image/"+c.name[len("preview."):] {
			t.Errorf("%s is %s", c.name, kind)
		}
		if c.name == "preview.gif" { // Debian's ffmpeg reads no animated WebP
			if d := difference(look(t, l.partFile(req, c.name), "1"), look(t, file, "5")); d > 12 {
				t.Errorf("%s differs by %.1f", c.name, d)
			}
		}
	}
	req := l.part(file, pipeline.Preview{Start: number(6.5)})
	req.Prefix = "fedcba9876543210-3"
	wantPermanent(t, l, req, "options_invalid")
}

// The pictures of a storyboard are those of the film at their times, also where
// key frames are rare; every moment has one.
func TestStoryboard(t *testing.T) {
	for name, args := range map[string]string{
		"often.mp4": "-c:v libx264 -preset ultrafast -g 25", "rarely.mp4": "-c:v libx264 -preset ultrafast -g 9999",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			file := makeSource(t, name, join(moving("320x180", "25", "8"), words(args))...)
			req := l.part(file, pipeline.Storyboard{Width: 80})
			made := l.makePart(req)
			if made.Facts["pictures"] != 8 || made.Facts["sheets"] != 1 || made.Facts["interval"] != 1.0 {
				t.Errorf("facts %v", made.Facts)
			}
			vtt := string(l.object(pipeline.Request{Hash: req.Hash, Prefix: req.Prefix}, "storyboard.vtt"))
			if !strings.HasPrefix(vtt, "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\nstoryboard-1.jpg#xywh=0,0,80,46\n") ||
				!strings.HasSuffix(vtt, "\n00:00:07.000 --> 00:00:08.000\nstoryboard-1.jpg#xywh=560,0,80,46\n") {
				t.Errorf("vtt:\n%s", vtt)
			}
			sheet := l.partFile(req, "storyboard-1.jpg")
			for at, want := range map[string]string{"0:0": "0", "240:0": "3", "560:0": "7"} {
				cut := makeSource(t, "tile.png", "-i", sheet, "-vf", "crop=80:46:"+at, "-frames:v", "1")
				if d := difference(look(t, cut, "0"), look(t, file, want)); d > 10 {
					t.Errorf("the picture at %s differs by %.1f from that of %s s", at, d, want)
				}
			}
		})
	}
}
