package pipeline_test

import (
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

func TestSegmentGrid(t *testing.T) {
	every := func(n, frames int64) (gops []int64) {
		for at := int64(0); at < frames; at += n {
			gops = append(gops, at)
		}
		return gops
	}
	for _, c := range []struct {
		name           string
		gops           []int64
		frames, wanted int64
		length         int64
		first          []int
	}{
		{"two seconds", every(50, 400), 400, 150, 150, []int{0, 3, 6}},
		{"one second", every(25, 400), 400, 150, 150, []int{0, 6, 12}},
		{"all key frames", every(1, 10), 10, 4, 4, []int{0, 4, 8}},
		{"as long as a segment", every(150, 400), 400, 150, 150, []int{0, 1, 2}},
		{"a little shorter than a segment", every(133, 532), 532, 150, 133, []int{0, 1, 2, 3}},
		{"longer than a segment", every(200, 700), 700, 150, 150, []int{0, 1, 2, 3}},
		{"cuts of scenes", []int64{0, 100, 130, 180, 300, 310}, 400, 150, 150, []int{0, 3, 4}},
		{"much too long", every(250, 700), 700, 150, 0, nil},
		{"one that is too long", []int64{0, 50, 100, 350, 400}, 500, 150, 0, nil},
		{"a segment that would be too short", []int64{0, 149, 155, 300}, 400, 150, 150, []int{0, 2, 3}},
		{"only a short one", []int64{0, 140, 155, 200, 301}, 700, 150, 0, nil},
		{"one GOP", []int64{0}, 90, 150, 150, []int{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			length, first := pipeline.SegmentGrid(c.gops, c.frames, c.wanted)
			if length != c.length || !slices.Equal(first, c.first) {
				t.Errorf("got %d %v, want %d %v", length, first, c.length, c.first)
			}
		})
	}
}

// What the list of packets says against copying.
func TestPacketList(t *testing.T) {
	const good = "#tb 0: 1/25\n0, -1, 0, 1, 9, 0x1\n1, -1, 0, 1, 9, 0x1\n2, -1, 0, 1, 9, 0x7\n0, 0, 2, 1, 9, 0x1, F=0x0\n0, 1, 1, 1, 9, 0x1, F=0x10, S=1, 1\n0, 2, 3, 1, 9, 0x1\n1, 2, 3, 1, 9, 0x1\n2, 2, 3, 1, 9, 0x7\n0, 3, 4, 1, 9, 0x1, F=0x0\n"
	for _, c := range []struct{ name, from, to, want string }{
		{"good", "", "", ""},
		{"hidden", "F=0x10", "F=0x4", "edit list"},
		{"a jump", "0, 3, 4,", "0, 3, 5,", "missing"},
		{"a gap in decoding", "0, 3, 4,", "0, 4, 4,", "constant"},
		{"leading pictures", "0, 3, 4,", "0, 3, 2,", "constant"},
		{"shown before its key frame", "0, 2, 3, 1, 9, 0x1\n1, 2, 3,", "0, 2, 4, 1, 9, 0x1\n1, 2, 4,", "two pictures"},
		{"twice", "0, 0, 2,", "0, 0, 1,", "two pictures"},
		{"no IDR", "1, 2, 3, 1, 9, 0x1\n", "", "IDR"},
		{"another set", "2, 2, 3, 1, 9, 0x7", "2, 2, 3, 1, 9, 0x8", "parameter sets"},
		{"no time base", "#tb", "#bt", "listed"},
		{"garbage", "0, 3, 4,", "0, x, 4,", "listed"},
		{"no key frame first", "0, -1, 0, 1, 9, 0x1\n", "0, -1, 0, 1, 9, 0x1, F=0x0\n", "does not begin"},
	} {
		t.Run(c.name, func(t *testing.T) {
			rate := pipeline.Rational{Num: 25, Den: 1}
			gops, frames, why := pipeline.ReadPictures(rate, strings.NewReader(strings.Replace(good, c.from, c.to, 1)))
			if c.want == "" && (why != "" || frames != 5 || !slices.Equal(gops, []int64{0, 3})) || !strings.Contains(why, c.want) {
				t.Errorf("%v, %d frames, %q; want %q", gops, frames, why, c.want)
			}
		})
	}
	if _, _, why := pipeline.ReadPictures(pipeline.Rational{Num: 25, Den: 1}, strings.NewReader("")); why == "" {
		t.Error("an empty list passes")
	}
}

// flashing is a picture with a flash, and a beep at the same time.
var flashing = []string{
	"-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=7,drawbox=color=white:t=fill:enable='between(t,2,2.2)'",
	"-f", "lavfi", "-i", "aevalsrc='if(between(t,2,2.2),0.8*sin(2*PI*880*t),0)':s=48000:d=7",
}

var (
	x264 = words("-c:v libx264 -preset ultrafast -crf 36 -pix_fmt yuv420p -c:a aac -sc_threshold 0")
	cuts = words("-force_key_frames 0,1.4,2.2,3,4.24,5 -g 300")
)

// Sources that are not copied are encoded; the plan says why.
func TestNotCopied(t *testing.T) {
	for _, c := range []struct {
		name, file string
		args       []string
		want       string
	}{
		{"it is", "a.mp4", join(flashing, x264, cuts), ""},
		{"Matroska whose sound has its priming before zero", "a.mkv", join(flashing, x264, cuts), "the start of the sound"},
		{"open GOPs", "a.mp4", join(flashing, x264, words("-g 50 -bf 3 -x264-params open-gop=1")), "open GOPs"},
		{"one key frame", "a.mp4", join(flashing, x264, words("-g 300")), "do not suit"},
		{"too many bits", "a.mp4", join(flashing, x264, cuts, words("-crf 10")), "kbit/s"},
		{"ten bits", "a.mp4", join(flashing, x264, words("-pix_fmt yuv420p10le"), cuts), "High 10"},
		{"mpeg4", "a.mp4", join(flashing, words("-c:v mpeg4 -c:a aac")), "not h264"},
		{"pixels that are not square", "a.mp4", join(flashing, x264, cuts, words("-vf setsar=4/3")), "not square"},
		{"a changing rate", "a.mp4", join(flashing, words("-vf select='not(eq(mod(n,40),7))' -vsync vfr"), x264, cuts), "constant"},
		{"interlaced", "a.mp4", join(flashing, x264, cuts, words("-flags +ildct+ilme -x264-params tff=1")), "progressive"},
		{"cut by an edit list", "a.mov", join(flashing, x264, cuts), "hides"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			file := makeSource(t, c.file, c.args...)
			if c.want == "hides" {
				file = makeSource(t, "cut.mov", "-ss", "1.8", "-i", file, "-c", "copy")
			}
			plan, err := pipeline.Planned(l.runner, l.request(file, clear))
			if copied := plan.KeyFrames != nil; copied != (c.want == "") || !strings.Contains(plan.NotCopied, c.want) {
				t.Errorf("copied %v, because %q; want %q (%v)", copied, plan.NotCopied, c.want, err)
			}
		})
	}
}

