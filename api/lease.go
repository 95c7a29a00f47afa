package api

import (
	"sync"
	"time"
)

const (
	leaseTime  = time.Second // how long an answer of Redis is good for
	leaseShare = 8           // what part of what was left a process may grant
	debtTime   = time.Minute // after it every limit is full again, with or without the debt
)

// leases let a process grant some events of a key without asking Redis for each.
// After an answer that leaves r events of the key, the process may grant r/8 of
// them, rounded down, within a second; with its next question it pays for those it
// has granted. So a limit of which fewer than eight events are left is exact,
// and so is every limit for who asks less than once a second.
//
// A process never grants more than it knew to be left. P processes that burst on
// one key at the same moment can let at most P/8 of its limit through beyond
// it, and no event passes in any of them before it has paid for its own. What is
// never paid for is at most an eighth of the limit, once a minute: of who stays
// away for so long, of a process that ends, and of keys beyond maxLocal.
type leases struct {
	mu   sync.Mutex
	keys *recent[lease]
}

type lease struct {
	free   int // events that may still be granted
	owed   int // events that were granted and that Redis does not know
	paying int // those that it is being told of
	until  time.Time
	asked  time.Time // when Redis answered last
}

func newLeases(most int) *leases { return &leases{keys: newRecent[lease](most)} }

// grant takes one event of the key's lease, if there is one.
func (l *leases) grant(key string, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, _ := l.keys.get(key)
	if e.free == 0 || now.After(e.until) {
		return false
	}
	e.free--
	e.owed++
	return true
}

// settle ends the lease and gives what is to be paid for beside the next event.
// Its caller asks Redis, and says by paid or unpaid what came of it.
func (l *leases) settle(key string, now time.Time) (owed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, _ := l.keys.get(key)
	if now.Sub(e.asked) < debtTime {
		owed = e.owed
	}
	e.free, e.owed = 0, 0
	e.paying += owed
	return owed
}

// unpaid takes back what settle gave, after a refusal or without an answer.
func (l *leases) unpaid(key string, owed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, _ := l.keys.get(key)
	e.paying = max(0, e.paying-owed) // the key may have been dropped meanwhile
	e.owed += owed
}

// paid takes the answer that left so many events of the key.
func (l *leases) paid(key string, owed, left int, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, _ := l.keys.get(key)
	e.paying = max(0, e.paying-owed)
	e.free = max(0, left/leaseShare-e.owed-e.paying)
	e.asked, e.until = now, now.Add(leaseTime)
}
