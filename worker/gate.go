package worker

import (
	"context"
	"sync"
)

// gate counts the running attempts. It keeps to the slots of each queue even
// when asynq has given up a task whose attempt still runs, and it knows how to
// end them all.
type gate struct {
	mu      sync.Mutex
	free    map[string]int // slots by queue
	running int
	closed  bool
	aborted error
	next    int
	stops   map[int]context.CancelCauseFunc
	idle    chan struct{} // closed when the gate is closed and nothing runs
}

func newGate(slots map[string]int) *gate {
	return &gate{free: slots, stops: map[int]context.CancelCauseFunc{}, idle: make(chan struct{})}
}

// enter takes a slot, unless all are taken or the gate is closed.
func (g *gate) enter(queue string) (leave func(), ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed || g.free[queue] <= 0 {
		return nil, false
	}
	g.free[queue]--
	g.running++
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.free[queue]++
		g.running--
		g.signal()
	}, true
}

// onAbort has stop called when the attempts are aborted, or at once if they
// have been. The result takes it back.
func (g *gate) onAbort(stop context.CancelCauseFunc) (forget func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.aborted != nil {
		stop(g.aborted)
	}
	id := g.next
	g.next++
	g.stops[id] = stop
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.stops, id)
	}
}

// close lets nobody in any more. The channel is closed once nothing runs.
func (g *gate) close() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.closed = true
		g.signal()
	}
	return g.idle
}

// abort ends every attempt, also one that is just starting.
func (g *gate) abort(cause error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.aborted = cause
	for _, stop := range g.stops {
		stop(cause)
	}
}

func (g *gate) signal() {
	if g.closed && g.running == 0 {
		close(g.idle)
	}
}
