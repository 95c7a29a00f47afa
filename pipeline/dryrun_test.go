package pipeline_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/pipeline"
)

// A dry run tells every rung with its reason and writes nothing.
func TestDryRun(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	file := makeSource(t, "a.mp4", join(moving("640x370", "25", "2"), tone("2"), words("-c:v mpeg4 -c:a aac"))...)
	req := l.request(file, func(o *pipeline.Options) { o.Ladder = []string{"1080p", "480p", "360p", "240p"} })
	req.Keys, req.StoredKey = nil, nil
	d, err := l.runner.DryRun(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]string{}
	for _, r := range d.Rungs {
		reasons[r.Rung] = r.Reason
		if r.Made != (r.Width > 0) {
			t.Errorf("rung %+v", r)
		}
	}
	if diff := cmp.Diff(map[string]string{
		"2160p": pipeline.RungNotAsked, "1440p": pipeline.RungNotAsked, "1080p": pipeline.RungTooLarge, "720p": pipeline.RungNotAsked,
		"480p": pipeline.RungSourceSize, "360p": pipeline.RungTooNear, "240p": pipeline.RungMade,
	}, reasons); diff != "" {
		t.Error(diff)
	}
	if s := d.Source; s.Codec != "mpeg4" || s.Width != 640 || s.Height != 370 || s.FrameRate != 25 || s.DurationSeconds < 1.9 || s.Bytes == 0 || len(s.Audio) != 1 || s.Audio[0].Codec != "aac" {
		t.Errorf("source %+v", s)
	}
	if len(d.Audio) != 1 || !d.Encrypted || d.Work <= 0 || d.Kept < d.Work {
		t.Errorf("%+v", d)
	}
	if left, err := l.media.List(t.Context(), pipeline.KeyPrefix(req.Hash, req.Prefix)); err != nil || len(left) != 0 {
		t.Errorf("%d objects, %v", len(left), err)
	}
	// A part of the film is a part of the work, and the facts are those of the whole.
	req.Options.Clip = &pipeline.Clip{End: 1}
	half, err := l.runner.DryRun(t.Context(), req)
	if err != nil || half.Source.DurationSeconds != d.Source.DurationSeconds || half.Work > 0.55*d.Work || half.Work < 0.45*d.Work {
		t.Errorf("%+v, %v", half, err)
	}
	req.Options.Clip = &pipeline.Clip{Start: 100}
	_, err = l.runner.DryRun(t.Context(), req)
	wantCode(t, err, pipeline.CodeOptionsInvalid, true)
	// The film is as it was told.
	p := l.run(l.request(file, func(o *pipeline.Options) { o.Ladder = []string{"1080p", "480p", "360p", "240p"}; o.Encrypt = false }))
	var made []string
	for _, v := range p.Video {
		if v.Output == pipeline.OutputCMAF {
			made = append(made, v.Rung)
		}
	}
	if diff := cmp.Diff([]string{"480p", "240p"}, made); diff != "" {
		t.Error(diff)
	}
}
