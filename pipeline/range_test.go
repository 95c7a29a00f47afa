package pipeline_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// Pictures that are as the largest rung wants them are not copied by the
// scaler; whoever needs a conversion still gets it, and the pictures are the same.
func TestPicturesOfTheRightRangeAreNotCopied(t *testing.T) {
	for _, c := range []struct {
		name   string
		made   string // by a filter behind testsrc2
		video  pipeline.VideoSource
		copied bool
	}{
		{"limited", "format=yuv420p", pipeline.VideoSource{PixFmt: "yuv420p"}, false},
		{"full", "scale=out_range=pc,format=yuv420p", pipeline.VideoSource{PixFmt: "yuv420p", FullRange: true}, true},
		{"yuvj420p", "scale=out_range=pc,format=yuvj420p", pipeline.VideoSource{PixFmt: "yuvj420p", FullRange: true}, true},
		{"4:2:2", "format=yuv422p", pipeline.VideoSource{PixFmt: "yuv422p"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			src := source(1280, 720, pipeline.Rational{Num: 25, Den: 1})
			src.Video.PixFmt, src.Video.FullRange = c.video.PixFmt, c.video.FullRange
			opt := pipeline.DefaultOptions()
			opt.Ladder = []string{"720p", "360p"}
			plan, err := pipeline.NewPlan(src, opt)
			if err != nil {
				t.Fatal(err)
			}
			args := pipeline.EncodeArgs(src, plan, "", 3, 4)
			graph := args[slices.Index(args, "-filter_complex")+1]
			if trusted := strings.Contains(graph, "in_range=tv:"); trusted == c.copied {
				t.Errorf("graph %s", graph)
			}
			run := func(graph string) (pictures, said string) {
				t.Helper()
				cmd := exec.Command("ffmpeg", "-v", "info", "-nostdin", "-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25:d=0.4,"+c.made,
					"-filter_complex", graph, "-map", "[v0]", "-map", "[v1]", "-f", "framemd5", "-")
				var errs strings.Builder
				cmd.Stderr = &errs
				out, err := cmd.Output()
				if err != nil || strings.Count(string(out), "\n") < 20 {
					t.Fatalf("%v: %s", err, errs.String())
				}
				return string(out), errs.String()
			}
			graph = strings.Replace(graph, "setsar=1,split", "setsar=1,showinfo,split", 1)
			got, said := run(graph)
			want, _ := run(strings.Replace(graph, "in_range=tv:", "", 1))
			if got != want {
				t.Error("the pictures differ")
			}
			// The scaler notes the range on what it made; testsrc2 does not.
			if copied := strings.Contains(said, "color_range:tv"); copied != c.copied {
				t.Errorf("copied: %v\n%s", copied, said)
			}
		})
	}
}
