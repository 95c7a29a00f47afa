package worker

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealcast/sealcast/pipeline"
)

func TestKeeper(t *testing.T) {
	away := errors.New("no answer")
	for _, c := range []struct {
		name string
		beat func(n int, ctx context.Context) error // n from 1
		want error
		at   time.Duration
	}{
		{"fenced on the second beat", func(n int, _ context.Context) error {
			if n == 2 {
				return ErrFenced
			}
			return nil
		}, errFenceLost, 8 * time.Second},
		{"no answer at all", func(int, context.Context) error { return away }, errSelfFenced, 11 * time.Second},
		{"hangs", func(_ int, ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, errSelfFenced, 11 * time.Second},
		{"answers twice, then never", func(n int, _ context.Context) error {
			if n <= 2 {
				return nil
			}
			return away
		}, errSelfFenced, 19 * time.Second},
		{"a gap is forgiven", func(n int, _ context.Context) error {
			if n == 2 || n == 3 {
				return away
			}
			return nil
		}, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				start, n := time.Now(), 0
				var lost error
				keeper{
					every: 4 * time.Second, fenceAfter: 11 * time.Second,
					beat:   func(ctx context.Context) error { n++; return c.beat(n, ctx) },
					lost:   func(cause error) { lost = cause },
					missed: func(error) {},
				}.run(ctx, start)
				if !errors.Is(lost, c.want) {
					t.Fatalf("lost with %v, want %v", lost, c.want)
				}
				if c.want != nil && time.Since(start) != c.at {
					t.Errorf("lost after %v, want %v", time.Since(start), c.at)
				}
			})
		})
	}
}

func TestReporterWritesTheNewestOncePerPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var written []float64
		r := newReporter(time.Second, func(_ context.Context, p pipeline.Progress) { written = append(written, p.Percent) })
		go r.run(ctx)
		for i := range 35 { // one each 100 ms
			r.Report(pipeline.Progress{Percent: float64(i)})
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Second)
		cancel()
		synctest.Wait()
		if n := len(written); n < 4 || n > 5 || written[n-1] != 34 {
			t.Errorf("written: %v", written)
		}
	})
}

func TestReporterNeverWaitsForAWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		r := newReporter(time.Second, func(ctx context.Context, _ pipeline.Progress) { <-ctx.Done() })
		go r.run(ctx)
		start := time.Now()
		for range 1000 {
			r.Report(pipeline.Progress{})
			synctest.Wait()
		}
		if time.Since(start) != 0 {
			t.Error("Report took time")
		}
	})
}
