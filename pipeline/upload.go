package pipeline

import (
	"context"
	"crypto/sha256"
	"io"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// uploader writes objects below the attempt's prefix, a few at a time, with
// patience, and keeps the inventory.
type uploader struct {
	store  ObjectStore
	dog    *watchdog
	prefix string // key prefix with its trailing slash
	slots  chan struct{}
	bytes  atomic.Int64 // durable, those of objects that were written twice too

	mu        sync.Mutex
	inventory map[string]Object
	etags     map[string]string
}

const parallelUploads = 16

func newUploader(store ObjectStore, dog *watchdog, prefix string) *uploader {
	return &uploader{
		store: store, dog: dog, prefix: prefix, slots: make(chan struct{}, parallelUploads),
		inventory: map[string]Object{}, etags: map[string]string{},
	}
}

// put makes one object durable.
func (u *uploader) put(ctx context.Context, obj Object, body []byte) error {
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	var info ObjectInfo
	err := u.dog.retry(ctx, func(ctx context.Context) (err error) {
		info, err = u.store.Put(ctx, u.prefix+obj.Name, body, obj.ContentType, cacheForever)
		return err
	})
	if err != nil {
		return transient(CodeStoreUnavailable, "the object store did not take an object", err)
	}
	u.bytes.Add(obj.Size)
	u.mu.Lock()
	u.inventory[obj.Name], u.etags[obj.Name] = obj, info.ETag
	u.mu.Unlock()
	return nil
}

// stream makes an object durable while it is made; a size of −1 is not known.
// What broke is not tried again here: the bytes are gone.
func (u *uploader) stream(ctx context.Context, name string, body io.Reader, size int64) error {
	obj := Object{Name: name, ContentType: contentType(name)}
	sum := sha256.New()
	counted := &countingReader{r: io.TeeReader(body, sum), moved: func(n int) { u.bytes.Add(int64(n)); u.dog.beat() }}
	info, err := u.store.PutReader(ctx, u.prefix+name, counted, size, obj.ContentType, cacheForever)
	if err != nil {
		return transient(CodeStoreUnavailable, "the object store did not take an object", err)
	}
	obj.Size = counted.n
	sum.Sum(obj.SHA256[:0])
	u.mu.Lock()
	defer u.mu.Unlock()
	u.inventory[name], u.etags[name] = obj, info.ETag
	return nil
}

// countingReader counts what is read.
type countingReader struct {
	r     io.Reader
	n     int64
	moved func(int)
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	c.moved(n)
	return n, err
}

// putAll makes documents durable, all at once.
func (u *uploader) putAll(ctx context.Context, docs map[string][]byte) error {
	group, ctx := errgroup.WithContext(ctx)
	for name, body := range docs {
		group.Go(func() error { return u.put(ctx, newObject(name, body), body) })
	}
	return group.Wait()
}

// list returns the inventory by name, and the bytes of all objects.
func (u *uploader) list() (objects []Object, bytes int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(u.inventory)) {
		objects = append(objects, u.inventory[name])
		bytes += u.inventory[name].Size
	}
	return objects, bytes
}

func newObject(name string, body []byte) Object {
	return Object{Name: name, Size: int64(len(body)), SHA256: sha256.Sum256(body), ContentType: contentType(name)}
}
