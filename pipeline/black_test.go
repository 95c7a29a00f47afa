package pipeline_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/sealcast/sealcast/pipeline"
)

// An hour of black at a picture a second; twelve hours are in `make faults`.
func TestLongBlack(t *testing.T) { longBlack(t, 1) }

// longBlack makes a presentation of hours of black, in bounded memory and time,
// that the strict client accepts. It runs by itself, for it looks at the memory
// of the whole process.
func longBlack(t *testing.T, hours int) {
	seconds := 3600 * hours
	file := makeSource(t, "black.mp4", words("-f lavfi -i color=black:s=32x32:r=1:d="+strconv.Itoa(seconds)+" -c:v libx264 -preset ultrafast -g 250 -pix_fmt yuv420p")...)
	l := newLab(t)
	before := peakOfThisProcess(t)
	req := l.request(file, func(o *pipeline.Options) {
		o.Outputs, o.SegmentSeconds = []string{pipeline.OutputCMAF}, 12
	})
	began := time.Now()
	p := l.run(req)
	var cpu time.Duration
	for _, c := range p.Children {
		cpu += c.CPU
		if c.MaxRSS > 300<<20 && c.MaxRSS > peakOfThisProcess(t) {
			t.Errorf("%s took %d MiB", c.Name, c.MaxRSS>>20)
		}
	}
	if grown := peakOfThisProcess(t) - before; grown > 100<<20 {
		t.Errorf("this process grew by %d MiB", grown>>20)
	}
	if cpu > time.Duration(hours)*time.Minute {
		t.Errorf("%s of CPU for %d h", cpu, hours)
	}
	t.Logf("%d h: %s, %s of CPU, %d objects", hours, time.Since(began).Round(time.Second), cpu.Round(time.Second), len(p.Objects))
	if v := p.Video[0]; v.Frames < int64(5*seconds) || v.Frames > int64(5*seconds+5) || len(p.Objects) < seconds/12 {
		t.Errorf("%d frames in %d objects", v.Frames, len(p.Objects))
	}
	for _, r := range l.accepted(req, p) {
		if len(r.Renditions) == 0 || r.Renditions[0].Pictures != p.Video[0].Frames || r.Renditions[0].Fetched != r.Renditions[0].Segments {
			t.Errorf("the client saw %+v", r.Renditions)
		}
	}
}
