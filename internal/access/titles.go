package access

import (
	"context"
	"sync"

	"github.com/sealcast/sealcast/internal/cenc"
)

const titlesMost = 50_000 // per half, some 200 bytes each

// title is what a word names, or what is known of a hash.
type title struct {
	key     *PlaybackKey // nil: no playback key
	hash    string       // of the asset with this external id; empty: none
	private bool         // of a hash: playback keys are the only way to the asset
}

// titleCache remembers what words name, nothing included, and which hashes are
// private, as they are asked for. Whatever changes is forgotten, and what was read while something changed
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
	if !externalPattern.MatchString(id) || cenc.IsHash(id) {
		return title{}, nil
	}
	return c.find(ctx, id, c.store.title)
}

// private reports whether the asset of a hash is served under its playback keys
// alone.
func (c *titleCache) private(ctx context.Context, hash string) (bool, error) {
	k, err := c.find(ctx, hash, c.store.policy)
	return k.private, err
}

// find gives what is remembered of id, or what read gives.
func (c *titleCache) find(ctx context.Context, id string, read func(context.Context, string) (title, error)) (title, error) {
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
	k, err := read(ctx, id)
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
