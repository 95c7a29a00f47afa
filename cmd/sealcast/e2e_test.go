package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealcast/sealcast/internal/localstack"
	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/internal/sandbox"
)

// TestMain lets the test binary act as the program: scripts and end-to-end
// tests run it under the name sealcast, which is in their PATH. The private
// servers start with the first test that needs them.
func TestMain(m *testing.M) {
	sandbox.MaybeChild()
	testscript.Main(withServers{m}, map[string]func(){"sealcast": main, "barehandler": bareHandler})
}

type withServers struct{ m *testing.M }

func (w withServers) Run() int { return localstacktest.Run(w.m) }

// rig is an installation of its own: database, queue and buckets, and the
// environment that leads the program to them.
type rig struct {
	t       testing.TB
	env     environment
	db      *pgxpool.Pool
	source  *objstore.Bucket
	media   *objstore.Bucket
	scratch string
}

func newRig(t testing.TB) *rig {
	t.Helper()
	stack := localstacktest.Stack(t)
	source, media := localstacktest.Buckets(t)
	dsn := localstacktest.DSN(t)
	client, err := objstore.New(objstore.Config{
		Endpoint: stack.S3Endpoint, AccessKey: stack.S3AccessKey, SecretKey: stack.S3SecretKey, Region: stack.S3Region,
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, db: localstacktest.Connect(t, dsn), scratch: t.TempDir(),
		source: client.Bucket(source), media: client.Bucket(media),
	}
	api, metrics := freeAddr(t), freeAddr(t)
	r.env = environment{
		"BASE_URL": "http://" + api, "LISTEN_ADDR": api, "METRICS_ADDR": metrics,
		"DATABASE_URL": dsn, "REDIS_URL": localstacktest.RedisURL(t),
		"S3_ENDPOINT": stack.S3Endpoint, "S3_ACCESS_KEY": stack.S3AccessKey, "S3_SECRET_KEY": stack.S3SecretKey, "S3_REGION": stack.S3Region,
		"SOURCE_BUCKET": source, "MEDIA_BUCKET": media,
		"API_KEY": randomHex(24), "KEY_TOKEN_SECRET": randomHex(32), "KEK_1": randomHex(32), "KEK_PRIMARY": "1",
		"CORS_ORIGINS": "http://127.0.0.1:*", "SCRATCH_DIR": r.scratch, "DRAIN_TIMEOUT": "1s", "LOG_LEVEL": "debug",
	}
	return r
}

func freeAddr(t testing.TB) string {
	t.Helper()
	port, err := localstack.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return loopback(port)
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}

// process is a running sealcast.
type process struct {
	cmd  *exec.Cmd
	out  *syncBuffer
	done chan struct{}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// start runs the program, through the given tools if any, until the test ends.
func (r *rig) start(args []string, through ...string) *process {
	r.t.Helper()
	argv := append(append(through, "sealcast"), args...)
	p := &process{cmd: exec.Command(argv[0], argv[1:]...), out: &syncBuffer{}, done: make(chan struct{})}
	p.cmd.Env = r.environ()
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.done) }()
	r.t.Cleanup(func() {
		p.stop(r.t)
		if r.t.Failed() {
			log := p.out.String()
			r.t.Logf("sealcast %s said, at the end:\n%s", strings.Join(args, " "), log[max(0, len(log)-12000):])
		}
	})
	return p
}

func (r *rig) environ() []string {
	env := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + r.scratch, "TMPDIR=" + r.scratch}
	for name, value := range r.env {
		env = append(env, name+"="+value)
	}
	return env
}

// stop ends it in good order, within reason.
func (p *process) stop(t testing.TB) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
		t.Error("sealcast did not end within 30 s of SIGTERM")
	}
}

// serve starts API and worker in one process and waits until they are ready.
func (r *rig) serve(through ...string) *process {
	r.t.Helper()
	p := r.start([]string{"serve"}, through...)
	r.ready(p)
	return p
}

func (r *rig) ready(p *process) {
	r.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if resp, err := http.Get(r.env["BASE_URL"] + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-p.done:
			r.t.Fatalf("sealcast ended:\n%s", p.out.String())
		default:
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("not ready:\n%s", p.out.String())
		}
	}
}

// upload puts a file into the source bucket and returns its hash and key.
func (r *rig) upload(file string) (hash, key string) {
	r.t.Helper()
	body, err := os.ReadFile(file)
	if err != nil {
		r.t.Fatal(err)
	}
	sum := sha256.Sum256(body)
	hash = hex.EncodeToString(sum[:])
	key = "uploads/" + hash + "/" + filepath.Base(file)
	if _, err := r.source.Put(r.t.Context(), key, body, "video/mp4", ""); err != nil {
		r.t.Fatal(err)
	}
	return hash, key
}

// answer is an HTTP answer, read.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) code() string {
	var p struct {
		Code string `json:"code"`
	}
	_ = json.Unmarshal(a.body, &p)
	return p.Code
}

