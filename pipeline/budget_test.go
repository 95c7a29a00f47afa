package pipeline_test

import (
	"context"
	"testing"
	"time"

	"github.com/sealcast/sealcast/pipeline"
)

func TestEncodeBudget(t *testing.T) {
	for _, c := range []struct {
		name          string
		duration      time.Duration
		width, height int
		rate          pipeline.Rational
		want          time.Duration
	}{
		{"small and short", time.Second, 320, 240, pipeline.Rational{Num: 25, Den: 1}, 5*time.Minute + 20*time.Second},
		{"an hour of a megapixel", time.Hour, 1000, 1000, pipeline.Rational{Num: 30, Den: 1}, 5*time.Minute + 20*time.Hour},
		{"four megapixels at twice the rate", time.Hour, 2000, 2000, pipeline.Rational{Num: 60, Den: 1}, 5*time.Minute + 160*time.Hour},
		{"bounded", 48 * time.Hour, 8192, 8192, pipeline.Rational{Num: 60, Den: 1}, 7 * 24 * time.Hour},
	} {
		src := &pipeline.Source{Duration: c.duration, Video: pipeline.VideoSource{Codec: "h264", Width: c.width, Height: c.height}}
		if got := pipeline.EncodeBudget(src, pipeline.Plan{Rate: c.rate}); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// An attempt whose children do not end is ended, and may be tried again.
func TestBudgetEndsAnAttempt(t *testing.T) {
	l := newLab(t, func(c *pipeline.Config) {
		c.Media = &spyStore{ObjectStore: c.Media, beforePut: func(ctx context.Context, _ string) error {
			<-ctx.Done() // a store that never answers
			return ctx.Err()
		}}
	})
	pipeline.SetBudget(l.runner, 2*time.Second)
	req := l.request(clip(t, "10"))
	_, err := l.runner.Run(t.Context(), req)
	wantCode(t, err, pipeline.CodeTimeBudget, false)
	l.nothingPlayable(req)
}