func clear(o *pipeline.Options) { o.Encrypt, o.SegmentSeconds = false, 2 }

// A conforming source is copied bit by bit, sound and picture together, with
// every rung and output on its key frames.
func TestPassthrough(t *testing.T) {
	size := words("-vf scale=640:360")
	for _, c := range []struct {
		name, file string
		args       []string
		encrypt    bool
	}{
		{"key frames anywhere", "a.mp4", join(flashing, x264, cuts, size), true},
		{"mov, five B frames, delimiters", "a.mov", join(flashing, x264, size, words("-g 50 -bf 5 -b_strategy 0 -x264-params aud=1:b-pyramid=normal")), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			file := makeSource(t, c.file, c.args...)
			req := l.request(file, clear, func(o *pipeline.Options) { o.Encrypt, o.Ladder = c.encrypt, []string{"360p", "240p"} })
			p := l.run(req)
			if !p.Video[0].Copied || p.Video[1].Copied {
				t.Fatalf("not copied: %q", p.NotCopied)
			}
			source := frameHashes(t, file, "v")
			for _, output := range req.Options.Outputs {
				if got := frameHashes(t, l.clear(req, output, "v-360p"), "v"); !slices.Equal(got, source) {
					t.Errorf("%s: %d pictures differ from the source's %d", output, len(got), len(source))
				}
				top, low := extinfs(l.object(req, output+"/v-360p/index.m3u8")), extinfs(l.object(req, output+"/v-240p/index.m3u8"))
				if len(top) < 3 || !slices.Equal(top, low) {
					t.Errorf("%s: segments of %v and %v", output, top, low)
				}
			}
			heard := beep(t, l.clear(req, pipeline.OutputCMAF, "a-0"))
			for _, rung := range []string{"v-360p", "v-240p"} {
				if seen := firstWhite(t, l.clear(req, pipeline.OutputCMAF, rung)); math.Abs(seen-heard) > 0.04 || math.Abs(seen-2) > 0.001 {
					t.Errorf("%s: flash at %.3f s, beep at %.3f s", rung, seen, heard)
				}
			}
		})
	}
}

