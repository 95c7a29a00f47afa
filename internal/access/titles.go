package access

import (
	"context"
	"sync"
)

const titlesMost = 10_000 // per half

// title is what a word names.
type title struct {
	key  *PlaybackKey // nil: no playback key
	hash string       // of the asset with this external id; empty: none
}

// titleCache remembers what words name, nothing included, as they are asked
// for. Whatever changes is forgotten, and what was read while something changed
// is not kept.
type titleCache struct {
	store *Store
	mu    sync.Mutex
	epoch int64
	now   map[string]title
	old   map[string]title // the half before; what is asked for again moves over
}

func newTitleCache(store *Store) *titleCache {
	return &titleCache{store: store, now: map[string]title{}}
}

func (c *titleCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	c.now, c.old = map[string]title{}, nil
}

func (c *titleCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	delete(c.now, id)
	delete(c.old, id)
}

// get finds what a word names. It cannot be a hash.
func (c *titleCache) get(ctx context.Context, id string) (title, error) {
	if !externalPattern.MatchString(id) || hashPattern.MatchString(id) {
		return title{}, nil
	}
	c.mu.Lock()
	k, ok := c.now[id]
	if !ok {
		if k, ok = c.old[id]; ok {
			c.put(id, k)
		}
	}
	epoch := c.epoch
	c.mu.Unlock()
	if ok {
		return k, nil
	}
	k, err := c.store.title(ctx, id)
	if err != nil {
		return title{}, err
	}
	c.keep(id, k, epoch)
	return k, nil
}

// keep remembers what was read, unless something changed since epoch.
func (c *titleCache) keep(id string, k title, epoch int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch == epoch {
		c.put(id, k)
	}
}

func (c *titleCache) put(id string, k title) {
	if len(c.now) >= titlesMost {
		c.now, c.old = make(map[string]title, titlesMost), c.now
	}
	c.now[id] = k
}
