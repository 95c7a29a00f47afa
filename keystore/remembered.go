package keystore

import (
	"context"
	"sync"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/internal/notices"
)

const (
	rememberFor   = time.Second // what is older is read anew, whatever was heard
	maxRemembered = 10_000      // rows, some 500 bytes each
	keysChannel   = "sealcast_keys"
)

// remembered keeps rows of active keys that were read less than a second ago,
// sealed as they lie in Postgres, while it would hear that one changed
// (migrations, 00017): what everybody watches is not read for everybody. What
// was not found, what is pending and what retires is never remembered.
type remembered struct {
	keep time.Duration

	mu      sync.Mutex
	hearing bool
	era     uint64 // counts what was forgotten
	rows    map[servedID]*rememberedRow
}

// servedID is what a viewer asks for.
type servedID struct {
	hash      string
	kid       cenc.KID
	byDefault bool
}

type rememberedRow struct {
	row   sealedKey
	asked time.Time // when its question was asked
	used  bool      // since then
}

// question asks for the row of an id.
func (id servedID) question() *question {
	q := &question{hash: id.hash, done: make(chan struct{})}
	if !id.byDefault {
		q.kid = id.kid[:]
	}
	return q
}

func idOf(hash string, kid *cenc.KID) servedID {
	if kid == nil {
		return servedID{hash: hash, byDefault: true}
	}
	return servedID{hash: hash, kid: *kid}
}

// get gives a row that is remembered, or the era for put: whoever asks Postgres
// takes it before the question.
func (m *remembered) get(id servedID, now time.Time) (row sealedKey, era uint64, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.rows[id]
	// By the wall clock too: the monotonic one stands still while a virtual machine is suspended.
	if ok && max(now.Sub(r.asked), now.Round(0).Sub(r.asked)) < m.keep {
		r.used = true
		return r.row, m.era, true
	}
	return sealedKey{}, m.era, false
}

// put remembers what a question of asked and era brought, unless something has
// changed since: it may have been read before.
func (m *remembered) put(id servedID, row sealedKey, era uint64, asked time.Time) {
	if row.State != StateActive {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.hearing || m.era != era {
		return
	}
	if len(m.rows) >= maxRemembered {
		clear(m.rows)
	}
	m.rows[id] = &rememberedRow{row: row, asked: asked}
}

// due gives up to most rows that will soon be too old and were asked for since
// they were read, and the era for renew: they are read along with what has to be
// read anyhow, many at once instead of each by itself. It forgets those that are
// too old already.
func (m *remembered) due(now time.Time, most int) (ids []servedID, era uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	look := 8 * maxGroup // of any number of rows
	for id, r := range m.rows {
		if look--; look < 0 || len(ids) == most {
			break
		}
		age := max(now.Sub(r.asked), now.Round(0).Sub(r.asked))
		switch {
		case age >= m.keep:
			delete(m.rows, id)
		case r.used && age > m.keep/2:
			r.used = false // a hint to those who read at the same time
			ids = append(ids, id)
		}
	}
	return ids, m.era
}

// renew is put for a row that was due. A key that is gone is remembered no more.
func (m *remembered) renew(id servedID, row sealedKey, found bool, era uint64, asked time.Time) {
	if found && row.State == StateActive {
		m.put(id, row, era, asked)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rows, id)
}

// forgetNow forgets all. Changes are heard as before.
func (m *remembered) forgetNow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.era++
	clear(m.rows)
}

// forget forgets all, and says whether changes are heard from now on.
func (m *remembered) forget(hearing bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hearing = hearing
	m.era++
	m.rows = map[servedID]*rememberedRow{}
}

// Forget makes each call of Served that begins from now on ask Postgres. It is
// for a process that has committed a change of keys and tells somebody so: it
// would hear of it a moment later itself.
func (p *Postgres) Forget() { p.remembered.forgetNow() }

// Listen lets Served remember sealed rows for up to a second until ctx ends. It
// hears of each row that changes, on a connection of its own, and forgets; while
// it cannot hear, nothing is remembered and each call of Served asks Postgres.
func (p *Postgres) Listen(ctx context.Context) error {
	defer p.remembered.forget(false)
	notices.Listener{
		Pool: p.pool, Channel: keysChannel, Name: "sealcast key listener",
		Up:    func(context.Context) error { p.remembered.forget(true); return nil },
		Heard: func(string) { p.remembered.forget(true) },
		Down: func(error) {
			p.remembered.forget(false)
			p.metrics.deaf.Inc()
		},
	}.Run(ctx)
	return nil
}
