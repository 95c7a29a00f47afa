package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/keystore/audit"
	"github.com/sealcast/sealcast/token"
)

const (
	testAPIKey = "an-api-key-for-tests"
	testSecret = "0123456789abcdef0123456789abcdef"
	testOrigin = "https://player.example.com"
	testPrefix = "0011223344556677-1"
	testPart   = "8899aabbccddeeff-2" // the prefix of parts
)

var (
	hashA = strings.Repeat("ab", 32)
	hashB = strings.Repeat("cd", 32)
	hashC = strings.Repeat("ef", 32) // of a clear title
)

// rig is an API over real TCP with fakes behind it. Every answer that passes
// through do is held against openapi.yaml.
type rig struct {
	t      testing.TB
	url    string
	server *httptest.Server
	tokens *token.HMAC
	keys   *fakeKeys
	audit  *fakeAudit
	jobs   *fakeJobs
	assets *fakeAssets
	tracks *fakeTracks
	pubs   *fakePublications
	store  *fakeObjects
	log    *lockedBuffer
	reg    *prometheus.Registry
	spec   *openapi3.T
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	tokens, err := token.NewHMAC([]byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	apiKey, err := NewAPIKey(testAPIKey)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, tokens: tokens, keys: newFakeKeys(), jobs: &fakeJobs{byID: map[string]Job{}},
		audit: &fakeAudit{}, log: &lockedBuffer{}, reg: prometheus.NewRegistry(), spec: loadSpec(t),
	}
	r.pubs, r.store = newFakeMedia()
	r.assets = &fakeAssets{pubs: r.pubs}
	r.tracks = &fakeTracks{}
	cfg := Config{
		BaseURL: "https://video.example.com", APIKey: apiKey,
		CORSOrigins: []string{testOrigin, "http://127.0.0.1:*"},
		Gate:        fakeGate{&token.Verifier{Secret: tokens}}, Admin: noAdmin{}, Environment: "production", Keys: r.keys, Audit: r.audit, Jobs: r.jobs, Webhooks: &fakeWebhooks{}, Assets: r.assets, Tracks: r.tracks, Publications: r.pubs, Objects: r.store,
		KeysPerToken: 1000, KeysPerClient: 1000, EventStreams: 100,
		Registry: r.reg, Log: slog.New(slog.NewJSONHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	handler, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.server = httptest.NewUnstartedServer(nil)
	r.server.Config = NewServer("", handler)
	r.server.Start()
	t.Cleanup(r.server.Close)
	r.url = r.server.URL
	return r
}

func (r *rig) token(hash string) string {
	return r.mint(token.Claims{Hash: hash, ExpiresAt: time.Now().Add(5 * time.Minute)})
}

func (r *rig) mint(c token.Claims) string {
	r.t.Helper()
	tok, err := r.tokens.Mint(c)
	if err != nil {
		r.t.Fatal(err)
	}
	return tok
}

// fakeGate opens a title by its hash with the shared secret.
type fakeGate struct{ verifier *token.Verifier }

func (f fakeGate) Authorize(_ context.Context, req access.Request) (access.Grant, error) {
	if req.Token == "" {
		return access.Grant{}, access.ErrTokenRequired
	}
	verified, _, err := f.verifier.Inspect(req.Token, time.Now())
	grant := access.Grant{Grant: verified, Hash: req.PathID}
	switch {
	case err != nil:
		return grant, err
	case verified.Title() != req.PathID:
		return grant, token.Error{Code: token.CodeMismatch}
	case !verified.Allows(req.Scope, false):
		return grant, token.Error{Code: token.CodeScope}
	}
	return grant, nil
}

// noAdmin knows no API key but the one of the environment.
type noAdmin struct{ Admin }

func (noAdmin) CheckAPIKey(context.Context, string) (access.APIKey, error) {
	return access.APIKey{}, access.ErrNotFound
}

func (fakeGate) Session(access.Grant) (string, error) { return "", nil }

type answer struct {
	*http.Response
	body []byte
}

// code of the problem; "" for other answers.
func (a answer) code() string {
	var p struct{ Code string }
	if strings.HasPrefix(a.Header.Get("Content-Type"), "application/problem+json") {
		_ = json.Unmarshal(a.body, &p)
	}
	return p.Code
}

// do sends a request to the raw path. Headers are "Name: value" and may repeat.
func (r *rig) do(method, path, body string, headers ...string) answer {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), eventPatience) // a stream may not end
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, r.url, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	rawPath, query, _ := strings.Cut(path, "?")
	req.URL.Opaque = rawPath // sent as it is
	if strings.HasPrefix(rawPath, "//") {
		req.URL.Opaque = r.url + rawPath
	}
	req.URL.RawQuery = query
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = res.Body.Close() }()
	got, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	a := answer{res, got}
	r.checkSpec(req, rawPath, a)
	return a
}

