package keystore

import (
	"fmt"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
)

// What is remembered is young, active, and was read after the last change that
// was heard of.
func TestRemembered(t *testing.T) {
	t.Parallel()
	m := remembered{keep: time.Second}
	kid := cenc.NewKID()
	id, other, now := idOf("a", nil), idOf("a", &kid), time.Now()
	has := func(id servedID, at time.Time) bool { _, _, ok := m.get(id, at); return ok }
	_, era, _ := m.get(id, now)
	row := func(state State) sealedKey { return sealedKey{Key: Key{Hash: "a", State: state}} }

	m.put(id, row(StateActive), era, now)
	if has(id, now) {
		t.Error("remembered before changes are heard")
	}
	m.forget(true)
	m.put(id, row(StateActive), era, now)
	if has(id, now) {
		t.Error("remembered what may have been read before the change")
	}
	_, era, _ = m.get(id, now)
	for _, state := range []State{StatePending, StateRetiring, StateRevoked, StateShredded} {
		m.put(id, row(state), era, now)
		if has(id, now) {
			t.Errorf("a key that is %s is remembered", state)
		}
	}
	m.put(id, row(StateActive), era, now)
	if !has(id, now) || !has(id, now.Add(time.Second-1)) || has(id, now.Add(time.Second)) {
		t.Error("want it for less than a second")
	}
	if has(id, now.Round(0).Add(time.Hour)) {
		t.Error("it outlives a clock that stood still")
	}
	if has(other, now) || has(idOf("b", nil), now) {
		t.Error("another key is remembered with it")
	}
	m.forget(true)
	if has(id, now) {
		t.Error("it outlives a change")
	}
	_, era, _ = m.get(id, now)
	for i := range maxRemembered + 5 {
		m.put(idOf(fmt.Sprint(i), nil), row(StateActive), era, now)
	}
	if len(m.rows) != 5 {
		t.Errorf("%d rows are remembered", len(m.rows))
	}
	m.forget(false)
	if _, era, _ = m.get(id, now); len(m.rows) != 0 {
		t.Error("rows outlive the connection")
	}
	if m.put(id, row(StateActive), era, now); has(id, now) {
		t.Error("remembered while nothing is heard")
	}
}

// Rows that are in use are read along before they are too old: once, and none
// that nobody has asked for since.
func TestRememberedIsDue(t *testing.T) {
	t.Parallel()
	m := remembered{keep: time.Second}
	m.forget(true)
	now := time.Now()
	used, idle := idOf("used", nil), idOf("idle", nil)
	due := func(at time.Time, most int) []servedID { ids, _ := m.due(at, most); return ids }
	_, era, _ := m.get(used, now)
	for _, id := range []servedID{used, idle} {
		m.put(id, sealedKey{Key: Key{Hash: id.hash, State: StateActive}}, era, now)
	}
	late := now.Add(600 * time.Millisecond)
	if ids := due(late, 9); len(ids) != 0 {
		t.Errorf("nobody has asked for %v", ids)
	}
	m.get(used, late)
	if ids := due(now.Add(m.keep/2), 9); len(ids) != 0 {
		t.Errorf("%v are young", ids)
	}
	if ids := due(late, 0); len(ids) != 0 {
		t.Errorf("no room for %v", ids)
	}
	if ids := due(late, 9); len(ids) != 1 || ids[0] != used {
		t.Errorf("due: %v", ids)
	}
	if ids := due(late, 9); len(ids) != 0 {
		t.Errorf("%v are being read", ids)
	}
	if m.get(used, late); len(due(now.Add(m.keep), 9)) != 0 || len(m.rows) != 0 {
		t.Errorf("%d rows are too old", len(m.rows))
	}
	m.put(used, sealedKey{Key: Key{Hash: "used", State: StateActive}}, era, late)
	if _, _, ok := m.get(used, now.Add(1500*time.Millisecond)); !ok {
		t.Error("want it young again")
	}
	for name, gone := range map[string]func(){
		"not found": func() { m.renew(used, sealedKey{}, false, era, late) },
		"revoked":   func() { m.renew(used, sealedKey{Key: Key{State: StateRevoked}}, true, era, late) },
	} {
		m.renew(used, sealedKey{Key: Key{State: StateActive}}, true, era, late)
		if _, _, ok := m.get(used, late); !ok {
			t.Fatalf("%s: it was not remembered", name)
		}
		gone()
		if _, _, ok := m.get(used, late); ok {
			t.Errorf("%s: it is remembered", name)
		}
	}
}
