package pipeline_test

import (
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/pipeline"
)

// Pictures that do not begin on the grid are moved onto it, and the sound by as
// much; what ends early is made to last as long as the other one, within reason.
func TestSoundAndPicturesKeepTogetherOnTheGrid(t *testing.T) {
	const ms = time.Millisecond
	rate := func(num, den int) pipeline.Rational { return pipeline.Rational{Num: num, Den: den} }
	for _, c := range []struct {
		name                   string
		rate                   pipeline.Rational
		gap, pictures, sound   time.Duration
		moved, stands, silence string // of the filters; empty: none
	}{
		{"both at the start", rate(25, 1), 0, 10 * time.Second, 10 * time.Second, "", "", ""},
		{"priming of Matroska at 25", rate(25, 1), 21 * ms, 10 * time.Second, 10 * time.Second, "PTS-0.021000/TB", "", ""},
		{"priming of Matroska at 23.976", rate(24000, 1001), 21 * ms, 10 * time.Second, 10 * time.Second, "PTS-0.021000/TB", "", ""},
		{"two pictures and a half later", rate(25, 1), 110 * ms, 10 * time.Second, 10 * time.Second, "PTS+0.010000/TB", "", ""},
		{"whole pictures later", rate(25, 1), 400 * ms, 10 * time.Second, 10 * time.Second, "", "", ""},
		{"whole pictures by a clock of milliseconds", rate(24, 1), 42 * ms, 10 * time.Second, 10 * time.Second, "", "", ""},
		{"sound ends a little early", rate(25, 1), 0, 10 * time.Second, 9800 * ms, "", "", ""},
		{"sound ends early", rate(25, 1), 0, 10 * time.Second, 9200 * ms, "", "", "atrim=end=10.000"},
		{"pictures end early", rate(25, 1), 0, 9200 * ms, 10 * time.Second, "", "tpad=stop_mode=clone:stop_duration=0.800", ""},
		{"a day of sound is promised", rate(25, 1), 0, 10 * time.Second, 24 * time.Hour, "", "", ""},
		{"nothing is said", rate(25, 1), 0, 0, 0, "", "", ""},
	} {
		pictures, sound := pipeline.Filters(c.rate, c.gap, c.pictures, c.sound)
		for _, f := range []struct{ what, in, want, mark string }{
			{"pictures are moved", pictures, c.moved, "setpts="},
			{"sound is moved", sound, c.moved, "asetpts="},
			{"the last picture stands", pictures, c.stands, "tpad="},
			{"silence follows", sound, c.silence, "apad="},
		} {
			if has := strings.Contains(f.in, f.mark); has != (f.want != "") || !strings.Contains(f.in, f.want) {
				t.Errorf("%s: %s: %q, want %q", c.name, f.what, f.in, f.want)
			}
		}
	}
}
