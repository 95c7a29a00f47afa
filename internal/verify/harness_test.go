package verify_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/internal/sandbox"
	"github.com/sealcast/sealcast/internal/verify"
	"github.com/sealcast/sealcast/pipeline"
)

func TestMain(m *testing.M) {
	sandbox.MaybeChild()
	os.Exit(localstacktest.Run(m))
}

// placeholder stands in playlists for the origin of the site.
const placeholder = "https://media.example"

const (
	testPrefix = "0123456789abcdef-1"
	testToken  = "a-good-token"
)

// title is what the real pipeline made: objects by name, and its keys.
type title struct {
	hash  string
	files map[string][]byte
	types map[string]string
	cache map[string]string
	keys  map[string][]byte // by kid
	first string            // kid of the bare key URI
}

var made struct {
	sync.Mutex
	titles map[string]*title
}

// The packagings of the clip.
const (
	inClear   = ""     // cmaf, ts
	encrypted = "cbcs" // cmaf, cmaf-aes128, ts
	withCENC  = "cenc" // cmaf
)

// titleOf encodes a short clip once for each packaging: two rungs with
// B-frames, a sound, three segments of two seconds.
func titleOf(t testing.TB, packaging string) *title {
	t.Helper()
	made.Lock()
	defer made.Unlock()
	if made.titles == nil {
		made.titles = map[string]*title{}
	}
	if made.titles[packaging] == nil {
		made.titles[packaging] = makeTitle(t, packaging)
	}
	return made.titles[packaging]
}