// firstWhite finds the first white picture of 25 a second, in seconds.
func firstWhite(t *testing.T, file string) float64 {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-i", file, "-map", "0:v:0",
		"-vf", "scale=8:8,format=gray", "-f", "rawvideo", "-").Output()
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+64 <= len(out); i += 64 {
		if slices.Min(out[i:i+64]) > 180 {
			return float64(i/64) / 25
		}
	}
	t.Fatalf("%s has no white picture", file)
	return 0
}

func extinfs(playlist []byte) (all []string) {
	for line := range strings.Lines(string(playlist)) {
		if v, ok := strings.CutPrefix(line, "#EXTINF:"); ok {
			all = append(all, strings.TrimSpace(v))
		}
	}
	return all
}

// Who does not want it gets every rung encoded.
func TestPassthroughOff(t *testing.T) {
	l := newLab(t)
	req := l.request(makeSource(t, "a.mp4", join(moving("320x180", "25", "4"), words("-c:v libx264 -preset ultrafast -crf 40 -pix_fmt yuv420p -g 50"))...), clear)
	if p := l.run(req); !p.Video[0].Copied {
		t.Fatalf("not copied: %s", p.NotCopied)
	}
	req.Prefix, req.Options.Passthrough = "0123456789abcdef-2", pipeline.PassthroughOff
	if p := l.run(req); p.Video[0].Copied || p.NotCopied != "" {
		t.Errorf("copied %v, %q", p.Video[0].Copied, p.NotCopied)
	}
}

// Rungs of half the rate need every key frame at an even picture.
func TestPassthroughAndHalvedRungs(t *testing.T) {
	src := source(1280, 720, pipeline.Rational{Num: 60, Den: 1})
	plan, err := pipeline.NewPlan(src, pipeline.DefaultOptions())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		gops []int64
		want string
	}{
		{[]int64{0, 120, 240, 360, 480}, "60/1 true 60/1 false 30/1 true"},
		{[]int64{0, 121, 240, 360, 480}, "60/1 true 60/1 false 60/1 false"},
	} {
		withAV1 := plan
		withAV1.Video = append(slices.Clone(plan.Video), pipeline.VideoPlan{Codec: pipeline.CodecAV1, Rung: plan.Video[0].Rung})
		if _, why := pipeline.CopyTop(withAV1, 600, c.gops...); (why == "") != (c.gops[1] == 120) {
			t.Errorf("%v with av1: %q", c.gops, why)
		}
		got, why := pipeline.CopyTop(plan, 600, c.gops...)
		if why != "" {
			t.Fatal(why)
		}
		s := fmt.Sprintf("60/1 %v", got.Video[0].Copied)
		s += fmt.Sprintf(" %s %v", got.Video[0].Rate, got.Video[0].Halved)
		s += fmt.Sprintf(" %s %v", got.Video[1].Rate, got.Video[1].Halved)
		if s != c.want {
			t.Errorf("%v: %s, want %s", c.gops, s, c.want)
		}
	}
}

// A small source of many pictures is copied whole, whatever its rung would get.
func TestPassthroughOfAHalvedTop(t *testing.T) {
	plan, err := pipeline.NewPlan(source(320, 240, pipeline.Rational{Num: 50, Den: 1}), pipeline.DefaultOptions())
	if err != nil || !plan.Video[0].Halved {
		t.Fatalf("%+v, %v", plan.Video, err)
	}
	got, why := pipeline.CopyTop(plan, 500, 0, 100, 200, 300, 400)
	if top := got.Video[0]; why != "" || !top.Copied || top.Halved || top.Rate.String() != "50/1" {
		t.Errorf("the copied rung is planned at %s (halved: %v), refused because %q", top.Rate, top.Halved, why)
	}
}

// A key period may not become longer than it was asked for.
func TestPassthroughAndKeyPeriods(t *testing.T) {
	l := newLab(t)
	req := l.request(makeSource(t, "a.mp4", join(flashing, x264, cuts)...), func(o *pipeline.Options) {
		o.SegmentSeconds, o.KeyPeriodSeconds = 2, 4
	})
	plan, err := pipeline.Planned(l.runner, req)
	if plan.KeyFrames != nil || plan.Video[0].Copied || !strings.Contains(plan.NotCopied, "key periods") {
		t.Errorf("not copied because %q (%v)", plan.NotCopied, err)
	}
}
