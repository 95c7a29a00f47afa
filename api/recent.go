package api

import "container/list"

// recent keeps the most recently used values by key.
type recent[V any] struct {
	most    int
	entries map[string]*list.Element
	order   *list.List // of *entryOf[V], most recent first
}

type entryOf[V any] struct {
	key   string
	value V
}

func newRecent[V any](most int) *recent[V] {
	return &recent[V]{most: most, entries: map[string]*list.Element{}, order: list.New()}
}

// get gives the value of key, as its zero value if it is not there, and whether
// it was. What was not used for longest makes room.
func (r *recent[V]) get(key string) (value *V, known bool) {
	if e, ok := r.entries[key]; ok {
		r.order.MoveToFront(e)
		return &e.Value.(*entryOf[V]).value, true
	}
	if r.order.Len() >= r.most {
		delete(r.entries, r.order.Remove(r.order.Back()).(*entryOf[V]).key)
	}
	e := &entryOf[V]{key: key}
	r.entries[key] = r.order.PushFront(e)
	return &e.value, false
}
