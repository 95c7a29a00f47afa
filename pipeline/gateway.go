package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Block sizes of range reads: small at first, for a demuxer that seeks reads
// little at each place.
const (
	firstBlock = 256 << 10
	maxBlock   = 4 << 20
)

// gateway serves exactly one object, the source, by ranges. Every read is
// pinned to the object's ETag. A read that fails is tried again; one that
// fails for good is remembered, for ffmpeg would take it for the file's end.
type gateway struct {
	store ObjectStore
	info  ObjectInfo
	abort func(error) // ends the attempt
	dog   *watchdog
	read  atomic.Int64
	sum   *sourceHash // nil: nobody asks

	mu  sync.Mutex
	err error
}

func (g *gateway) pin(info ObjectInfo) { g.info = info }

// fault returns the reason why a read failed for good, if one did.
func (g *gateway) fault() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

func (g *gateway) fail(err error) {
	g.mu.Lock()
	if g.err == nil {
		g.err = err
	}
	g.mu.Unlock()
	g.abort(err)
}

// head returns the first n bytes, or fewer when the source is shorter.
func (g *gateway) head(ctx context.Context, n int64) ([]byte, error) {
	return g.block(ctx, 0, min(n, g.info.Size))
}

// ServeHTTP answers GET and HEAD with an optional single range (RFC 9110, 14.2).
func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, to, partial := parseRange(r.Header.Get("Range"), g.info.Size)
	h := w.Header()
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", "application/octet-stream")
	switch {
	case from >= g.info.Size:
		h.Set("Content-Range", "bytes */"+strconv.FormatInt(g.info.Size, 10))
		w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		return
	case partial:
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to-1, g.info.Size))
		h.Set("Content-Length", strconv.FormatInt(to-from, 10))
		w.WriteHeader(http.StatusPartialContent)
	default:
		h.Set("Content-Length", strconv.FormatInt(g.info.Size, 10))
	}
	if r.Method == http.MethodHead {
		return
	}
	if err := g.copyRange(r.Context(), w, from, to); err != nil {
		if r.Context().Err() == nil {
			g.fail(err)
		}
		panic(http.ErrAbortHandler)
	}
}

// copyRange writes [from, to) and reads one block ahead of the writer.
func (g *gateway) copyRange(ctx context.Context, w io.Writer, from, to int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		data []byte
		err  error
	}
	blocks := make(chan result) // unbuffered: one block is read while one is written
	go func() {
		defer close(blocks)
		for size := int64(firstBlock); from < to; size = min(2*size, maxBlock) {
			data, err := g.block(ctx, from, min(size, to-from))
			select {
			case blocks <- result{data, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
			from += int64(len(data))
		}
	}()
	for b := range blocks {
		if b.err != nil {
			return b.err
		}
		if _, err := w.Write(b.data); err != nil {
			return nil // the reader has gone: it seeks, or it has ended
		}
	}
	return nil
}

// block reads n bytes from the store, with patience.
func (g *gateway) block(ctx context.Context, off, n int64) ([]byte, error) {
	var data []byte
	err := g.dog.retry(ctx, func(ctx context.Context) error {
		body, err := g.store.Get(ctx, g.info.Key, g.info.ETag, off, n)
		if err != nil {
			return err
		}
		defer func() { _ = body.Close() }()
		data = make([]byte, n)
		got, err := io.ReadFull(body, data)
		g.read.Add(int64(got))
		return err
	})
	switch {
	case errors.Is(err, ErrObjectChanged), errors.Is(err, ErrObjectNotFound):
		return nil, permanent(CodeSourceChanged, "the source was changed or removed while it was processed", err)
	case err != nil:
		return nil, transient(CodeStoreUnavailable, "the source could not be read from the object store", err)
	}
	if g.sum != nil {
		g.sum.feed(off, data)
	}
	return data, nil
}

// parseRange reads a single byte range of a resource of the given size as
// [from, to). Anything else is the whole resource.
func parseRange(header string, size int64) (from, to int64, partial bool) {
	spec, ok := strings.CutPrefix(header, "bytes=")
	first, last, dash := strings.Cut(spec, "-")
	if !ok || !dash || first == "" || strings.Contains(last, ",") {
		return 0, size, false
	}
	from, err := strconv.ParseInt(first, 10, 64)
	if err != nil || from < 0 {
		return 0, size, false
	}
	to = size
	if last != "" {
		end, err := strconv.ParseInt(last, 10, 64)
		if err != nil || end < from {
			return 0, size, false
		}
		to = min(size, end+1)
		if end == 1<<63-1 {
			to = size
		}
	}
	return from, to, true
}

// retry calls f until it succeeds, with growing pauses for about a minute.
// What cannot pass is not tried again.
func retry(ctx context.Context, f func(context.Context) error) error {
	pause := 100 * time.Millisecond
	for try := 1; ; try++ {
		callCtx, cancel := context.WithTimeout(ctx, 60*time.Second)
		err := f(callCtx)
		cancel()
		if err == nil || errors.Is(err, ErrObjectChanged) || errors.Is(err, ErrObjectNotFound) {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if try == 10 {
			return err
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 10*time.Second)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