func loadSpec(t testing.TB) *openapi3.T {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromFile("openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return doc
}

// checkSpec replays an answer against openapi.yaml.
func (r *rig) checkSpec(req *http.Request, rawPath string, a answer) {
	r.t.Helper()
	template, ok := specPath(rawPath)
	if !ok {
		if a.code() == "" {
			r.t.Errorf("%s %s: %d for a path that openapi.yaml does not have", req.Method, rawPath, a.StatusCode)
		}
		return
	}
	item := r.spec.Paths.Value(template)
	op := item.GetOperation(req.Method)
	if op == nil { // HEAD, and what is answered with 405
		op = item.Get
		if op == nil {
			op = item.Post
		}
		if op == nil {
			op = item.Delete
		}
	}
	input := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{
			Request: req, Route: &routers.Route{Spec: r.spec, Path: template, PathItem: item, Method: req.Method, Operation: op},
		},
		Status: a.StatusCode, Header: a.Header,
		Options: &openapi3filter.Options{IncludeResponseStatus: true},
	}
	input.SetBodyBytes(a.body)
	if err := openapi3filter.ValidateResponse(context.Background(), input); err != nil {
		r.t.Errorf("%s %s: %d is not as openapi.yaml says: %v", req.Method, rawPath, a.StatusCode, err)
	}
}

