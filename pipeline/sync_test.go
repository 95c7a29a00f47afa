package pipeline_test

import (
	"encoding/hex"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/corpus"
	"github.com/sealcast/sealcast/pipeline"
)

// Flash and beep: black and silence until a time, then white and a tone.
func black(size, rate, at, seconds string) []string {
	return []string{"-f", "lavfi", "-i", "color=black:s=" + size + ":r=" + rate + ":d=" + seconds +
		",drawbox=color=white:t=fill:enable='between(t," + at + "-0.001," + at + "+0.3)'"}
}

func silent(at, seconds string) []string {
	return []string{"-f", "lavfi", "-i", "aevalsrc='if(between(t," + at + "," + at + "+0.3),0.8*sin(2*PI*880*t),0)':s=48000:d=" + seconds}
}

var (
	blackEnd   = regexp.MustCompile(`black_start:[0-9.]+ black_end:([0-9.]+)`)
	silenceEnd = regexp.MustCompile(`silence_end: ([0-9.]+)`)
)

const (
	toSee  = "blackdetect=d=0.05:pix_th=0.5:pic_th=0.9"
	toHear = "aresample=async=1,silencedetect=n=-10dB:d=0.05"
)

// detected runs detectors over files, on their own clocks, and gives for each
// expression what it found, in seconds.
func detected(t *testing.T, args []string, said ...*regexp.Regexp) (at []float64) {
	t.Helper()
	out, err := exec.Command("ffmpeg", append(words("-nostdin -hide_banner -copyts"), append(args, "-f", "null", "-")...)...).CombinedOutput()
	for _, re := range said {
		m := re.FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		seconds, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, seconds)
	}
	return at
}

// measured says when a flash is seen and a beep is heard.
func measured(t *testing.T, pictures, sound string) (flash, beep float64) {
	t.Helper()
	at := detected(t, []string{"-i", pictures, "-i", sound, "-map", "0:v:0", "-filter:v", toSee, "-map", "1:a:0", "-filter:a", toHear}, blackEnd, silenceEnd)
	return at[0], at[1]
}

// beep says when a beep is heard.
func beep(t *testing.T, sound string) float64 {
	t.Helper()
	return detected(t, []string{"-i", sound, "-map", "0:a:0", "-filter:a", toHear}, silenceEnd)[0]
}

// The middle of the picture is where the corpus has its flash.
const middle = "crop=iw/4:max(2\\,ih/4):exact=1," + toSee

// together wants the flashes and beeps of an output within 20 ms of each other,
// with each of its sounds.
func (l *lab) together(req pipeline.Request, output string, p *pipeline.Presentation, m corpus.Medium) {
	l.t.Helper()
	for i := range max(1, m.Audio) {
		l.pair(req, output, "v-"+p.Video[0].Rung, fmt.Sprintf("a-%d", i), m)
	}
}

// pair wants the flashes of a rendition and the beeps of another one within 20 ms
// of each other, decrypted here and decoded by ffmpeg.
func (l *lab) pair(req pipeline.Request, output, pictures, sound string, m corpus.Medium) {
	l.t.Helper()
	args := join(l.opened(req, output, pictures), l.opened(req, output, sound), words("-map 0:v:0 -map 1:a:0 -filter:v"), []string{middle}, words("-filter:a"), []string{toHear})
	out, err := exec.Command("ffmpeg", join(words("-nostdin -hide_banner -nostats -copyts"), args, words("-f null -"))...).CombinedOutput()
	where := output + ", " + pictures + " and " + sound
	if err != nil {
		l.t.Fatalf("%s: %v\n%s", where, err, out)
	}
	flashes, beeps := allOf(l.t, blackEnd, out), allOf(l.t, silenceEnd, out)
	if len(flashes) < m.Flashes || len(beeps) < m.Flashes {
		l.t.Fatalf("%s: flashes at %v s, beeps at %v s, want %d", where, flashes, beeps, m.Flashes)
	}
	for i := range m.Flashes {
		d := beeps[i] - flashes[i] - m.Lag
		l.t.Logf("%s: flash at %.3f s, beep at %.3f s: %+.1f ms", where, flashes[i], beeps[i], 1000*d)
		if d > 0.020 || d < -0.020 {
			l.t.Errorf("%s: sound and picture are %.1f ms apart at %.3f s", where, 1000*d, flashes[i])
		}
	}
}

// opened is a rendition as an input of ffmpeg.
func (l *lab) opened(req pipeline.Request, output, track string) []string {
	l.t.Helper()
	args := []string{"-i", l.stored(req, output, track)}
	if key, encrypted := req.Keys[output]; encrypted && output == pipeline.OutputCMAF {
		args = append([]string{"-decryption_key", hex.EncodeToString(key.Content.Bytes())}, args...)
	}
	return args
}

// allOf gives the seconds of every place that an expression finds.
func allOf(t *testing.T, re *regexp.Regexp, in []byte) (out []float64) {
	t.Helper()
	for _, m := range re.FindAllSubmatch(in, -1) {
		seconds, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, seconds)
	}
	return out
}

// Every rung of every codec is in sync, not the least one alone that the corpus
// measures.
func TestEveryRungIsInSync(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	file := makeSource(t, "a.mp4", join(black("640x360", "25", "2", "6"), silent("2", "6"), words("-c:v libx264 -preset ultrafast -c:a aac"))...)
	req := l.request(file, func(o *pipeline.Options) {
		o.Outputs, o.Codecs, o.Ladder = []string{pipeline.OutputCMAF}, pipeline.Codecs, []string{"360p", "240p"}
	})
	rungs := 0
	for _, o := range l.run(req).Objects {
		if rung, first := strings.CutSuffix(strings.TrimPrefix(o.Name, "cmaf/"), "/1.m4s"); first && strings.HasPrefix(rung, "v-") {
			l.pair(req, pipeline.OutputCMAF, rung, "a-0", corpus.Medium{Flashes: 1})
			rungs++
		}
	}
	if rungs != 2*len(pipeline.Codecs) {
		t.Errorf("%d rungs of %d codecs", rungs, len(pipeline.Codecs))
	}
}
