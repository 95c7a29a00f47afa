package pipeline_test

import (
	"fmt"
	"testing"
	"time"

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

// Each codec tells its own rungs, with its own limits; sound is told as it is
// made; what is billed is the clip.
func TestForecast(t *testing.T) {
	src := &pipeline.Source{
		Duration: 10 * time.Second,
		Video:    pipeline.VideoSource{Codec: "h264", Width: 2560, Height: 1440, SAR: pipeline.Rational{Num: 1, Den: 1}, AvgRate: pipeline.Rational{Num: 25, Den: 1}, BaseRate: pipeline.Rational{Num: 25, Den: 1}},
		Audio:    []pipeline.AudioSource{{Codec: "ac3", Channels: 6, SampleRate: 48000, Language: "en"}},
	}
	clip := *src
	clip.Duration = 4 * time.Second
	opt := pipeline.DefaultOptions()
	opt.Codecs, opt.Audio = []string{"h264", "hevc"}, &pipeline.AudioOptions{Surround: pipeline.CodecEAC3}
	plan, err := pipeline.NewPlan(&clip, opt)
	if err != nil {
		t.Fatal(err)
	}
	d := pipeline.Forecast(src, &clip, plan, opt)
	var got []string
	for _, r := range d.Rungs {
		got = append(got, fmt.Sprintf("%s %s %s %v", r.Codec, r.Rung, r.Reason, r.Made))
	}
	if diff := cmp.Diff([]string{
		"h264 2160p on_request false", "h264 1440p made true", "h264 1080p made true", "h264 720p made true", "h264 480p made true", "h264 360p made true", "h264 240p made true",
		"hevc 2160p on_request false", "hevc 1440p codec_limit false", "hevc 1080p made true", "hevc 720p made true", "hevc 480p made true", "hevc 360p codec_limit false", "hevc 240p codec_limit false",
	}, got); diff != "" {
		t.Error(diff)
	}
	var sound []string
	for _, a := range d.Audio {
		sound = append(sound, fmt.Sprintf("%s %d", a.Codec, a.Channels))
	}
	if diff := cmp.Diff([]string{"aac 2", "eac3 6"}, sound); diff != "" {
		t.Error(diff)
	}
	if d.Seconds != 4 || d.Source.DurationSeconds != 10 {
		t.Errorf("%v of %v seconds", d.Seconds, d.Source.DurationSeconds)
	}
}

// A wish for more content keys than an attempt may have is refused by the plan
// as by the attempt.
func TestDryRunCountsKeyPeriods(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	file := makeSource(t, "a.mp4", "-f", "lavfi", "-i", "color=s=64x64:r=1:d=4200", "-c:v", "mpeg4", "-g", "600")
	req := l.request(file, func(o *pipeline.Options) {
		o.Outputs, o.SegmentSeconds, o.KeyPeriodSeconds = []string{pipeline.OutputCMAFAES128, pipeline.OutputTS}, 2, 2
	})
	_, err := l.runner.DryRun(t.Context(), req)
	wantCode(t, err, pipeline.CodeOptionsInvalid, true)
	req.Options.KeyPeriodSeconds = 4
	if _, err := l.runner.DryRun(t.Context(), req); err != nil {
		t.Error(err)
	}
}