func specPath(path string) (string, bool) {
	segments := strings.Split(strings.TrimPrefix(path, "/"), "/")
	switch {
	case path == "/healthz", path == "/readyz", path == "/api/jobs", path == "/api/media":
		return path, true
	case len(segments) == 3 && strings.HasPrefix(path, "/api/key/"):
		return "/api/key/{hash}", true
	case len(segments) == 4 && strings.HasPrefix(path, "/api/license/clearkey/"):
		return "/api/license/clearkey/{hash}", true
	case len(segments) == 4 && segments[3] == "events" && strings.HasPrefix(path, "/api/jobs/"):
		return "/api/jobs/{id}/events", true
	case len(segments) == 4 && strings.HasPrefix(path, "/api/media/") && segments[3] == "tracks":
		return "/api/media/{hash}/tracks", true
	case len(segments) == 5 && strings.HasPrefix(path, "/api/media/") && segments[3] == "tracks":
		return "/api/media/{hash}/tracks/{lang}", true
	case len(segments) == 4 && segments[3] == "repackage" && strings.HasPrefix(path, "/api/media/"):
		return "/api/media/{hash}/repackage", true
	case len(segments) == 4 && strings.HasPrefix(path, "/api/media/") && segments[3] == "parts":
		return "/api/media/{hash}/parts", true
	case len(segments) == 6 && strings.HasPrefix(path, "/api/media/") && segments[5] == "retry":
		return "/api/media/{hash}/parts/{kind}/retry", true
	case len(segments) == 3 && strings.HasPrefix(path, "/api/media/"):
		return "/api/media/{hash}", true
	case len(segments) == 3 && segments[2] != "" && strings.HasPrefix(path, "/api/jobs/"):
		return "/api/jobs/{id}", true
	case len(segments) == 4 && strings.HasPrefix(path, "/api/jobs/") && segments[3] == "webhooks":
		return "/api/jobs/{id}/webhooks", true
	case len(segments) == 6 && strings.HasPrefix(path, "/api/jobs/") && segments[5] == "redeliver":
		return "/api/jobs/{id}/webhooks/{delivery}/redeliver", true
	case len(segments) == 4 && strings.HasPrefix(path, "/api/jobs/") && (segments[3] == "cancel" || segments[3] == "retry"):
		return "/api/jobs/{id}/" + segments[3], true
	case strings.HasPrefix(path, "/v1/p/") && len(segments) == 4 && slices.Contains([]string{"key", "license", "session"}, segments[3]):
		return "/v1/p/{pk}/" + segments[3], true
	case strings.HasPrefix(path, "/v1/p/") && len(segments) == 6 && segments[3] == "t" && (segments[5] == "key" || segments[5] == "license"):
		return "/v1/p/{pk}/t/{token}/" + segments[5], true
	case strings.HasPrefix(path, "/v1/p/") && len(segments) >= 6 && segments[3] == "t":
		return "/v1/p/{pk}/t/{token}/{path}", true
	case strings.HasPrefix(path, "/v1/p/") && len(segments) >= 4:
		return "/v1/p/{pk}/{path}", true
	case strings.HasPrefix(path, "/video/key/") && len(segments) == 3:
		return "/video/key/{id}", true
	case strings.HasPrefix(path, "/v1/video/playback/key/") && len(segments) == 6:
		return "/v1/video/playback/key/{token}/{id}", true
	case strings.HasPrefix(path, "/v1/") && len(segments) == 3 && segments[2] == "master.m3u8":
		return "/v1/{pk}/master.m3u8", true
	case len(segments) == 2 && (segments[0] == "watch" || segments[0] == "embed"):
		return "/" + segments[0] + "/{pk}", true
	case len(segments) == 2 && segments[0] == "player":
		return "/player/{file}", true
	case path == "/console":
		return path, true
	case len(segments) >= 2 && len(segments) <= 4 && segments[0] == "api" && slices.Contains(access.Resources[2:], segments[1]) && !strings.HasSuffix(path, "/"): // jobs and media stand above
		template := "/api/" + segments[1]
		switch {
		case path == "/api/tokens/inspect":
			return path, true
		case len(segments) > 2 && segments[1] == "signing-keys":
			template += "/{kid}"
		case len(segments) > 2:
			template += "/{id}"
		}
		if len(segments) > 3 {
			template += "/" + segments[3]
		}
		return template, true
	case len(segments) >= 3 && strings.HasPrefix(path, "/stream/"):
		return "/stream/{hash}/{path}", true
	}
	return "", false
}

func init() {
	for _, kind := range []string{
		"application/vnd.apple.mpegurl", "application/dash+xml", "video/mp4", "video/iso.segment", "video/mp2t", "audio/mp4", "image/jpeg",
		"image/webp", "image/gif", "image/png", "text/vtt", "text/html", "text/css", "text/javascript",
		"text/event-stream",
	} {
		openapi3filter.RegisterBodyDecoder(kind, openapi3filter.FileBodyDecoder)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fakeKeys serves keys as keystore.Store does.
type fakeKeys struct {
	mu    sync.Mutex
	byKID map[cenc.KID]keystore.Key
	err   error
	calls int
}

func newFakeKeys() *fakeKeys {
	f := &fakeKeys{byKID: map[cenc.KID]keystore.Key{}}
	f.add(hashA, 0xa1, true)
	f.add(hashA, 0xa2, false)
	f.add(hashB, 0xb1, true)
	return f
}

func kidFilled(fill byte) (kid cenc.KID) {
	for i := range kid {
		kid[i] = fill
	}
	return kid
}

func (f *fakeKeys) add(hash string, fill byte, isDefault bool) {
	content, _ := cenc.ContentKeyFrom(bytes.Repeat([]byte{fill ^ 0xff}, 16))
	kid := kidFilled(fill)
	f.byKID[kid] = keystore.Key{KID: kid, Hash: hash, Default: isDefault, Content: content}
}

func (f *fakeKeys) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeKeys) called() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *fakeKeys) Served(_ context.Context, hash string, kid *cenc.KID) (keystore.Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.err != nil {
		return keystore.Key{}, f.err
	}
	for _, key := range f.byKID {
		if key.Hash == hash && ((kid == nil && key.Default) || (kid != nil && key.KID == *kid)) {
			return key, nil
		}
	}
	return keystore.Key{}, keystore.ErrNotFound
}

