package pipeline_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/internal/sandbox"
	"github.com/sealcast/sealcast/pipeline"
)

func TestMain(m *testing.M) {
	sandbox.MaybeChild()
	if filepath.Base(os.Args[0]) == "ffmpeg" {
		os.Exit(hostile(os.Args[1:]))
	}
	os.Exit(localstacktest.Run(m))
}

const baseURL = "https://media.example"

// lab is a runner over buckets of its own in a real MinIO.
type lab struct {
	t             *testing.T
	runner        *pipeline.Runner
	source, media *objstore.Bucket
	log           bytes.Buffer
}

func newLab(t *testing.T, change ...func(*pipeline.Config)) *lab {
	t.Helper()
	stack := localstacktest.Stack(t)
	client, err := objstore.New(objstore.Config{
		Endpoint: stack.S3Endpoint, AccessKey: stack.S3AccessKey, SecretKey: stack.S3SecretKey, Region: stack.S3Region,
	})
	if err != nil {
		t.Fatal(err)
	}
	source, media := localstacktest.Buckets(t)
	l := &lab{t: t, source: client.Bucket(source), media: client.Bucket(media)}
	cfg := pipeline.Config{
		Sources: l.source, Media: l.media,
		Log: slog.New(slog.NewTextHandler(&l.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, f := range change {
		f(&cfg)
	}
	if l.runner, err = pipeline.New(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of the runner:\n%s", l.log.String())
		}
	})
	return l
}

// ffmpeg makes a source; the arguments lack the output's name.
func makeSource(t *testing.T, name string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	args = append(append([]string{"-nostdin", "-v", "error", "-y"}, args...), file)
	if out, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return file
}

// request puts a file into the source bucket and asks for it with fresh keys.
func (l *lab) request(file string, change ...func(*pipeline.Options)) pipeline.Request {
	l.t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		l.t.Fatal(err)
	}
	return l.requestOf("uploads/"+filepath.Base(file), body, change...)
}

// requestOf puts a body under a key and asks for it with fresh keys.
func (l *lab) requestOf(key string, body []byte, change ...func(*pipeline.Options)) pipeline.Request {
	l.t.Helper()
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if _, err := l.source.Put(l.t.Context(), key, body, "application/octet-stream", ""); err != nil {
		l.t.Fatal(err)
	}
	req := pipeline.Request{Hash: hash, Prefix: "0123456789abcdef-1", SourceKey: key, Options: pipeline.DefaultOptions()}
	for _, f := range change {
		f(&req.Options)
	}
	if req.Options.Encrypt {
		req.Keys = map[string]pipeline.Key{}
		keys := newTestKeys(hash)
		req.PeriodKey, req.StoredKey = keys.period, keys.stored
		for i, output := range req.Options.Outputs {
			if output != pipeline.OutputCMAF && req.Options.KeyPeriodSeconds > 0 {
				continue
			}
			kid := cenc.NewKID()
			k := pipeline.Key{KID: kid, Content: cenc.NewContentKey(), URI: baseURL + "/api/key/" + hash}
			if i > 0 {
				k.URI += "?kid=" + kid.String()
			}
			req.Keys[output], keys.byKID[kid] = k, k
		}
		req.LicenceURI = baseURL + "/api/license/clearkey/" + hash
	}
	return req
}

// testKeys issues keys of periods and knows every key of a request.
type testKeys struct {
	mu    sync.Mutex
	hash  string
	byKID map[cenc.KID]pipeline.Key
	names map[string]cenc.KID // by output and period
}

func newTestKeys(hash string) *testKeys {
	return &testKeys{hash: hash, byKID: map[cenc.KID]pipeline.Key{}, names: map[string]cenc.KID{}}
}

func (k *testKeys) period(_ context.Context, output string, period int) (pipeline.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	name := fmt.Sprintf("%s %d", output, period)
	if kid, ok := k.names[name]; ok {
		return k.byKID[kid], nil
	}
	kid := cenc.NewKID()
	k.names[name] = kid
	k.byKID[kid] = pipeline.Key{KID: kid, Content: cenc.NewContentKey(), URI: baseURL + "/api/key/" + k.hash + "?kid=" + kid.String()}
	return k.byKID[kid], nil
}

func (k *testKeys) stored(_ context.Context, kid cenc.KID) (cenc.ContentKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.byKID[kid].Content, nil
}

func (l *lab) run(req pipeline.Request) *pipeline.Presentation {
	l.t.Helper()
	p, err := l.runner.Run(l.t.Context(), req)
	if err != nil {
		l.t.Fatalf("run: %v", err)
	}
	return p
}

// object reads one object of a presentation.
func (l *lab) object(req pipeline.Request, name string) []byte {
	l.t.Helper()
	r, err := l.media.Get(l.t.Context(), pipeline.KeyPrefix(req.Hash, req.Prefix)+name, "", 0, -1)
	if err != nil {
		l.t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	b, err := io.ReadAll(r)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}
