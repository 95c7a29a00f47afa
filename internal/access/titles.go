package access

import (
	"context"
	"sync"
)

const titlesMost = 10_000 // per half

// titleCache remembers playback keys, and that there is none, as they are asked
// for. Whatever changes is forgotten, and what was read while something changed
// is not kept.
type titleCache struct {
	store *Store
	mu    sync.Mutex
	epoch int64
	now   map[string]*PlaybackKey
	old   map[string]*PlaybackKey // the half before; what is asked for again moves over
}

func newTitleCache(store *Store) *titleCache {
	return &titleCache{store: store, now: map[string]*PlaybackKey{}}
}

func (c *titleCache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	c.now, c.old = map[string]*PlaybackKey{}, nil
}

func (c *titleCache) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch++
	delete(c.now, id)
	delete(c.old, id)
}

// get finds a playback key; nil: there is none.
func (c *titleCache) get(ctx context.Context, id string) (*PlaybackKey, error) {
	if !IsPlaybackKeyID(id) {
		return nil, nil //nolint:nilnil // there cannot be one
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
	k, err := c.store.playbackKey(ctx, id)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.epoch == epoch {
		c.put(id, k)
	}
	return k, nil
}

func (c *titleCache) put(id string, k *PlaybackKey) {
	if len(c.now) >= titlesMost {
		c.now, c.old = make(map[string]*PlaybackKey, titlesMost), c.now
	}
	c.now[id] = k
}
