package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"image/jpeg"
	"os"
	"path/filepath"
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
				if child.MaxRSS > 600<<20 {
					t.Errorf("%s took %d MiB", child.Name, child.MaxRSS>>20)
				}
			}
		})
	}
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
