package pipeline_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// One thread scales where the encoders keep all cores busy; what it makes is
// the same with any number.
func TestFilterThreads(t *testing.T) {
	for cores, want := range map[int]int{1: 1, 2: 1, 4: 1, 5: 0, 8: 0} {
		if got := pipeline.FilterThreads(cores); got != want {
			t.Errorf("%d threads on %d cores, want %d", got, cores, want)
		}
	}
	src := source(1280, 720, pipeline.Rational{Num: 60, Den: 1})
	src.Video.Interlaced = true
	opt := pipeline.DefaultOptions()
	opt.Ladder = []string{"720p", "480p", "360p"}
	plan, err := pipeline.NewPlan(src, opt)
	if err != nil {
		t.Fatal(err)
	}
	pictures := map[string][]string{}
	for _, threads := range []int{0, 1, 2, 3, 5} {
		plan.FilterThreads = threads
		args := pipeline.EncodeArgs(src, plan, "", 3, 4)
		given := slices.Index(args, "-filter_complex_threads")
		if (given >= 0) != (threads > 0) {
			t.Errorf("%d threads: %q", threads, args)
		}
		cmd := []string{"-v", "error", "-nostdin"}
		if given >= 0 {
			cmd = append(cmd, args[given:given+2]...)
		}
		cmd = append(cmd, "-f", "lavfi", "-i", "testsrc2=s=1280x720:r=60:d=0.5,noise=alls=20:allf=t",
			"-filter_complex", args[slices.Index(args, "-filter_complex")+1])
		for _, pad := range []string{"[v0]", "[v1]", "[v2]"} {
			cmd = append(cmd, "-map", pad)
		}
		out, err := exec.Command("ffmpeg", append(cmd, "-f", "framemd5", "-")...).Output()
		if err != nil || strings.Count(string(out), "\n") < 60 {
			t.Fatalf("%v: %s", err, out)
		}
		pictures[string(out)] = append(pictures[string(out)], strings.Join(cmd, " "))
	}
	if len(pictures) != 1 {
		t.Errorf("%d different results", len(pictures))
	}
}
