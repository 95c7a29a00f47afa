package pipeline_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/pipeline"
)

func source(width, height int, rate pipeline.Rational) *pipeline.Source {
	return &pipeline.Source{
		Container: pipeline.Container{Demuxer: "mov"}, Duration: 20 * time.Second,
		Video: pipeline.VideoSource{Width: width, Height: height, SAR: pipeline.Rational{Num: 1, Den: 1}, BaseRate: rate, AvgRate: rate},
	}
}

func TestLadder(t *testing.T) {
	for _, c := range []struct {
		name          string
		width, height int
		num, den      int
		sar           pipeline.Rational
		rotation      int
		ladder        []string
		want          string
	}{
		{name: "full HD", width: 1920, height: 1080, num: 30, den: 1, want: "1080p 1920x1080@30/1 g60, 720p 1280x720@30/1 g60, 480p 854x480@30/1 g60, 360p 640x360@30/1 g60, 240p 426x240@30/1 g60; 6"},
		{name: "UHD without asking", width: 3840, height: 2160, num: 25, den: 1, want: "1440p 2560x1440@25/1 g50, 1080p 1920x1080@25/1 g50, 720p 1280x720@25/1 g50, 480p 854x480@25/1 g50, 360p 640x360@25/1 g50, 240p 426x240@25/1 g50; 6"},
		{name: "UHD on request", width: 3840, height: 2160, num: 25, den: 1, ladder: []string{"2160p", "720p"}, want: "2160p 3840x2160@25/1 g50, 720p 1280x720@25/1 g50; 6"},
		{name: "portrait", width: 1080, height: 1920, num: 25, den: 1, ladder: []string{"720p"}, want: "720p 720x1280@25/1 g50; 6"},
		{name: "portrait by matrix", width: 1920, height: 1080, num: 25, den: 1, rotation: 90, ladder: []string{"720p"}, want: "720p 720x1280@25/1 g50; 6"},
		{name: "between two rungs", width: 1000, height: 600, num: 25, den: 1, want: "720p 1000x600@25/1 g50, 480p 800x480@25/1 g50, 360p 600x360@25/1 g50, 240p 400x240@25/1 g50; 6"},
		{name: "within a tenth of a rung", width: 720, height: 528, num: 25, den: 1, want: "720p 720x528@25/1 g50, 360p 490x360@25/1 g50, 240p 328x240@25/1 g50; 6"},
		{name: "smaller than all", width: 160, height: 90, num: 25, den: 1, want: "240p 160x90@25/1 g50; 6"},
		{name: "only larger rungs asked for", width: 640, height: 360, num: 25, den: 1, ladder: []string{"1080p"}, want: "1080p 640x360@25/1 g50; 6"},
		{name: "anamorphic", width: 720, height: 576, num: 25, den: 1, sar: pipeline.Rational{Num: 64, Den: 45}, ladder: []string{"480p"}, want: "480p 854x480@25/1 g50; 6"},
		{name: "NTSC", width: 640, height: 360, num: 30000, den: 1001, want: "360p 640x360@30000/1001 g60, 240p 426x240@30000/1001 g60; 6.006"},
		{name: "60 halves small rungs", width: 1280, height: 720, num: 60, den: 1, want: "720p 1280x720@60/1 g120, 480p 854x480@30/1 g60, 360p 640x360@30/1 g60, 240p 426x240@30/1 g60; 6"},
		{name: "120 is capped", width: 320, height: 240, num: 120, den: 1, want: "240p 320x240@30/1 g60; 6"},
		{name: "1 frame per second", width: 320, height: 240, num: 1, den: 1, want: "240p 320x240@5/1 g10; 6"},
		{name: "a slide show", width: 320, height: 240, num: 3, den: 10, want: "240p 320x240@51/10 g10; 5.88235"},
		{name: "very wide", width: 8000, height: 400, num: 25, den: 1, want: "480p 4096x204@25/1 g50; 6"},
		{name: "12.5", width: 320, height: 240, num: 25, den: 2, want: "240p 320x240@25/2 g25; 6"},
		{name: "odd clock", width: 320, height: 240, num: 1000000, den: 66667, want: "240p 320x240@15/1 g30; 6"},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := source(c.width, c.height, pipeline.Rational{Num: c.num, Den: c.den})
			if c.sar.Num != 0 {
				src.Video.SAR = c.sar
			}
			src.Video.Rotation = c.rotation
			opt := pipeline.DefaultOptions()
			opt.Ladder = c.ladder
			plan, err := pipeline.NewPlan(src, opt)
			if err != nil {
				t.Fatal(err)
			}
			var rungs []string
			for _, v := range plan.Video {
				rungs = append(rungs, fmt.Sprintf("%s %dx%d@%s g%d", v.Rung.Name, v.Width, v.Height, v.Rate, v.GOP))
				if v.Width%2 != 0 || v.Height%2 != 0 {
					t.Errorf("%s: odd size", v.Rung.Name)
				}
				// The grid: every rung's GOP lasts equally long, and a segment is a multiple of it.
				gop := float64(v.GOP) / v.Rate.Float()
				if n := plan.SegmentSeconds / gop; math.Abs(n-math.Round(n)) > 1e-9 || n < 1 {
					t.Errorf("%s: %.4f key frame distances per segment", v.Rung.Name, n)
				}
			}
			got := fmt.Sprintf("%s; %.6g", strings.Join(rungs, ", "), plan.SegmentSeconds)
			if got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*pipeline.Options)
		want   string // in the message; empty: valid
	}{
		{"defaults", func(*pipeline.Options) {}, ""},
		{"no outputs", func(o *pipeline.Options) { o.Outputs = nil }, "outputs is empty"},
		{"unknown output", func(o *pipeline.Options) { o.Outputs = []string{"webm"} }, "known outputs are cmaf, cmaf-aes128, ts"},
		{"output twice", func(o *pipeline.Options) { o.Outputs = []string{"ts", "ts"} }, "twice"},
		{"every output", func(o *pipeline.Options) { o.Outputs = []string{"ts", "cmaf-aes128", "cmaf"} }, ""},
		{"clear and always encrypted", func(o *pipeline.Options) { o.Encrypt, o.Outputs = false, []string{"cmaf-aes128"} }, "always encrypted"},
		{"cenc", func(o *pipeline.Options) { o.Scheme = "cenc" }, ""},
		{"unknown scheme", func(o *pipeline.Options) { o.Scheme = "cbc1" }, "options.scheme"},
		{"scheme of nothing", func(o *pipeline.Options) { o.Scheme, o.Outputs = "cenc", []string{"ts"} }, "options.scheme"},
		{"scheme of a clear title", func(o *pipeline.Options) { o.Scheme, o.Encrypt = "cenc", false }, "options.scheme"},
		{"both systems", func(o *pipeline.Options) { o.PSSH = []string{"widevine", "playready"} }, ""},
		{"unknown system", func(o *pipeline.Options) { o.PSSH = []string{"fairplay"} }, "known systems are widevine, playready"},
		{"system twice", func(o *pipeline.Options) { o.PSSH = []string{"widevine", "widevine"} }, "twice"},
		{"systems of nothing", func(o *pipeline.Options) { o.PSSH, o.Outputs = []string{"widevine"}, []string{"ts"} }, "options.pssh"},
		{"unknown rung", func(o *pipeline.Options) { o.Ladder = []string{"800p"} }, "known rungs are 2160p"},
		{"rung twice", func(o *pipeline.Options) { o.Ladder = []string{"720p", "720p"} }, "twice"},
		{"unknown codec", func(o *pipeline.Options) { o.Codecs = []string{"vp9"} }, "known codecs are h264, hevc, av1"},
		{"codec twice", func(o *pipeline.Options) { o.Codecs = []string{"av1", "av1"} }, "twice"},
		{"ts without h264", func(o *pipeline.Options) { o.Codecs = []string{"av1"} }, "carries h264 only"},
		{"unknown passthrough", func(o *pipeline.Options) { o.Passthrough = "on" }, "use auto or off"},
		{"unknown surround", func(o *pipeline.Options) { o.Audio = &pipeline.AudioOptions{Surround: "dts"} }, "use aac, eac3 or off"},
		{"a clip backwards", func(o *pipeline.Options) { o.Clip = &pipeline.Clip{Start: 5, End: 4} }, "options.clip is from 5 to 4 s"},
		{"deafening", func(o *pipeline.Options) { o.Loudness = &pipeline.Loudness{LUFS: 3} }, "options.loudness is 3 LUFS"},
		{"a watermark of nothing", func(o *pipeline.Options) { o.Watermark = &pipeline.Watermark{} }, "watermark.source is missing"},
		{"a watermark nowhere", func(o *pipeline.Options) { o.Watermark = &pipeline.Watermark{Source: "a", Position: "left"} }, "use one of top-left"},
		{"an invisible watermark", func(o *pipeline.Options) {
			o.Watermark = &pipeline.Watermark{Source: "a", Position: "center"}
		}, "opacity is 0"},
		{"odd segments", func(o *pipeline.Options) { o.SegmentSeconds = 5 }, "segment_seconds is 5"},
		{"long segments", func(o *pipeline.Options) { o.SegmentSeconds = 14 }, "segment_seconds is 14"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := pipeline.DefaultOptions()
			c.change(&o)
			err := o.Validate()
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			var perr *pipeline.Error
			if !errors.As(err, &perr) || perr.Code != pipeline.CodeOptionsInvalid || !perr.Permanent || !strings.Contains(perr.Message, c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	a, b := pipeline.DefaultOptions(), pipeline.DefaultOptions()
	a.Outputs, a.Ladder = []string{"ts", "cmaf"}, []string{"480p", "720p"}
	b.Ladder = []string{"720p", "480p"}
	a.Scheme, a.PSSH = "cbcs", []string{}
	if diff := cmp.Diff(a.Canonical(), b.Canonical()); diff != "" {
		t.Error(diff)
	}
}

// Goldens: what the children are told, one argument per line.
func TestArguments(t *testing.T) {
	src := source(1280, 720, pipeline.Rational{Num: 60, Den: 1})
	src.Video.Interlaced = true
	src.Audio = []pipeline.AudioSource{
		{Index: 1, Channels: 2, Language: "en", Default: true}, {Index: 2, Channels: 6, Language: "fil", Title: "Commentary"},
	}
	hdr := source(3840, 2160, pipeline.Rational{Num: 24000, Den: 1001})
	hdr.Video.Transfer = "smpte2084"
	opt := pipeline.DefaultOptions()
	opt.Ladder = []string{"720p", "480p", "360p"}
	plan, err := pipeline.NewPlan(src, opt)
	if err != nil {
		t.Fatal(err)
	}
	hdrPlan, err := pipeline.NewPlan(hdr, opt)
	if err != nil {
		t.Fatal(err)
	}
	cencOpt := opt
	cencOpt.Scheme, cencOpt.PSSH = "cenc", []string{"playready", "widevine"}
	key := pipeline.Key{KID: cenc.NewKID()}
	rs := pipeline.Renditions(plan)
	const source, sink = "http://127.0.0.1:1/secret/source", "http://127.0.0.1:1/secret/out"
	for name, args := range map[string][]string{
		"encode":       pipeline.EncodeArgs(src, plan, source, 3, 4),
		"encode-light": pipeline.EncodeArgs(src, pipeline.Light(plan), source, 3, 4),
		"encode-hdr":   pipeline.EncodeArgs(hdr, hdrPlan, source, 3, 4),
		"cover":        pipeline.CoverArgs(src, source, 2*time.Second, 24),
		"preview":      pipeline.PreviewArgs(src, source, pipeline.Preview{Width: 320, FPS: 10, Format: "webp"}, 2*time.Second, 3*time.Second),
		"preview-gif":  pipeline.PreviewArgs(src, source, pipeline.Preview{Width: 320, FPS: 10, Format: "gif"}, 0, 3*time.Second),
		"storyboard":   pipeline.BoardArgs(src, source, pipeline.Storyboard{Width: 160, Interval: 2}, true, 3),
		"pack-cbcs":    pipeline.PackArgs("cmaf", rs, plan, sink, 3, pipeline.Protect(opt, key)),
		"pack-cenc":    pipeline.PackArgs("cmaf", rs, plan, sink, 3, pipeline.Protect(cencOpt, key)),
		"pack-clear":   pipeline.PackArgs("cmaf", rs, plan, sink, 3, nil),
		"pack-aes128":  pipeline.PackArgs("cmaf-aes128", rs, plan, sink, 3, nil),
		"pack-ts":      pipeline.PackArgs("ts", rs, plan, sink, 3, nil),
	} {
		golden(t, name+".args", strings.Join(args, "\n")+"\n")
	}
}

// golden compares with testdata; UPDATE=1 writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if os.Getenv("UPDATE") == "1" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (UPDATE=1 writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestMultivariantPlaylist(t *testing.T) {
	golden(t, "master.m3u8", string(pipeline.SampleMaster()))
}

// BANDWIDTH is the worst of any run of segments between half and one and a
// half target durations: a short last segment alone does not count.
func TestMeasure(t *testing.T) {
	for _, c := range []struct {
		name          string
		seconds       []float64
		bytes         []int64
		peak, average int64
	}{
		{"even", []float64{6, 6}, []int64{6000, 6000}, 8000, 8000},
		{"one worse", []float64{6, 6, 6}, []int64{6000, 12000, 6000}, 16000, 10667},
		{"short last one is dense", []float64{6, 6, 0.5}, []int64{6000, 6000, 6000}, 14770, 11520},
		{"only a short one", []float64{1}, []int64{1000}, 8000, 8000},
	} {
		t.Run(c.name, func(t *testing.T) {
			peak, average := pipeline.MeasureSegments(6, c.seconds, c.bytes)
			if peak != c.peak || average != c.average {
				t.Errorf("got %d and %d, want %d and %d", peak, average, c.peak, c.average)
			}
		})
	}
}

func TestSealSegment(t *testing.T) {
	key := cenc.NewContentKey()
	seen := map[string]bool{}
	for n := range 50 {
		plain := bytes.Repeat([]byte{byte(n)}, n)
		sealed, iv, err := pipeline.SealSegment(key, bytes.Clone(plain))
		if err != nil {
			t.Fatal(err)
		}
		if seen[string(iv[:])] {
			t.Fatal("an IV came twice")
		}
		seen[string(iv[:])] = true
		// The other implementation: the test's own.
		if n > 0 && !bytes.Equal(undoAES128(t, key.Bytes(), hex.EncodeToString(iv[:]), bytes.Clone(sealed)), plain) {
			t.Errorf("%d bytes do not come back", n)
		}
		if opened, err := pipeline.OpenSegment(key, iv, bytes.Clone(sealed)); err != nil || !bytes.Equal(opened, plain) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestDisjointIVs(t *testing.T) {
	r := pipeline.IVs
	for _, c := range []struct {
		name   string
		ranges []pipeline.IVRange
		good   bool
	}{
		{"none", nil, true},
		{"one behind the other", []pipeline.IVRange{r(10, 19), r(1, 9), r(20, 20)}, true},
		{"one in common", []pipeline.IVRange{r(1, 9), r(9, 19)}, false},
		{"one within another", []pipeline.IVRange{r(1, 9), r(3, 4)}, false},
		{"the same", []pipeline.IVRange{r(1, 1), r(1, 1)}, false},
		{"over the end", []pipeline.IVRange{r(1<<64-1, 3)}, false},
	} {
		if err := pipeline.Disjoint(c.ranges); (err == nil) != c.good {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestRedactKeys(t *testing.T) {
	const key = "00112233445566778899aabbccddeeff"
	for _, s := range []string{
		"bad --keys=label=:key_id=" + key + ":key=" + key, "KEY=" + strings.ToUpper(key), "Invalid key " + key + "!",
	} {
		if got := pipeline.RedactKeys(s); strings.Contains(strings.ToLower(got), key) {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func TestSniff(t *testing.T) {
	for want, head := range map[string]string{
		"mov": "\x00\x00\x00\x20ftypisom", "matroska": "\x1aE\xdf\xa3....", "avi": "RIFF\x00\x00\x00\x00AVI LIST",
		"mpegts": strings.Repeat("\x47"+strings.Repeat("\xff", 187), 3), "flv": "FLV\x01", "ogg": "OggS", "": "#EXTM3U\n",
	} {
		if got := pipeline.Sniff([]byte(head)); got != want {
			t.Errorf("sniff(%.12q) = %q, want %q", head, got, want)
		}
	}
}
