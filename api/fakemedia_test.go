package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"image"
	"image/jpeg"
	"io"
	"sync"
	"testing"
)

// fakePublications is an inventory in memory.
type fakePublications struct {
	mu      sync.Mutex
	entries map[string]Entry
	objects map[string]Object // by object key
	err     error
	lookups int
	looked  func() // after a look for an object, with mu held; nil: nothing
}

// fakeObjects is an object store in memory.
type fakeObjects struct {
	mu     sync.Mutex
	data   map[string][]byte
	err    error // of Get
	short  int64 // bytes after which a reader fails; 0: never
	closed int
	opened int
	reader func(context.Context) io.ReadCloser // instead of data
}

const (
	masterPlaylist = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",URI=\"audio/1.m3u8\"\n" +
		"#EXT-X-STREAM-INF:BANDWIDTH=1,AUDIO=\"a\"\nvideo/720p.m3u8\n"
	tsPlaylist = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n720p/index.m3u8\n"
	manifest   = `<?xml version="1.0"?>` + "\n" + `<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>` + "\n"
	segment    = "0123456789abcdefghijklmnopqrstuvwxyz"
	poster     = "\xff\xd8\xff a picture"
)

func newFakeMedia() (*fakePublications, *fakeObjects) {
	p := &fakePublications{entries: map[string]Entry{}, objects: map[string]Object{}}
	s := &fakeObjects{data: map[string][]byte{}}
	for hash, encrypted := range map[string]bool{hashA: true, hashC: false} {
		p.entries[hash] = Entry{Prefix: testPrefix, Generation: 1, Encrypted: encrypted}
		for name, o := range map[string]struct{ kind, data string }{
			"master.m3u8":         {"application/vnd.apple.mpegurl", masterPlaylist},
			"ts/master.m3u8":      {"application/vnd.apple.mpegurl", tsPlaylist},
			"manifest.mpd":        {"application/dash+xml", manifest},
			"video/720p.m3u8":     {"application/vnd.apple.mpegurl", "#EXTM3U\n"},
			"video/720p/1.m4s":    {"video/iso.segment", segment},
			"ts/720p/1.ts":        {"video/mp2t", segment},
			"video/720p/init.mp4": {"video/mp4", ""},
			"poster.jpg":          {"image/jpeg", poster},
		} {
			p.add(s, hash, name, o.kind, []byte(o.data), encrypted)
		}
	}
	return p, s
}

func objectKey(hash, prefix, name string) string {
	return fmt.Sprintf("stream/%s/%s/%s", hash, prefix, name)
}

func (f *fakePublications) add(s *fakeObjects, hash, name, kind string, data []byte, encrypted bool) {
	f.put(s, hash, testPrefix, Object{Name: name, ContentType: kind, Encrypted: encrypted}, data)
}

func (f *fakePublications) put(s *fakeObjects, hash, prefix string, o Object, data []byte) {
	key := objectKey(hash, prefix, o.Name)
	o.Size, o.SHA256 = int64(len(data)), sha256.Sum256(data)
	f.objects[key] = o
	s.data[key] = data
}

func (f *fakePublications) Entry(_ context.Context, hash string) (Entry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookups++
	if f.err != nil {
		return Entry{}, f.err
	}
	e, ok := f.entries[hash]
	if !ok {
		return e, ErrNotFound
	}
	return e, nil
}

func (f *fakePublications) PartObject(_ context.Context, hash, name string) (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return "", f.err
	}
	if o, ok := f.objects[objectKey(hash, testPart, name)]; ok && o.Kind != "" {
		return testPart, nil
	}
	return "", ErrNotFound
}

func (f *fakePublications) Object(_ context.Context, hash, prefix string, names ...string) (Object, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lookups++
	if f.err != nil {
		return Object{}, f.err
	}
	if f.looked != nil {
		defer f.looked()
	}
	for _, name := range names {
		if o, ok := f.objects[objectKey(hash, prefix, name)]; ok {
			return o, nil
		}
	}
	return Object{}, ErrNotFound
}

func (f *fakeObjects) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.opened++
	if f.err != nil {
		return nil, f.err
	}
	if f.reader != nil {
		return f.reader(ctx), nil
	}
	data, ok := f.data[key]
	if !ok || off < 0 || n < 0 || off+n > int64(len(data)) {
		return nil, fmt.Errorf("no bytes %d+%d of %s", off, n, key)
	}
	data = data[off : off+n]
	var r io.Reader = bytes.NewReader(data)
	if f.short > 0 {
		r = io.MultiReader(io.LimitReader(r, f.short), brokenReader{})
	}
	return &countedCloser{r, f}, nil
}

func (f *fakeObjects) counts() (opened, closed int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.opened, f.closed
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) {
	return 0, fmt.Errorf("connection to s3.internal:9000 reset")
}

type countedCloser struct {
	io.Reader
	store *fakeObjects
}

func (c *countedCloser) Close() error {
	c.store.mu.Lock()
	defer c.store.mu.Unlock()
	c.store.closed++
	return nil
}

func aJPEG(t testing.TB, w, h int) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := jpeg.Encode(&b, image.NewGray(image.Rect(0, 0, w, h)), nil); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
