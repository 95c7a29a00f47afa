package pipeline_test

import (
	"bytes"
	"errors"
	"math"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// loudnessOf measures a file by EBU R 128, apart from the product.
func loudnessOf(t *testing.T, file string) (lufs, peak float64) {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-i", file, "-map", "0:a:0",
		"-af", "loudnorm=print_format=json", "-f", "null", "-").CombinedOutput()
	if err != nil {
		t.Fatalf("loudnorm of %s: %v\n%s", file, err, out)
	}
	number := func(field string) float64 {
		m := regexp.MustCompile(`"` + field + `" : "(-?[0-9.]+)"`).FindSubmatch(out)
		if m == nil {
			t.Fatalf("no %s in\n%s", field, out)
		}
		v, _ := strconv.ParseFloat(string(m[1]), 64)
		return v
	}
	return number("input_i"), number("input_tp")
}

// grey returns one grey pixel of a picture, where a part of it is averaged.
func grey(t *testing.T, file, crop string) byte {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-i", file, "-map", "0:v:0", "-frames:v", "1",
		"-vf", crop+",scale=1:1:flags=area,format=gray", "-f", "rawvideo", "-").Output()
	if err != nil || len(out) != 1 {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
	return out[0]
}

// A clip with a loudness and a watermark: the frames, the loudness and the
// pixels are those that were asked for, and the whole source was hashed.
func TestClipLoudnessWatermark(t *testing.T) {
	l := newLab(t)
	// A flash and a beep at 2 s; a quiet tone under it.
	file := makeSource(t, "a.mp4",
		"-f", "lavfi", "-i", "color=black:s=320x180:r=25:d=7,drawbox=color=white:t=fill:enable='between(t,2,2.18)'",
		"-f", "lavfi", "-i", "aevalsrc='if(between(t,2,2.2),0.1*sin(2*PI*880*t),0.02*sin(2*PI*440*t))':s=48000:d=7",
		"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "50", "-c:a", "aac", "-b:a", "192k")
	mark := makeSource(t, "mark.png", "-f", "lavfi", "-i", "color=white:s=64x32", "-frames:v", "1")
	body, err := os.ReadFile(mark)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.source.Put(t.Context(), "marks/white.png", body, "image/png", ""); err != nil {
		t.Fatal(err)
	}
	copy(body[40:], "not what a PNG has behind its header") // its checksums do not fit
	if _, err := l.source.Put(t.Context(), "marks/broken.png", body[:60], "image/png", ""); err != nil {
		t.Fatal(err)
	}
	req := l.request(file, clear, func(o *pipeline.Options) {
		w := pipeline.DefaultWatermark()
		w.Source, w.Opacity, w.Scale, w.Position = "marks/white.png", 0.5, 0.2, "bottom-left"
		o.Clip, o.Loudness, o.Watermark = &pipeline.Clip{Start: 1.4, End: 5}, &pipeline.Loudness{LUFS: -23, TruePeak: -1}, &w
	})
	p := l.run(req)
	if v := p.Video[0]; v.Frames != 90 || v.Copied || p.Audio[0].GainDB < 3 {
		t.Errorf("%d frames, copied %v, gain %.2f dB", v.Frames, v.Copied, p.Audio[0].GainDB)
	}
	l.playable(req, p)
	picture, sound := l.clear(req, "cmaf", "v-240p"), l.clear(req, "cmaf", "a-0")
	if seen, heard := firstWhite(t, picture), beepAt(t, sound); math.Abs(seen-0.6) > 0.001 || math.Abs(heard-0.6) > 0.025 {
		t.Errorf("flash at %.3f s, beep at %.3f s; want 0.6", seen, heard)
	}
	if lufs, peak := loudnessOf(t, sound); math.Abs(lufs+23) > 0.7 || peak > 0 {
		t.Errorf("%.1f LUFS, peaks of %.1f dBTP", lufs, peak)
	}
	// 64 pixels wide, 32 high, 5 from the edges; half of white over black.
	if in := grey(t, picture, "crop=40:20:16:148"); in < 110 || in > 145 {
		t.Errorf("in the watermark the picture is %d, want half of white", in)
	}
	for _, beside := range []string{"crop=40:20:120:148", "crop=40:20:16:100", "crop=40:20:260:5"} {
		if out := grey(t, picture, beside); out > 20 {
			t.Errorf("beside the watermark (%s) the picture is %d", beside, out)
		}
	}
	for name, c := range map[string]struct {
		change func(*pipeline.Options)
		want   string
	}{
		"begins after the end":  {func(o *pipeline.Options) { o.Clip = &pipeline.Clip{Start: 8} }, "begins at 8s"},
		"no such watermark":     {func(o *pipeline.Options) { o.Watermark.Source = "marks/none.png" }, "not in the source bucket"},
		"a broken watermark":    {func(o *pipeline.Options) { o.Watermark.Source = "marks/broken.png" }, "cannot be decoded"},
		"a film as a watermark": {func(o *pipeline.Options) { o.Watermark.Source = req.SourceKey }, "neither PNG"},
	} {
		bad := req
		mark := *req.Options.Watermark
		bad.Options.Watermark = &mark
		c.change(&bad.Options)
		_, err := l.runner.Run(t.Context(), bad)
		var e *pipeline.Error
		if !errors.As(err, &e) || e.Code != pipeline.CodeOptionsInvalid || !strings.Contains(e.Message, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// beepAt finds where the sound gets louder, in seconds.
func beepAt(t *testing.T, file string) float64 {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-i", file, "-map", "0:a:0",
		"-af", "highpass=f=800", "-ac", "1", "-ar", "48000", "-f", "s16le", "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	samples := make([]float64, len(out)/2)
	loudest := 0.0
	for i := range samples {
		samples[i] = math.Abs(float64(int16(uint16(out[2*i]) | uint16(out[2*i+1])<<8)))
		loudest = max(loudest, samples[i])
	}
	for i, v := range samples {
		if v > loudest/2 {
			return float64(i) / 48000
		}
	}
	return -1
}

func TestGain(t *testing.T) {
	l := pipeline.DefaultLoudness()
	for _, c := range []struct{ lufs, peak, want float64 }{
		{-26, -20, 10}, // quiet
		{-10, 0, -6},   // loud
		{-26, -5, 3.5}, // its peaks are in the way
		{-70, -70, 0},  // silence
	} {
		if got := pipeline.Gain(l, c.lufs, c.peak); got != c.want {
			t.Errorf("%v LUFS, %v dBTP: %v dB, want %v", c.lufs, c.peak, got, c.want)
		}
	}
	lufs, peak, err := pipeline.ParseLoudness("[x] Summary:\n\n  Integrated loudness:\n    I:         -21.4 LUFS\n    Threshold: -31.7 LUFS\n\n  True peak:\n    Peak:       -inf dBFS\n")
	if err != nil || lufs != -21.4 || peak != -70 {
		t.Errorf("%v, %v, %v", lufs, peak, err)
	}
	if _, _, err := pipeline.ParseLoudness("nothing"); err == nil {
		t.Error("no summary passes")
	}
}

func TestSniffPicture(t *testing.T) {
	for head, want := range map[string]string{
		"\x89PNG\r\n\x1a\n....": "png_pipe", "\xff\xd8\xff\xe0": "jpeg_pipe", "RIFF\x01\x02\x03\x04WEBPVP8L": "webp_pipe",
		"RIFF": "", "<svg>": "", "": "", "GIF89a": "",
	} {
		if got := pipeline.SniffPicture(bytes.Clone([]byte(head))); got != want {
			t.Errorf("%q is %q, want %q", head, got, want)
		}
	}
}