func makeTitle(t testing.TB, packaging string) *title {
	t.Helper()
	stack := localstacktest.Stack(t)
	client, err := objstore.New(objstore.Config{
		Endpoint: stack.S3Endpoint, AccessKey: stack.S3AccessKey, SecretKey: stack.S3SecretKey, Region: stack.S3Region,
	})
	if err != nil {
		t.Fatal(err)
	}
	sourceName, mediaName := localstacktest.Buckets(t)
	source, media := client.Bucket(sourceName), client.Bucket(mediaName)
	body := clip(t)
	if _, err := source.Put(t.Context(), "uploads/clip.mp4", body, "video/mp4", ""); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	out := &title{hash: hex.EncodeToString(sum[:]), keys: map[string][]byte{}, files: map[string][]byte{}, types: map[string]string{}, cache: map[string]string{}}
	req := pipeline.Request{Hash: out.hash, Prefix: testPrefix, SourceKey: "uploads/clip.mp4", Options: pipeline.DefaultOptions()}
	req.Options.SegmentSeconds, req.Options.Encrypt, req.Options.Scheme = 2, packaging != inClear, packaging
	switch packaging {
	case encrypted:
		req.Options.Outputs = pipeline.Outputs
	case withCENC:
		req.Options.Outputs = []string{pipeline.OutputCMAF}
	}
	if req.Options.Encrypt {
		req.Keys, req.LicenceURI = map[string]pipeline.Key{}, placeholder+"/api/license/clearkey/"+out.hash
		for i, output := range req.Options.Outputs {
			k := pipeline.Key{KID: cenc.NewKID(), Content: cenc.NewContentKey(), URI: placeholder + "/api/key/" + out.hash}
			if i == 0 {
				out.first = k.KID.String()
			} else {
				k.URI += "?kid=" + k.KID.String()
			}
			req.Keys[output] = k
			out.keys[k.KID.String()] = k.Content.Bytes()
		}
		req.LicenceURI = placeholder + "/api/license/clearkey/" + out.hash
		req.StoredKey = func(_ context.Context, kid cenc.KID) (cenc.ContentKey, error) {
			return cenc.ContentKeyFrom(out.keys[kid.String()])
		}
	}
	runner, err := pipeline.New(pipeline.Config{Sources: source, Media: media, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := runner.Run(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	out.read(t, media, pipeline.KeyPrefix(out.hash, testPrefix))
	return out
}

func clip(t testing.TB) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clip.mp4")
	cmd := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=12:duration=6",
		"-f", "lavfi", "-i", "sine=frequency=440:duration=6", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	body, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// read takes every object below a prefix.
func (x *title) read(t testing.TB, media *objstore.Bucket, prefix string) {
	t.Helper()
	infos, err := media.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		r, err := media.Get(t.Context(), info.Key, "", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		_ = r.Close()
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(info.Key, prefix)
		x.files[name], x.types[name] = b, mediaType(name)
	}
}

func mediaType(name string) string {
	return map[string]string{
		".m3u8": "application/vnd.apple.mpegurl", ".mpd": "application/dash+xml", ".ts": "video/mp2t",
		".mp4": "video/mp4", ".m4s": "video/mp4", ".vtt": "text/vtt",
	}[path.Ext(name)]
}

// copy returns a title that may be damaged.
func (x *title) copy() *title {
	out := *x
	out.files, out.types, out.cache, out.keys = maps.Clone(x.files), maps.Clone(x.types), maps.Clone(x.cache), maps.Clone(x.keys)
	return &out
}

// names returns the objects that match a pattern, in order.
func (x *title) names(t testing.TB, pattern string) (out []string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(x.files)) {
		if ok, _ := path.Match(pattern, name); ok {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		t.Fatalf("no object %s; there are %q", pattern, slices.Sorted(maps.Keys(x.files)))
	}
	return out
}

// edit changes every object of a pattern; a change that does nothing fails.
func (x *title) edit(t testing.TB, pattern string, change func([]byte) []byte) {
	t.Helper()
	for _, name := range x.names(t, pattern) {
		after := change(bytes.Clone(x.files[name]))
		if bytes.Equal(after, x.files[name]) {
			t.Fatalf("%s is as it was:\n%.600s", name, after)
		}
		x.files[name] = after
	}
}

// replace changes text in every object of a pattern.
func (x *title) replace(t testing.TB, pattern, old, now string) {
	t.Helper()
	x.edit(t, pattern, func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(now), 1) })
}

// site is an installation as a client sees it: the objects of a title, and
// the key route by its contract. It stands for the world outside.
type site struct {
	title  *title
	origin string // allowed by CORS
	key    func(w http.ResponseWriter, r *http.Request) bool
	before func(w http.ResponseWriter, r *http.Request) bool
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.before != nil && s.before(w, r) {
		return
	}
	if o := r.Header.Get("Origin"); o != "" && o == s.origin {
		w.Header().Set("Access-Control-Allow-Origin", o)
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Range")
	}
	if hash, ok := strings.CutPrefix(r.URL.Path, "/api/key/"); ok {
		s.keyRoute(w, r, hash)
		return
	}
	if hash, ok := strings.CutPrefix(r.URL.Path, "/api/license/clearkey/"); ok {
		s.licenceRoute(w, r, hash)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/stream/"+s.title.hash+"/"+testPrefix+"/")
	body, there := s.title.files[name]
	if !ok || !there {
		http.NotFound(w, r)
		return
	}
	if strings.HasSuffix(name, ".m3u8") || strings.HasSuffix(name, ".mpd") {
		body = bytes.ReplaceAll(body, []byte(placeholder), []byte("http://"+r.Host))
	}
	w.Header().Set("Content-Type", s.title.types[name])
	cache := "public, max-age=31536000, immutable"
	if path.Base(name) == "master.m3u8" || name == "eme.m3u8" || path.Ext(name) == ".mpd" {
		cache = "public, max-age=2"
	}
	if c, ok := s.title.cache[name]; ok {
		cache = c
	}
	if cache != "" {
		w.Header().Set("Cache-Control", cache)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

func (s *site) keyRoute(w http.ResponseWriter, r *http.Request, hash string) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if s.key != nil && s.key(w, r) {
		return
	}
	kid := s.title.first
	if q := r.URL.Query().Get("kid"); q != "" {
		kid = q
	}
	if key := s.authorize(w, r, hash, kid); key != nil {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(key)
	}
}

// licenceRoute gives the key that a Clear Key licence request names.
func (s *site) licenceRoute(w http.ResponseWriter, r *http.Request, hash string) {
	w.Header().Set("Cache-Control", "no-store")
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	var ask struct{ Kids []string }
	if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || len(ask.Kids) != 1 || r.Method != http.MethodPost {
		refuse(w, http.StatusBadRequest, "invalid_request")
		return
	}
	kid, _ := base64.RawURLEncoding.DecodeString(ask.Kids[0])
	if key := s.authorize(w, r, hash, hex.EncodeToString(kid)); key != nil {
		fmt.Fprintf(w, `{"keys":[{"kty":"oct","kid":%q,"k":%q}],"type":"temporary"}`, ask.Kids[0], base64.RawURLEncoding.EncodeToString(key))
	}
}

// authorize returns a key, or refuses.
func (s *site) authorize(w http.ResponseWriter, r *http.Request, hash, kid string) []byte {
	status, code := http.StatusOK, ""
	given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	key := s.title.keys[kid]
	switch {
	case !bearer:
		status, code = http.StatusUnauthorized, "token_required"
	case given != testToken:
		status, code = http.StatusForbidden, "invalid_token"
	case hash != s.title.hash:
		status, code = http.StatusForbidden, "token_mismatch"
	case key == nil:
		status, code = http.StatusNotFound, "no_key"
	}
	if status != http.StatusOK {
		refuse(w, status, code)
		return nil
	}
	return key
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"status":%d,"code":%q}`, status, code)
}

// verify runs the client against a site.
func (s *site) verify(t testing.TB, entry string, change ...func(*verify.Config)) *verify.Report {
	t.Helper()
	srv := httptest.NewServer(s)
	defer srv.Close()
	c := verify.Config{URL: srv.URL + "/stream/" + s.title.hash + "/" + testPrefix + "/" + entry, Token: testToken, Parallel: 2}
	for _, f := range change {
		f(&c)
	}
	report, err := verify.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// text is the report as people see it.
func text(r *verify.Report) string {
	var b strings.Builder
	r.WriteText(&b)
	return b.String()
}
