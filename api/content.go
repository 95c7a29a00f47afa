package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	firstByteTimeout = 10 * time.Second // for the object store to begin
	stallTimeout     = 30 * time.Second // for one buffer to come in and go out
)

var errStalled = errors.New("the transfer stalled")

type opener func(ctx context.Context, off, n int64) (io.ReadCloser, error)

// content is what serveContent serves.
type content struct {
	size         int64
	contentType  string
	cacheControl string
	etag         string // strong; empty: none, and no conditional answer
	open         opener
}

// serveContent answers GET and HEAD (RFC 9110, 13 and 14): preconditions, one
// byte range, the whole. Only a GET that has something to send opens the
// content.
func (s *server) serveContent(w http.ResponseWriter, r *http.Request, c content) error {
	if answered, err := answerConditional(w, r, c); answered || err != nil {
		return err
	}
	h := w.Header()
	off, n, status := int64(0), c.size, http.StatusOK
	if r.Method == http.MethodGet && rangeApplies(r.Header, c.etag) {
		start, length, outcome := parseRange(r.Header.Get("Range"), c.size)
		switch outcome {
		case rangeOne:
			off, n, status = start, length, http.StatusPartialContent
		case rangeNone:
			h.Set("Content-Range", "bytes */"+strconv.FormatInt(c.size, 10))
			return problem(http.StatusRequestedRangeNotSatisfiable, "range_not_satisfiable", "the range lies outside")
		}
	}
	begin := func() {
		validators(h, c)
		h.Set("Content-Type", c.contentType)
		h.Set("Accept-Ranges", "bytes")
		h.Set("Content-Length", strconv.FormatInt(n, 10))
		if status == http.StatusPartialContent {
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, c.size))
		}
		w.WriteHeader(status)
	}
	if r.Method == http.MethodHead || n == 0 {
		begin()
		return nil
	}
	return s.pump(w, r, c.open, off, n, begin)
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// pump copies n bytes to the client through one buffer. It begins the answer
// once the first bytes are here; an error before that can still be told, one
// after it cuts the connection. Slow transfers may last, stalled ones end.
func (s *server) pump(w http.ResponseWriter, r *http.Request, open opener, off, n int64, begin func()) error {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	watchdog := time.AfterFunc(firstByteTimeout, func() { cancel(errStalled) })
	defer watchdog.Stop()

	body, err := open(ctx, off, n)
	if err != nil {
		s.metrics.failed(r, depObjects)
		return unavailable(fmt.Errorf("open object: %w", err))
	}
	defer func() { _ = body.Close() }()
	conn := http.NewResponseController(w)
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)

	for left := n; left > 0; {
		k, err := body.Read((*buf)[:min(left, int64(len(*buf)))])
		if k == 0 && err != nil {
			s.metrics.failed(r, depObjects)
			return unavailable(fmt.Errorf("read object, %d of %d bytes missing: %w", left, n, err))
		}
		if k == 0 {
			continue // the watchdog ends this
		}
		if left == n {
			begin()
		}
		watchdog.Reset(stallTimeout)
		_ = conn.SetWriteDeadline(time.Now().Add(stallTimeout))
		if _, err := w.Write((*buf)[:k]); err != nil {
			panic(http.ErrAbortHandler) // the client went away
		}
		left -= int64(k)
	}
	return nil
}

// answerConditional answers 304 or 412 when the preconditions want it. It
// compares strongly for If-Match and weakly for If-None-Match.
func answerConditional(w http.ResponseWriter, r *http.Request, c content) (bool, error) {
	if c.etag == "" {
		return false, nil
	}
	if values := r.Header.Values("If-Match"); len(values) > 0 && !listsTag(values, c.etag, false) {
		return false, problem(http.StatusPreconditionFailed, "precondition_failed", "this is another version")
	}
	if listsTag(r.Header.Values("If-None-Match"), c.etag, true) {
		validators(w.Header(), c)
		w.WriteHeader(http.StatusNotModified)
		return true, nil
	}
	return false, nil
}

func validators(h http.Header, c content) {
	h.Set("Cache-Control", c.cacheControl)
	if c.etag != "" {
		h.Set("ETag", c.etag)
	}
}

// listsTag looks for an entity tag in lists of them. Ours have no comma.
func listsTag(values []string, tag string, weak bool) bool {
	for _, value := range values {
		for entry := range strings.SplitSeq(value, ",") {
			entry = strings.Trim(entry, " \t")
			if weak {
				entry = strings.TrimPrefix(entry, "W/")
			}
			if entry == tag || entry == "*" {
				return true
			}
		}
	}
	return false
}

// rangeApplies reports whether there is a range to look at: one header, and an
// If-Range that is our strong tag or absent. There is no Last-Modified, so a
// date never matches.
func rangeApplies(h http.Header, tag string) bool {
	if len(h.Values("Range")) != 1 {
		return false
	}
	condition := h.Values("If-Range")
	return len(condition) == 0 || (len(condition) == 1 && tag != "" && condition[0] == tag)
}

type rangeOutcome int

const (
	rangeWhole rangeOutcome = iota // no range, one not understood, or several: the whole is right
	rangeOne
	rangeNone // not satisfiable
)

// parseRange reads a Range header (RFC 9110, 14.1.2) against a size. It
// understands one range, with a start, or a suffix.
func parseRange(header string, size int64) (off, n int64, outcome rangeOutcome) {
	unit, set, ok := strings.Cut(header, "=")
	if !ok || !strings.EqualFold(unit, "bytes") {
		return 0, size, rangeWhole
	}
	first, last, ok := strings.Cut(strings.Trim(set, " \t"), "-")
	if !ok || !isDigits(first+last) || first+last == "" {
		return 0, size, rangeWhole
	}
	if first == "" { // a suffix
		n = min(parseOffset(last), size)
		if n == 0 {
			return 0, 0, rangeNone
		}
		return size - n, n, rangeOne
	}
	off, end := parseOffset(first), size-1
	if last != "" {
		if less(last, first) {
			return 0, size, rangeWhole
		}
		end = min(parseOffset(last), end)
	}
	if off >= size {
		return 0, 0, rangeNone
	}
	return off, end - off + 1, rangeOne
}

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// parseOffset reads digits; what does not fit is larger than any object.
func parseOffset(digits string) int64 {
	v, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return math.MaxInt64
	}
	return v
}

// less compares two strings of digits as numbers of any size.
func less(a, b string) bool {
	a, b = strings.TrimLeft(a, "0"), strings.TrimLeft(b, "0")
	return len(a) < len(b) || (len(a) == len(b) && a < b)
}