// do makes a request; headers are "Name: value".
func (r *rig) do(method, path, body string, headers ...string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url(path), strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range headers {
		if name, value, ok := strings.Cut(h, ": "); ok {
			req.Header.Add(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, b}
}

func (r *rig) url(path string) string {
	if strings.HasPrefix(path, "http") {
		return path
	}
	return r.env["BASE_URL"] + path
}

// submit posts a job and returns the answer.
func (r *rig) submit(kind, hash, source, options string) answer {
	r.t.Helper()
	body := fmt.Sprintf(`{"type":%q,"hash":%q,"source":%q,"options":%s}`, kind, hash, source, options)
	return r.do("POST", "/api/jobs", body, "Content-Type: application/json", "X-API-Key: "+r.env["API_KEY"])
}

// accepted wants a 202 and returns the job's id.
func (r *rig) accepted(a answer) string {
	r.t.Helper()
	var job struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal(a.body, &job); err != nil || a.status != http.StatusAccepted || job.ID == "" ||
		!strings.HasSuffix(a.header.Get("Location"), "/api/jobs/"+job.ID) {
		r.t.Fatalf("submission: %d %s, Location %q", a.status, a.body, a.header.Get("Location"))
	}
	return job.ID
}

// fullJob is what GET /api/jobs/{id} says.
type fullJob struct {
	ID, Type, Hash, Source, State, Stage string
	Progress                             float64
	Attempt                              int
	Error                                *struct{ Code, Message, Stage string }
	Results                              json.RawMessage
	Parts                                []partState
}

// partState is a part as its parent's document shows it.
type partState struct {
	Kind, Name, State string
	JobID             string `json:"job_id"`
	Error             *struct{ Code, Message string }
	Results           json.RawMessage
}

// partsReady waits until every part that a job asked for is ready.
func (r *rig) partsReady(id string) fullJob {
	r.t.Helper()
	return r.await(id, "its parts are ready", func(j fullJob) bool {
		for _, p := range j.Parts {
			if p.State == "failed" || p.State == "cancelled" {
				r.t.Fatalf("part %+v of %s", p, id)
			}
			if p.State != "ready" {
				return false
			}
		}
		return len(j.Parts) > 0
	})
}

func (r *rig) job(id string) fullJob {
	r.t.Helper()
	a := r.do("GET", "/api/jobs/"+id, "", "X-API-Key: "+r.env["API_KEY"])
	var j fullJob
	if err := json.Unmarshal(a.body, &j); err != nil || a.status != http.StatusOK {
		r.t.Fatalf("job %s: %d %s", id, a.status, a.body)
	}
	return j
}

// await polls a job until the condition holds.
func (r *rig) await(id, what string, ok func(fullJob) bool) fullJob {
	r.t.Helper()
	for deadline := time.Now().Add(4 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		j := r.job(id)
		if ok(j) {
			return j
		}
		if time.Now().After(deadline) || j.State == "failed" {
			r.t.Fatalf("job %s: waiting for %s, it is %+v", id, what, j)
		}
	}
}

func (r *rig) succeeded(id string) fullJob {
	r.t.Helper()
	return r.await(id, "success", func(j fullJob) bool { return j.State == "succeeded" })
}

func (r *rig) count(query string, args ...any) int {
	r.t.Helper()
	var n int
	if err := r.db.QueryRow(r.t.Context(), query, args...).Scan(&n); err != nil {
		r.t.Fatal(err)
	}
	return n
}

func (r *rig) token(hash string, ttl time.Duration) string {
	r.t.Helper()
	tok, err := mintToken(tokenSecret{secret{r.env["KEY_TOKEN_SECRET"]}}, hash, ttl)
	if err != nil {
		r.t.Fatal(err)
	}
	return tok
}

// play plays every rendition of every output from the public URLs alone: keys
// by Bearer token, decrypted and decoded. It returns the frames of each.
func (r *rig) play(j fullJob) map[string]int64 {
	r.t.Helper()
	var res resultsView
	if err := json.Unmarshal(j.Results, &res); err != nil {
		r.t.Fatal(err)
	}
	v := newViewer(r.token(j.Hash, time.Minute))
	frames := map[string]int64{}
	for _, out := range res.Streaming.Outputs {
		_, renditions, err := v.renditions(r.t.Context(), out.MasterPlaylist)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, rend := range renditions {
			mp, err := v.media(r.t.Context(), rend.url)
			if err != nil {
				r.t.Fatal(err)
			}
			format := "mpegts"
			if mp.Map != nil {
				format = "mp4"
			}
			got, err := decode(r.t.Context(), format, func(w io.Writer) error { return v.stream(r.t.Context(), rend.url, mp, w) })
			if err != nil {
				r.t.Errorf("%s %s: %v", out.Name, rend.name, err)
			}
			if want, known := res.frames(out.Name, rend.name); known && got.frames != want {
				r.t.Errorf("%s %s: %d frames, want %d", out.Name, rend.name, got.frames, want)
			}
			frames[out.Name+" "+rend.name] = got.frames
		}
	}
	return frames
}

var (
	clipMu sync.Mutex
	clips  = map[string][]byte{}
)

// clip generates a film with sound; every second looks different, and every
// call gives another hash.
func clip(t *testing.T, size string, seconds int) string {
	t.Helper()
	clipMu.Lock()
	defer clipMu.Unlock()
	file := filepath.Join(t.TempDir(), "film.mp4")
	name := fmt.Sprintf("%s-%d", size, seconds)
	if clips[name] == nil {
		out, err := exec.CommandContext(context.Background(), "ffmpeg", "-v", "error", "-nostdin",
			"-f", "lavfi", "-i", fmt.Sprintf("color=s=%s:r=25:d=%d,format=yuv420p,geq=lum='16+mod(X/3+T*40\\,220)':cb=128:cr=128", size, seconds),
			"-f", "lavfi", "-i", fmt.Sprintf("sine=440:d=%d", seconds),
			"-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-y", file).CombinedOutput()
		if err != nil {
			t.Fatalf("ffmpeg: %v\n%s", err, out)
		}
		if clips[name], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	// A `free` box at the end (ISO/IEC 14496-12, 8.1.2) makes it another file.
	own := append(bytes.Clone(clips[name]), 0, 0, 0, 24, 'f', 'r', 'e', 'e')
	own = append(own, []byte(randomHex(8))...)
	if err := os.WriteFile(file, own, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}
