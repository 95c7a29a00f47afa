package token

import (
	"crypto/sha256"
	"slices"
	"sync"
)

// Memo remembers what tokens say whose signature and claims were good, by the
// SHA-256 of their text, so that the next request of a player does not cost the
// same arithmetic again. Whatever depends on the time, or on more than the token
// and its key, is checked each time. What was verified by a key counts only while
// Verifier.Key gives that very key. It belongs to one Verifier. Safe for
// concurrent use.
type Memo struct {
	most int // per half

	mu       sync.Mutex
	now, old map[[sha256.Size]byte]*remembered // old is the half before; what is asked for again moves over
}

// remembered is a token that passed up to CheckClaims. Nobody changes it.
type remembered struct {
	opened opened
	key    *Key // nil: by no key with a kid
	claims Claims
}

// NewMemo remembers up to 2*most tokens, some 500 bytes each.
func NewMemo(most int) *Memo {
	return &Memo{most: most, now: map[[sha256.Size]byte]*remembered{}}
}

func (m *Memo) get(sum [sha256.Size]byte) (*remembered, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.now[sum]
	if !ok {
		if r, ok = m.old[sum]; ok {
			m.put(sum, r)
		}
	}
	return r, ok
}

func (m *Memo) keep(sum [sha256.Size]byte, r *remembered) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(sum, r)
}

func (m *Memo) put(sum [sha256.Size]byte, r *remembered) {
	if len(m.now) >= m.most {
		m.now, m.old = map[[sha256.Size]byte]*remembered{}, m.now
	}
	m.now[sum] = r
}

// read opens a token and decodes its claims, or remembers that it did so.
func (v *Verifier) read(tok string) (o opened, claims Claims, failed string) {
	var sum [sha256.Size]byte
	if v.Memo != nil {
		sum = sha256.Sum256([]byte(tok))
		if r, ok := v.Memo.get(sum); ok && (r.key == nil || (v.Key != nil && v.Key(r.key.id) == r.key)) {
			return r.opened, r.claims.clone(), ""
		}
	}
	if o, failed = v.open(tok); failed != "" {
		return o, Claims{}, failed
	}
	claims, err := decodeClaims(o.form, o.members)
	if err != nil {
		return o, Claims{}, CheckClaims
	}
	if o.members = nil; v.Memo != nil {
		v.Memo.keep(sum, &remembered{o, o.key, claims.clone()})
	}
	return o, claims, ""
}

// clone shares nothing with c that can be changed.
func (c Claims) clone() Claims {
	c.Audience, c.Tags, c.IP, c.Ref = slices.Clone(c.Audience), slices.Clone(c.Tags), slices.Clone(c.IP), slices.Clone(c.Ref)
	return c
}
