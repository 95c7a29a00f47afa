package pipeline

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"sync"

	"github.com/Eyevinn/mp4ff/mp4"
)

// maxObject bounds one segment or document in memory: twelve seconds of the
// largest rung twice over.
const maxObject = 64 << 20

// segment is one media segment that lies in memory or in the store.
type segment struct {
	Output, Track string
	Number        int
	Key           Key       // zero: clear
	IV            [16]byte  // aes-128 only
	IVs           ivRange   // cenc only
	Frames        int64     // pictures; 0 for audio in ts
	KeyPicture    byteRange // the first one; none where parts cannot be read
	Object        Object
	ETag          string
}

// sink takes what the packagers PUT. It answers 200 once the bytes are in
// memory, for a packager gives up for ever on one failure; the uploads behind
// it have retries of their own. When the memory is full it does not read the
// next PUT, so that the packager, and in the end the encoder, waits.
//
// Playlists, the MPD and init segments may come more than once; the last one
// counts. They stay in memory until the segments are durable.
type sink struct {
	options Options
	keys    *contentKeys
	room    *budget
	dog     *watchdog
	upload  func(seg *segment, body []byte, held int64) // returns at once; releases what is held when it is done
	abort   func(error)
	early   *early // told of media playlists

	mu       sync.Mutex
	closed   bool
	docs     map[string][]byte // playlists, MPD, init segments by name
	segments map[string]*segment
}

func newSink(options Options, keys *contentKeys, dog *watchdog, limit int64) *sink {
	return &sink{options: options, keys: keys, dog: dog, room: newBudget(limit), docs: map[string][]byte{}, segments: map[string]*segment{}}
}

// close makes the sink refuse whatever still comes: nothing is uploaded for an
// attempt that has ended.
func (s *sink) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
}

// ServeHTTP takes one PUT; the path is the object's name.
func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := r.URL.Path
	if name != path.Clean(name) || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "..") {
		http.Error(w, "bad name", http.StatusBadRequest)
		s.abort(transient(CodePackFailed, "the packager wrote an unexpected object", fmt.Errorf("name %q", name)))
		return
	}
	if err := s.room.wait(r.Context()); err != nil {
		panic(http.ErrAbortHandler)
	}
	body, held, err := s.gather(r.Body)
	if err != nil {
		// The packager died in the middle; its exit is the error that counts.
		s.room.release(held)
		panic(http.ErrAbortHandler)
	}
	if err := s.take(r.Context(), name, body, held); err != nil {
		s.abort(asError(err, CodePackFailed, "the packager wrote an unexpected object"))
		http.Error(w, "refused", http.StatusBadRequest)
	}
}

// gather reads an object into memory and counts what it takes, the growing
// buffer's spare room included.
func (s *sink) gather(r io.Reader) (body []byte, held int64, err error) {
	for {
		if len(body) == cap(body) {
			grown := make([]byte, len(body), max(64<<10, 2*cap(body)))
			copy(grown, body)
			s.room.add(int64(cap(grown) - cap(body)))
			held, body = int64(cap(grown)), grown
		}
		n, err := r.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		s.dog.beat()
		switch {
		case errors.Is(err, io.EOF):
			return body, held, nil
		case err != nil:
			return nil, held, err
		case len(body) > maxObject:
			return nil, held, fmt.Errorf("more than %d bytes", maxObject)
		}
	}
}

// take sorts an object by its name.
func (s *sink) take(ctx context.Context, name string, body []byte, held int64) error {
	number, isSegment := segmentNumber(name)
	if !isSegment {
		s.room.release(held) // small and bounded by the number of renditions
		s.mu.Lock()
		s.docs[name] = bytes.Clone(body)
		s.mu.Unlock()
		if path.Ext(name) == ".m3u8" {
			s.early.list(name, body)
		}
		return nil
	}
	track := path.Dir(name)
	output, trackName, _ := strings.Cut(track, "/")
	seg := &segment{Output: output, Track: trackName, Number: number}
	var err error
	if seg.Key, err = s.keys.of(ctx, output, number); err != nil {
		s.room.release(held)
		return err
	}
	encrypted := !seg.Key.KID.IsZero()
	switch {
	case path.Ext(name) == ".m4s":
		seg.Frames, err = segmentFrames(body, func(moof *mp4.MoofBox) error {
			if !encrypted || formats[output].sealed {
				return nil
			}
			return checkSamples(moof, strings.HasPrefix(trackName, "v-"), s.options.SchemeOf(output), &seg.IVs)
		})
	case strings.HasPrefix(trackName, "v-"):
		seg.Frames, err = tsPictures(body, func([]byte) {})
	}
	if sealed := encrypted && formats[output].sealed; err == nil && !sealed && strings.HasPrefix(trackName, "v-") {
		seg.KeyPicture, err = firstKeyPicture(output, body)
	}
	if err == nil && encrypted && formats[output].sealed {
		body, seg.IV, err = sealSegment(seg.Key.Content, body)
	}
	if err != nil {
		s.room.release(held)
		return fmt.Errorf("segment %s: %w", name, err)
	}
	seg.Object = Object{Name: name, Size: int64(len(body)), SHA256: sha256.Sum256(body), ContentType: contentType(name)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.segments[name]; twice || s.closed {
		s.room.release(held)
		return fmt.Errorf("segment %s came twice, or too late", name)
	}
	s.segments[name] = seg
	s.upload(seg, body, held)
	return nil
}

// doc returns the newest version of a playlist, the MPD or an init segment.
func (s *sink) doc(name string) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b, ok := s.docs[name]
	return b, ok
}

// all returns every segment by name. Only for use when the packagers have ended.
func (s *sink) all() map[string]*segment {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.segments
}

// segmentNumber tells a media segment by its name: a number and .m4s or .ts.
func segmentNumber(name string) (int, bool) {
	ext := path.Ext(name)
	if ext != ".m4s" && ext != ".ts" {
		return 0, false
	}
	n, err := strconv.Atoi(strings.TrimSuffix(path.Base(name), ext))
	return n, err == nil && n > 0
}

// budget counts bytes in memory.
type budget struct {
	mu          sync.Mutex
	cond        *sync.Cond
	held, limit int64
	peak        int64
}

func newBudget(limit int64) *budget {
	b := &budget{limit: limit}
	b.cond = sync.NewCond(&b.mu)
	return b
}

// wait returns when there is room. What has begun may always end: only whole
// PUTs wait, so that half-read ones cannot block each other.
func (b *budget) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { b.mu.Lock(); b.cond.Broadcast(); b.mu.Unlock() })
	defer stop()
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.held >= b.limit && ctx.Err() == nil {
		b.cond.Wait()
	}
	return ctx.Err()
}

func (b *budget) add(n int64) {
	b.mu.Lock()
	b.held += n
	b.peak = max(b.peak, b.held)
	b.mu.Unlock()
}

func (b *budget) release(n int64) {
	b.mu.Lock()
	b.held -= n
	b.cond.Broadcast()
	b.mu.Unlock()
}
