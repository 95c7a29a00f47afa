package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealcast/sealcast/internal/access"
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
		Gate:        fakeGate{&token.Verifier{Secret: tokens, Memo: token.NewMemo(1000)}}, Admin: noAdmin{}, Environment: "production", Keys: r.keys, Audit: r.audit, Jobs: r.jobs, Webhooks: &fakeWebhooks{}, Assets: r.assets, Tracks: r.tracks, Publications: r.pubs, Objects: r.store,
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
	verified, err := f.verifier.Inspect(req.Token, time.Now(), nil)
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
