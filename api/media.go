package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/token"
)

const (
	entryControl  = "public, max-age=2"
	objectControl = "public, max-age=31536000, immutable"
	secretControl = "no-store"

	lookupTimeout = 5 * time.Second // for Postgres
	maxEntrySize  = 4 << 20         // bytes of an entry document
	posterName    = "poster.jpg"
)

// entryDocument is a document with a fixed address that shows the published
// generation.
type entryDocument struct {
	contentType string
	rebase      func(doc []byte, name, prefix string) ([]byte, error)
}

var entryDocuments = map[string]entryDocument{
	"master.m3u8":             {"application/vnd.apple.mpegurl", rebasePlaylist},
	"cmaf-aes128/master.m3u8": {"application/vnd.apple.mpegurl", rebasePlaylist},
	"ts/master.m3u8":          {"application/vnd.apple.mpegurl", rebasePlaylist},
	"eme.m3u8":                {"application/vnd.apple.mpegurl", rebasePlaylist},
	"manifest.mpd":            {"application/dash+xml", rebaseManifest},
}

var (
	prefixPattern = regexp.MustCompile(`^[0-9a-f]{16}-[1-9][0-9]{0,8}$`)
	namePattern   = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*$`)
)

const maxName = 512 // bytes

// getMedia serves the entry documents of the published generation, the objects
// of the current parts by their names, and every object of the inventory under
// its prefix.
func (s *server) getMedia(w http.ResponseWriter, r *http.Request) error {
	hash, path := r.PathValue("hash"), r.PathValue("path")
	if !cenc.IsHash(hash) || len(path) > maxName || !namePattern.MatchString(path) {
		return notFound()
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cross-Origin-Resource-Policy", "cross-origin")
	if doc, ok := entryDocuments[path]; ok {
		return s.getEntry(w, r, hash, path, doc)
	}
	prefix, name, _ := strings.Cut(path, "/")
	fixed := !prefixPattern.MatchString(prefix)
	if fixed {
		var err error
		if prefix, err = s.prefixOf(r, hash, path); err != nil {
			return err
		}
		name = path
	} else if name == "" {
		return notFound()
	}
	obj, err := s.object(r, hash, prefix, name)
	if err != nil {
		return err
	}
	if obj.Private || obj.Kind == kindStatic && obj.Encrypted {
		return notFound() // downloads of an encrypted title lie under its playback keys alone
	}
	c := content{
		size: obj.Size, contentType: obj.ContentType, cacheControl: objectControl, etag: etag(obj.SHA256),
		open: s.opener(hash, prefix, obj),
	}
	switch {
	case fixed:
		c.cacheControl = entryControl
	case obj.Early:
		c.cacheControl = earlyControl(obj)
	}
	if isSecret(obj, name) {
		// Something of an encrypted title, in the clear: for viewers only.
		if _, err := s.grant(r, hash, scopeOf(obj)); err != nil {
			return err
		}
		w.Header().Set("Referrer-Policy", "no-referrer")
		c.cacheControl, c.etag = secretControl, ""
	}
	return s.serveContent(w, r, c)
}

// getEntry serves an entry document: the published generation's object of the
// same name, rebased so that its relative URIs lead into the generation. Its
// ETag follows from the inventory, so an unchanged one is not read.
func (s *server) getEntry(w http.ResponseWriter, r *http.Request, hash, name string, doc entryDocument) error {
	entry, err := s.publicEntry(r, hash)
	if err != nil {
		return err
	}
	obj, err := s.object(r, hash, entry.Prefix, name)
	if err != nil {
		return err
	}
	c := content{
		contentType: doc.contentType, cacheControl: entryControl,
		etag: etag(sha256.Sum256(fmt.Appendf(nil, "rebase 2 %s %x%s", entry.Prefix, obj.SHA256, entry.tracksTag()))),
	}
	if answered, err := answerConditional(w, r, c); answered || err != nil {
		return err
	}
	raw, err := s.readWhole(r, s.opener(hash, entry.Prefix, obj), obj)
	if err != nil {
		return err
	}
	body, err := doc.rebase(raw, name, entry.Prefix)
	if err != nil {
		return internalError(fmt.Errorf("rebase %s of %s: %w", name, hash, err))
	}
	if body, err = entry.addTracks(body, name, strings.Repeat("../", strings.Count(name, "/")), "/stream/"+hash+"/"); err != nil {
		return internalError(fmt.Errorf("name the text tracks of %s in %s: %w", hash, name, err))
	}
	c.size = int64(len(body))
	c.open = openBytes(body)
	return s.serveContent(w, r, c)
}

// earlyControl is for what may still be withdrawn: playlists grow, and a cache
// has them for less than half of any target duration; segments and what they
// need are the same to the end.
func earlyControl(obj Object) string {
	if obj.ContentType == kindHLS {
		return "public, max-age=1"
	}
	return "public, max-age=60"
}

// readWhole reads a small object and holds it against the inventory.
func (s *server) readWhole(r *http.Request, open opener, obj Object) ([]byte, error) {
	if obj.Size > maxEntrySize {
		return nil, internalError(fmt.Errorf("entry document %s has %d bytes", obj.Name, obj.Size))
	}
	ctx, cancel := context.WithTimeout(r.Context(), firstByteTimeout)
	defer cancel()
	body, err := open(ctx, 0, obj.Size)
	if err != nil {
		s.metrics.failed(r, depObjects)
		return nil, unavailable(fmt.Errorf("open object: %w", err))
	}
	defer func() { _ = body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(body, obj.Size))
	if err == nil && sha256.Sum256(raw) != obj.SHA256 {
		err = errors.New("not the object of the inventory")
	}
	if err != nil {
		s.metrics.failed(r, depObjects)
		return nil, unavailable(fmt.Errorf("read object: %w", err))
	}
	return raw, nil
}

func (s *server) opener(hash, prefix string, obj Object) opener {
	if obj.Body != nil {
		return openBytes(obj.Body)
	}
	key := "stream/" + hash + "/" + prefix + "/" + obj.Name
	return func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
		return s.Objects.Get(ctx, key, off, n)
	}
}

func openBytes(body []byte) opener {
	return func(_ context.Context, off, n int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(body[off : off+n])), nil
	}
}

func (s *server) entry(r *http.Request, hash string) (Entry, error) {
	ctx, cancel := context.WithTimeout(r.Context(), lookupTimeout)
	defer cancel()
	entry, err := s.entries.get(ctx, hash)
	if err == nil && !prefixPattern.MatchString(entry.Prefix) {
		return Entry{}, internalError(fmt.Errorf("publication has the prefix %q", entry.Prefix))
	}
	return entry, s.lookupError(r, err, notPublished())
}

// prefixOf finds the current part that an object with a fixed address belongs
// to. Generations of old have a poster of their own.
func (s *server) prefixOf(r *http.Request, hash, name string) (string, error) {
	entry, err := s.publicEntry(r, hash)
	if err != nil {
		return "", err
	}
	return s.partPrefix(r, hash, name, entry)
}

func (s *server) partPrefix(r *http.Request, hash, name string, entry Entry) (string, error) {
	ctx, cancel := context.WithTimeout(r.Context(), lookupTimeout)
	defer cancel()
	prefix, err := s.Publications.PartObject(ctx, hash, name)
	if errors.Is(err, ErrNotFound) && name == posterName {
		return entry.Prefix, nil
	}
	if err == nil && !prefixPattern.MatchString(prefix) {
		return "", internalError(fmt.Errorf("part has the prefix %q", prefix))
	}
	return prefix, s.lookupError(r, err, notFound())
}

// publicEntry is the entry of a title that /stream serves. A private one is
// not told from one that is not there: its hash may be known to many.
func (s *server) publicEntry(r *http.Request, hash string) (Entry, error) {
	entry, err := s.entry(r, hash)
	if err == nil && entry.Private {
		return Entry{}, notPublished()
	}
	return entry, err
}

func (s *server) object(r *http.Request, hash, prefix string, names ...string) (Object, error) {
	ctx, cancel := context.WithTimeout(r.Context(), lookupTimeout)
	defer cancel()
	obj, err := s.Publications.Object(ctx, hash, prefix, names...)
	return obj, s.lookupError(r, err, notFound())
}

func (s *server) lookupError(r *http.Request, err error, missing *Problem) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrNotFound):
		return missing
	default:
		s.metrics.failed(r, depPostgres)
		return unavailable(fmt.Errorf("look publication up: %w", err))
	}
}

// publicParts are the kinds of parts that say so little of an encrypted title
// that everybody may have them.
var publicParts = map[string]bool{"text": true}

// kindStatic is the kind of downloads.
const kindStatic = "static"

// scopeOf is what a token must allow for an object that not everybody may have.
func scopeOf(obj Object) byte {
	if obj.Kind == "storyboard" {
		return token.ScopeStoryboard
	}
	return token.ScopePoster
}

// isSecret reports whether an object shows an encrypted title to everybody who
// gets it: its parts and pictures do, its segments do not.
func isSecret(obj Object, name string) bool {
	if !obj.Encrypted {
		return false
	}
	return obj.Kind != "" && !publicParts[obj.Kind] ||
		name == posterName || strings.HasPrefix(strings.ToLower(obj.ContentType), "image/")
}

// etag is a strong entity tag (RFC 9110, 8.8.3).
func etag(sum [32]byte) string { return `"` + hex.EncodeToString(sum[:]) + `"` }

// entryCache remembers for a moment which generation of an asset is published:
// a starting player asks for two or three entry documents at once.
type entryCache struct {
	source Publications
	mu     sync.Mutex
	byHash map[string]cachedEntry
}

type cachedEntry struct {
	entry Entry
	until time.Time
}

const (
	entryCacheTTL  = time.Second
	entryCacheSize = 1024
)

func newEntryCache(source Publications) *entryCache {
	return &entryCache{source: source, byHash: map[string]cachedEntry{}}
}

func (c *entryCache) get(ctx context.Context, hash string) (Entry, error) {
	now := time.Now()
	c.mu.Lock()
	cached, ok := c.byHash[hash]
	c.mu.Unlock()
	if ok && now.Before(cached.until) {
		return cached.entry, nil
	}
	entry, err := c.source.Entry(ctx, hash)
	if err != nil {
		return Entry{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byHash) >= entryCacheSize {
		clear(c.byHash) // all of it is a second old at most
	}
	c.byHash[hash] = cachedEntry{entry, now.Add(entryCacheTTL)}
	return entry, nil
}
