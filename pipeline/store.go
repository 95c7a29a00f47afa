package pipeline

import (
	"context"
	"errors"
	"io"
)

// ObjectStore is one bucket. internal/objstore implements it.
type ObjectStore interface {
	// Stat returns an object's facts, or ErrObjectNotFound.
	Stat(ctx context.Context, key string) (ObjectInfo, error)
	// Get reads n bytes from offset off (n < 0: to the end). With an etag the
	// object must still have it, else ErrObjectChanged.
	Get(ctx context.Context, key, etag string, off, n int64) (io.ReadCloser, error)
	// Put writes an object whole.
	Put(ctx context.Context, key string, body []byte, contentType, cacheControl string) (ObjectInfo, error)
	// PutReader writes an object from a stream, in parts when it is large; a
	// size of −1 is not known. It holds a few parts of 16 MiB in memory.
	PutReader(ctx context.Context, key string, body io.Reader, size int64, contentType, cacheControl string) (ObjectInfo, error)
	// List returns every object below a prefix.
	List(ctx context.Context, prefix string) ([]ObjectInfo, error)
}

// ObjectInfo is what a store says of an object.
type ObjectInfo struct {
	Key  string
	Size int64
	ETag string
}

// What an ObjectStore answers.
var (
	ErrObjectNotFound = errors.New("no such object")
	ErrObjectChanged  = errors.New("the object has changed")
)
