package worker

import (
	"context"
	"sync"
	"time"

	"github.com/sealcast/sealcast/pipeline"
)

// reporter writes the newest progress at most once per pause. Report never
// waits for a write; what comes between two writes is dropped but for the
// newest.
type reporter struct {
	write func(context.Context, pipeline.Progress)
	pause time.Duration

	mu     sync.Mutex
	newest pipeline.Progress
	news   chan struct{} // holds one token while newest is unwritten
}

func newReporter(pause time.Duration, write func(context.Context, pipeline.Progress)) *reporter {
	return &reporter{write: write, pause: pause, news: make(chan struct{}, 1)}
}

// Report takes a progress from the pipeline.
func (r *reporter) Report(p pipeline.Progress) {
	r.mu.Lock()
	r.newest = p
	r.mu.Unlock()
	select {
	case r.news <- struct{}{}:
	default:
	}
}

// run writes until ctx ends.
func (r *reporter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.news:
		}
		r.writeNewest(ctx)
		if !sleep(ctx, r.pause) {
			return
		}
	}
}

// flush writes what run has not written yet. run must have ended.
func (r *reporter) flush(ctx context.Context) {
	select {
	case <-r.news:
		r.writeNewest(ctx)
	default:
	}
}

func (r *reporter) writeNewest(ctx context.Context) {
	r.mu.Lock()
	p := r.newest
	r.mu.Unlock()
	r.write(ctx, p)
}
