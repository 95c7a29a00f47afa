package worker

import (
	"context"
	"errors"
	"time"
)

// Why an attempt's context ends before its work does.
var (
	errFenceLost  = errors.New("the attempt lost its lease")
	errSelfFenced = errors.New("the lease could not be extended in time")
	errDraining   = errors.New("the worker is shutting down")
)

// lossOf gives the cause that ends an attempt for an ErrFenced.
func lossOf(err error) error {
	if errors.Is(err, errCancelled) {
		return errCancelled
	}
	return errFenceLost
}

// keeper extends an attempt's lease. Time here is monotonic and counts from
// the moment before a successful request was sent, so it always ends before
// the lease on the database's clock.
type keeper struct {
	beat       func(context.Context) error // ErrFenced when the lease is another's
	every      time.Duration
	fenceAfter time.Duration           // without success the attempt ends
	lost       context.CancelCauseFunc // of the attempt
	missed     func(error)             // a beat failed, the attempt goes on
}

// run beats until ctx ends or the lease is lost. since is when the claim was sent.
func (k keeper) run(ctx context.Context, since time.Time) {
	next := k.every
	for {
		if !sleep(ctx, min(next, time.Until(since.Add(k.fenceAfter)))) {
			return
		}
		sent := time.Now()
		left := k.fenceAfter - sent.Sub(since)
		if left <= 0 {
			k.lost(errSelfFenced)
			return
		}
		beatCtx, cancel := context.WithTimeout(ctx, min(left, k.every))
		err := k.beat(beatCtx)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			since, next = sent, k.every
		case errors.Is(err, ErrFenced):
			k.lost(lossOf(err))
			return
		default:
			k.missed(err)
			next = k.every / 4
		}
	}
}

// sleep waits for d, or reports false when ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
