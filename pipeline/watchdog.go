package pipeline

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// watchdog ends an attempt in which nothing moves: a child that hangs or spins
// never says so itself. Whatever moves media or makes a picture beats. While an
// answer of the object store is awaited it is patient: those waits have ends of
// their own (retry).
type watchdog struct {
	beats   atomic.Int64
	waiting atomic.Int64 // calls of the store that have not been answered
}

func (d *watchdog) beat() { d.beats.Add(1) }

// run calls abort when nothing has moved for limit. It ends with ctx.
func (d *watchdog) run(ctx context.Context, limit time.Duration, abort func(error)) {
	tick := time.NewTicker(max(limit/20, time.Millisecond))
	defer tick.Stop()
	last, since := d.beats.Load(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := d.beats.Load()
		switch {
		case now != last || d.waiting.Load() > 0:
			last, since = now, time.Now()
		case time.Since(since) >= limit:
			abort(transient(CodeStalled, fmt.Sprintf("nothing moved for %s", limit), nil))
			return
		}
	}
}

// retry is the package's retry for a call of the store.
func (d *watchdog) retry(ctx context.Context, f func(context.Context) error) error {
	d.waiting.Add(1)
	defer d.waiting.Add(-1)
	defer d.beat()
	return retry(ctx, f)
}
