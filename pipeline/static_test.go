package pipeline_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/pipeline"
)

// download asks for a download of a film that was made.
func (l *lab) download(req pipeline.Request, p *pipeline.Presentation, part pipeline.Part) pipeline.PartRequest {
	return pipeline.PartRequest{
		Hash: req.Hash, Prefix: "fedcba9876543210-1", SourceKey: "nothing/is/there", Part: part,
		Film: pipeline.Film{Length: p.Duration, Prefix: req.Prefix, Encrypted: req.Options.Encrypt},
		ServedKey: func(ctx context.Context, kid *cenc.KID) (cenc.ContentKey, error) {
			if kid != nil {
				return req.StoredKey(ctx, *kid)
			}
			return req.Keys[req.Options.Outputs[0]].Content, nil // it has the bare key URI
		},
	}
}

// A download has the pictures and the sound of the published rung, byte for
// byte, begins with its index, keeps sound and picture together, and needs no
// source; whatever the film is protected by.
func TestStatic(t *testing.T) {
	file := makeSource(t, "a.mp4", join(black("320x180", "25", "1", "5"), silent("1", "5"), silent("2", "5"),
		words("-map 0 -map 1 -map 2 -c:v libx264 -preset ultrafast -bf 2 -g 50 -pix_fmt yuv420p -c:a aac -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu -disposition:a:0 0 -disposition:a:1 default"))...)
	for name, options := range map[string]func(*pipeline.Options){
		"cbcs":                     func(o *pipeline.Options) { o.Outputs = []string{pipeline.OutputCMAF, pipeline.OutputTS} },
		"AES-128 with key periods": func(o *pipeline.Options) { o.Outputs, o.KeyPeriodSeconds = []string{pipeline.OutputCMAFAES128}, 2 },
		"clear":                    func(o *pipeline.Options) { o.Outputs, o.Encrypt = []string{pipeline.OutputCMAF}, false },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			req := l.request(file, func(o *pipeline.Options) { o.Ladder, o.SegmentSeconds = []string{"240p"}, 2 }, options)
			film := l.run(req)
			part := l.download(req, film, pipeline.Static{Rung: "240p"})
			made := l.makePart(part)
			if len(made.Objects) != 1 || made.Objects[0].Name != "static/240p.mp4" || made.Objects[0].ContentType != "video/mp4" || made.Bytes != made.Objects[0].Size {
				t.Errorf("made %+v", made)
			}
			if f := made.Facts; f["static"] != "static/240p.mp4" || f["width"] != 320 || f["height"] != 180 || f["frames"] != 125 || f["audio_tracks"] != 2 {
				t.Errorf("facts %v", f)
			}
			body := l.object(pipeline.Request{Hash: part.Hash, Prefix: part.Prefix}, "static/240p.mp4")
			if moov, mdat := bytes.Index(body, []byte("moov")), bytes.Index(body, []byte("mdat")); moov < 0 || moov > mdat || bytes.Contains(body, []byte("moof")) {
				t.Errorf("the index is at %d, the media at %d", moov, mdat)
			}
			got, output := l.partFile(part, "static/240p.mp4"), req.Options.Outputs[0]
			want := l.clear(req, output, "v-240p")
			if !slices.Equal(frameHashes(t, got, "v"), frameHashes(t, want, "v")) {
				t.Error("other pictures than the film's")
			}
			// The default track, which comes second in the source, is the first one here.
			heard, theirs := frameHashes(t, got, "a"), frameHashes(t, l.clear(req, output, "a-1"), "a")
			if len(heard) < len(theirs)-2 || !slices.Equal(heard[10:20], theirs[len(theirs)-len(heard)+10:][:10]) {
				t.Errorf("other sound than the film's: %d frames of %d", len(heard), len(theirs))
			}
			seen, beeps := measured(t, got, got)
			if seen < 0.98 || seen > 1.02 || beeps < 1.98 || beeps > 2.02 {
				t.Errorf("flash at %.3f s, want 1; beep at %.3f s, want 2", seen, beeps)
			}
		})
	}
}

// What is not there is told, and a damaged film gives no download.
func TestStaticRefuses(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	file := makeSource(t, "a.mp4", join(moving("320x180", "25", "5"), words("-c:v libx264 -preset ultrafast"))...)
	req := l.request(file, func(o *pipeline.Options) {
		o.Ladder, o.SegmentSeconds, o.Outputs = []string{"240p"}, 2, []string{pipeline.OutputCMAF}
	})
	film := l.run(req)
	wantPermanent(t, l, l.download(req, film, pipeline.Static{Rung: "720p"}), pipeline.CodeOptionsInvalid)
	wantPermanent(t, l, l.download(req, film, pipeline.Static{Rung: "p"}), pipeline.CodeOptionsInvalid)
	missing := l.download(req, film, pipeline.Static{Rung: "240p"})
	missing.Film.Prefix = "" // not published
	wantPermanent(t, l, missing, pipeline.CodeOptionsInvalid)
	missing.Film.Prefix = "0000000000000000-1" // without an output in fMP4
	wantPermanent(t, l, missing, pipeline.CodeOptionsInvalid)

	wrong := l.download(req, film, pipeline.Static{Rung: "240p"})
	wrong.ServedKey = func(context.Context, *cenc.KID) (cenc.ContentKey, error) { return cenc.NewContentKey(), nil }
	_, err := l.runner.MakePart(t.Context(), wrong)
	var e *pipeline.Error
	if !errors.As(err, &e) || e.Code != pipeline.CodeVerifyFailed {
		t.Errorf("with a wrong key: %v", err)
	}
}