// fakeAudit keeps the record in memory.
type fakeAudit struct {
	mu   sync.Mutex
	list []audit.Access
	err  error
}

func (f *fakeAudit) Record(a audit.Access, requestID string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if requestID == "" {
		return errors.New("no request id")
	}
	if f.err == nil {
		f.list = append(f.list, a)
	}
	return f.err
}

type fakeJobs struct {
	mu       sync.Mutex
	byID     map[string]Job
	requests []JobRequest
	err      error

	looks, atOnce, most int // of GetMany
}

func (f *fakeJobs) put(job Job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.byID[job.ID] = job
}

func (f *fakeJobs) remove(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byID, id)
}

func (f *fakeJobs) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeJobs) List(_ context.Context, filter JobFilter) ([]Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	later := func(a, b JobPosition) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(b.ID, a.ID))
	}
	var out []Job
	for _, job := range f.byID {
		behind := filter.After == nil || later(*filter.After, JobPosition{job.CreatedAt, job.ID}) < 0
		if behind && (filter.States == nil || slices.Contains(filter.States, job.State)) {
			out = append(out, job)
		}
	}
	slices.SortFunc(out, func(a, b Job) int { return later(JobPosition{a.CreatedAt, a.ID}, JobPosition{b.CreatedAt, b.ID}) })
	return out[:min(len(out), filter.Limit)], nil
}

func (f *fakeJobs) GetMany(_ context.Context, ids []string) ([]Job, error) {
	f.mu.Lock()
	f.atOnce++
	f.most = max(f.most, f.atOnce)
	f.mu.Unlock()
	runtime.Gosched() // let another one in
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	f.atOnce--
	if f.err != nil {
		return nil, f.err
	}
	var out []Job
	for _, id := range ids {
		if job, ok := f.byID[id]; ok {
			out = append(out, job)
		}
	}
	return out, nil
}

func (f *fakeJobs) looked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looks
}

func (f *fakeJobs) mostAtOnce() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most
}

func (f *fakeJobs) awaitLooks(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(eventPatience); f.looked() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody looks at the jobs")
		}
	}
}

func (f *fakeJobs) Submit(_ context.Context, req JobRequest) (Job, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return Job{}, false, f.err
	}
	f.requests = append(f.requests, req)
	sum := sha256.Sum256([]byte(req.Payload))
	job := Job{ID: url.PathEscape(string(hexOf(sum[:8]))), Type: req.Type, Hash: hashA, Source: "in.mp4", State: "queued", CreatedAt: time.Unix(1, 0).UTC()}
	_, known := f.byID[job.ID]
	f.byID[job.ID] = job
	return job, !known, nil
}

func (f *fakeJobs) Get(_ context.Context, id string) (Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return Job{}, f.err
	}
	job, ok := f.byID[id]
	if !ok {
		return Job{}, ErrNotFound
	}
	return job, nil
}

func hexOf(b []byte) []byte {
	const digits = "0123456789abcdef"
	var out []byte
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return out
}

// oneKey serves the same key whatever is asked for.
type oneKey keystore.Key

func (k oneKey) Served(context.Context, string, *cenc.KID) (keystore.Key, error) {
	return keystore.Key(k), nil
}
