package worker

import (
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// warmUp is how long an attempt may take until the memory that it
	// needs is missing from what the machine has left.
	warmUp = 30 * time.Second
	// admissionPatience is how long a doorbell waits here before another
	// worker may have it. It also keeps a long queue from going round.
	admissionPatience = 10 * time.Second
	admissionPoll     = time.Second
)

// admission lets an attempt begin only when there is memory for it: the
// reservations of all attempts fit into what the machine has, and what is
// available now holds this one and those that have just begun.
type admission struct {
	need    int64 // bytes for each attempt; 0: everything is admitted
	memory  func() (Memory, error)
	waiting prometheus.Gauge
	log     *slog.Logger

	mu      sync.Mutex
	next    int
	begun   map[int]reservation // by attempt
	changed chan struct{}       // closed when an attempt ends
}

// reservation is the memory of one attempt.
type reservation struct {
	since time.Time
	bytes int64
}

// partShare is the part of an attempt's memory that the making of a part
// reserves: its child scales before it keeps anything.
const partShare = 4

// shareOf is by what an attempt's reservation is divided for a queue.
func shareOf(queue string) int64 {
	if queue == QueueParts {
		return partShare
	}
	return 1
}

// newAdmission refuses a reservation that can never be had. Where the memory
// cannot be read everything is admitted.
func newAdmission(need int64, memory func() (Memory, error), waiting prometheus.Gauge, log *slog.Logger) (*admission, error) {
	a := &admission{need: need, memory: memory, waiting: waiting, log: log, begun: map[int]reservation{}, changed: make(chan struct{})}
	if need <= 0 {
		return a, nil
	}
	m, err := memory()
	if err != nil {
		log.Warn("attempts begin without asking for memory", "error", err)
		a.need = 0
		return a, nil
	}
	if need > m.Capacity {
		return nil, fmt.Errorf("worker config: an attempt reserves %d MiB of memory (ATTEMPT_MEMORY), there are %d MiB", need>>20, m.Capacity>>20)
	}
	return a, nil
}

// enter waits for memory, for a while or until stop is closed. leave gives the
// reservation back. It is an attempt's, divided by share.
func (a *admission) enter(stop <-chan struct{}, share int64) (leave func(), ok bool) {
	leave, changed, why := a.try(share)
	if leave != nil {
		return leave, true
	}
	a.waiting.Inc()
	defer a.waiting.Dec()
	a.log.Warn("an attempt waits for memory", "reason", why)
	patience := time.NewTimer(admissionPatience)
	defer patience.Stop()
	for {
		poll := time.NewTimer(admissionPoll)
		select {
		case <-changed:
		case <-poll.C:
		case <-patience.C:
			poll.Stop()
			return nil, false
		case <-stop:
			poll.Stop()
			return nil, false
		}
		poll.Stop()
		if leave, changed, _ = a.try(share); leave != nil {
			return leave, true
		}
	}
}

// try takes a reservation, or tells what to wait for and why.
func (a *admission) try(share int64) (leave func(), changed <-chan struct{}, why string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	need := a.need / share
	if why := a.refuses(need); why != "" {
		return nil, a.changed, why
	}
	id := a.next
	a.next++
	a.begun[id] = reservation{time.Now(), need}
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.begun, id)
		close(a.changed)
		a.changed = make(chan struct{})
	}, nil, ""
}

func (a *admission) refuses(need int64) string {
	if need == 0 {
		return ""
	}
	m, err := a.memory()
	if err != nil {
		a.log.Warn("memory not read, the attempt begins without", "error", err)
		return ""
	}
	reserved, needed := need, need
	for _, r := range a.begun {
		reserved += r.bytes
		if time.Since(r.since) < warmUp {
			needed += r.bytes
		}
	}
	if reserved > m.Capacity {
		return fmt.Sprintf("with this one attempts reserve %d MiB, there are %d MiB", reserved>>20, m.Capacity>>20)
	}
	if needed > m.Available {
		return fmt.Sprintf("%d MiB are needed, %d MiB are available", needed>>20, m.Available>>20)
	}
	return ""
}
