package main

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"
)

// The whole contract on one title: submission, progress, results, keys, media.
func TestE2EContract(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.serve()
	hash, source := r.upload(clip(t, "1280x720", 14))

	if a := r.submit("video:transcode", hash, source, `{"encrypt":true,"colour":"blue"}`); a.status/100 != 4 || !strings.Contains(string(a.body), "colour") {
		t.Errorf("an unknown option: %d %s", a.status, a.body)
	}
	if a := r.do("POST", "/api/jobs", "{}", "Content-Type: application/json"); a.status != http.StatusUnauthorized {
		t.Errorf("without an API key: %d", a.status)
	}

	// Eight identical submissions at once are one job.
	ids := make(chan string, 8)
	var wg sync.WaitGroup
	for range cap(ids) {
		wg.Go(func() { ids <- r.accepted(r.submit("video:full", hash, source, `{"transcode":{"encrypt":true}}`)) })
	}
	wg.Wait()
	close(ids)
	id := <-ids
	for other := range ids {
		if other != id {
			t.Fatalf("identical submissions gave %s and %s", id, other)
		}
	}

	// Progress moves: several values within the encode, never back.
	seen := map[float64]bool{}
	last := 0.0
	job := r.await(id, "success", func(j fullJob) bool {
		if j.Progress < last {
			t.Errorf("progress went from %.1f back to %.1f", last, j.Progress)
		}
		last = j.Progress
		if j.State == "running" && j.Stage == "encode" {
			seen[j.Progress] = true
		}
		return j.State == "succeeded"
	})
	if len(seen) < 2 || job.Progress != 100 || job.Attempt != 1 || job.Error != nil {
		t.Errorf("%d values of progress in the encode, then %+v", len(seen), job)
	}
	if n := r.count(`SELECT count(*) FROM publications`); n != 1 {
		t.Errorf("%d publications", n)
	}
	checkResults(t, r, job)
	checkKeyRoute(t, r, job)
	checkMedia(t, r, job)
	r.play(job)

	// Repeated: the same job. The other choice of encryption: sealed.
	if again := r.accepted(r.submit("video:full", hash, source, `{"transcode":{"encrypt":true}}`)); again != id {
		t.Errorf("repeated after success: another job")
	}
	if a := r.submit("video:transcode", hash, source, `{"encrypt":false}`); a.status != http.StatusConflict || a.code() != "encryption_sealed" {
		t.Errorf("the other choice of encryption: %d %s", a.status, a.body)
	}

	// Other options make a second generation with keys of its own; the bare key
	// URI still opens the first one.
	bare := r.do("GET", "/api/key/"+hash, "", "Authorization: Bearer "+r.token(hash, time.Minute))
	second := r.succeeded(r.accepted(r.submit("video:transcode", hash, source, `{"encrypt":true,"ladder":["240p"],"outputs":["cmaf"]}`)))
	r.play(second)
	if after := r.do("GET", "/api/key/"+hash, "", "Authorization: Bearer "+r.token(hash, time.Minute)); string(after.body) != string(bare.body) {
		t.Error("a second generation changed the key under the bare URI")
	}
}

func checkResults(t *testing.T, r *rig, job fullJob) {
	t.Helper()
	var res struct {
		Streaming struct {
			Protocol, Container string
			Encrypted           bool
			MasterPlaylist      string `json:"master_playlist"`
			Outputs             []struct {
				Name, Manifest, Scheme string
				MasterPlaylist         string `json:"master_playlist"`
			}
		}
		VideoTracks []map[string]any `json:"video_tracks"`
		AudioTracks []map[string]any `json:"audio_tracks"`
		Encryption  struct {
			Scheme, KID string
			KEKVersion  int    `json:"kek_version"`
			KeyURI      string `json:"key_uri"`
		}
	}
	if err := json.Unmarshal(job.Results, &res); err != nil {
		t.Fatal(err)
	}
	base := r.env["BASE_URL"] + "/stream/" + job.Hash
	s := res.Streaming
	if s.MasterPlaylist != base+"/master.m3u8" || !s.Encrypted || s.Protocol == "" || s.Container == "" || len(s.Outputs) != 2 {
		t.Fatalf("results: %s", job.Results)
	}
	if o := s.Outputs[0]; o.Name != "cmaf" || o.Scheme != "cbcs" || o.MasterPlaylist != base+"/master.m3u8" || o.Manifest != base+"/manifest.mpd" {
		t.Errorf("cmaf: %+v", o)
	}
	if o := s.Outputs[1]; o.Name != "ts" || o.Scheme != "aes-128" || o.MasterPlaylist != base+"/ts/master.m3u8" || o.Manifest != "" {
		t.Errorf("ts: %+v", o)
	}
	if len(res.VideoTracks) != 8 || len(res.AudioTracks) != 2 { // four rungs and one track in two outputs
		t.Errorf("tracks: %s", job.Results)
	}
	if e := res.Encryption; e.Scheme != "cbcs" || len(e.KID) != 32 || e.KEKVersion != 1 || e.KeyURI != r.env["BASE_URL"]+"/api/key/"+job.Hash {
		t.Errorf("encryption: %+v", e)
	}
}

func checkKeyRoute(t *testing.T, r *rig, job fullJob) {
	t.Helper()
	path := "/api/key/" + job.Hash
	good := r.token(job.Hash, time.Minute)
	other := strings.Repeat("0", 64)
	for _, c := range []struct {
		name, path, header string
		status             int
		code               string
	}{
		{"no token", path, "", 401, "token_required"},
		{"an API key", path, "X-API-Key: " + r.env["API_KEY"], 401, "token_required"},
		{"a token in the query", path + "?token=" + good, "", 401, "token_required"},
		{"rubbish", path, "Authorization: Bearer rubbish", 403, "invalid_token"},
		{"another title's", path, "Authorization: Bearer " + r.token(other, time.Minute), 403, "token_mismatch"},
		{"no such title", "/api/key/" + other, "Authorization: Bearer " + r.token(other, time.Minute), 404, "no_key"},
		{"no such key", path + "?kid=" + strings.Repeat("0", 32), "Authorization: Bearer " + good, 404, "no_key"},
		{"good", path, "Authorization: Bearer " + good, 200, ""},
	} {
		a := r.do("GET", c.path, "", c.header)
		if a.status != c.status || a.code() != c.code || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s, Cache-Control %q", c.name, a.status, a.body, a.header.Get("Cache-Control"))
		}
		if c.status == 200 && (len(a.body) != 16 || a.header.Get("Content-Type") != "application/octet-stream") {
			t.Errorf("%s: %d bytes of %s", c.name, len(a.body), a.header.Get("Content-Type"))
		}
	}
}

func checkMedia(t *testing.T, r *rig, job fullJob) {
	t.Helper()
	master := r.do("GET", "/stream/"+job.Hash+"/master.m3u8", "", "Origin: http://127.0.0.1:1234")
	if master.status != 200 || master.header.Get("Content-Type") != "application/vnd.apple.mpegurl" ||
		master.header.Get("Access-Control-Allow-Origin") != "http://127.0.0.1:1234" || strings.Contains(master.header.Get("Cache-Control"), "immutable") {
		t.Fatalf("master playlist: %d %v", master.status, master.header)
	}
	if a := r.do("GET", "/stream/"+job.Hash+"/master.m3u8", "", "If-None-Match: "+master.header.Get("ETag")); a.status != http.StatusNotModified {
		t.Errorf("If-None-Match: %d", a.status)
	}
	var uri string
	for line := range strings.Lines(string(master.body)) {
		if !strings.HasPrefix(line, "#") {
			uri = strings.TrimSpace(line)
		}
	}
	segment := "/stream/" + job.Hash + "/" + strings.TrimSuffix(uri, "index.m3u8") + "1.m4s"
	whole := r.do("GET", segment, "")
	part := r.do("GET", segment, "", "Range: bytes=100-199")
	if whole.status != 200 || !strings.Contains(whole.header.Get("Cache-Control"), "immutable") ||
		part.status != http.StatusPartialContent || string(part.body) != string(whole.body[100:200]) {
		t.Errorf("segment: %d %v, range %d", whole.status, whole.header, part.status)
	}
	if a := r.do("GET", "/stream/"+job.Hash+"/%2e%2e/x", ""); a.status != http.StatusNotFound {
		t.Errorf("encoded dots: %d", a.status)
	}
	r.partsReady(job.ID)
	poster := "/stream/" + job.Hash + "/poster.jpg"
	if a := r.do("GET", poster, ""); a.status != http.StatusUnauthorized {
		t.Errorf("poster without a token: %d", a.status)
	}
	if a := r.do("GET", poster, "", "Authorization: Bearer "+r.token(job.Hash, time.Minute)); a.status != 200 || a.header.Get("Content-Type") != "image/jpeg" {
		t.Errorf("poster: %d %v", a.status, a.header)
	}
}

// An upload service in Go enqueues with plain asynq; payloads that cannot be
// read are archived with a clear error, and a broken source fails for good with
// a code and leaves nothing visible.
func TestE2EQueue(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.serve()
	opt, err := asynq.ParseRedisURI(r.env["REDIS_URL"])
	if err != nil {
		t.Fatal(err)
	}
	client, inspector := asynq.NewClient(opt), asynq.NewInspector(opt)
	defer func() { _ = client.Close() }()
	defer func() { _ = inspector.Close() }()
	enqueue := func(id, payload string, opts ...asynq.Option) {
		t.Helper()
		if _, err := client.Enqueue(asynq.NewTask("video:transcode", []byte(payload)), append(opts, asynq.TaskID(id))...); err != nil {
			t.Fatal(err)
		}
	}
	hash, source := r.upload(clip(t, "320x240", 3))
	enqueue("upload-1", `{"hash":"`+hash+`","source":"`+source+`","options":{"encrypt":false,"outputs":["ts"]}}`)
	enqueue("upload-2", `{"hash":"`+hash+`","source":"`+source+`","options":{},"colour":"blue"}`)
	if _, err := r.source.Put(t.Context(), "uploads/text", []byte("no film\n"), "", ""); err != nil {
		t.Fatal(err)
	}
	enqueue("upload-3", `{"hash":"`+strings.Repeat("ab", 32)+`","source":"uploads/text","options":{"encrypt":true}}`, asynq.Queue("video:large"))

	var bad fullJob
	for bad.State != "failed" {
		if a := r.do("GET", "/api/jobs/upload-3", "", "X-API-Key: "+r.env["API_KEY"]); a.status == 200 {
			if err := json.Unmarshal(a.body, &bad); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	if bad.Error == nil || bad.Error.Code != "source_unreadable" || bad.Error.Message == "" || bad.Attempt != 1 {
		t.Errorf("a text file: %+v", bad)
	}
	if a := r.do("GET", "/stream/"+bad.Hash+"/master.m3u8", ""); a.status != 404 {
		t.Errorf("a failed title is served: %d", a.status)
	}
	job := r.succeeded("upload-1")
	if frames := r.play(job); len(frames) != 2 {
		t.Errorf("played %v", frames)
	}
	if n := r.count(`SELECT count(*) FROM content_keys WHERE hash = $1`, hash); n != 0 {
		t.Errorf("a clear title has %d keys", n)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		archived, err := inspector.ListArchivedTasks("default")
		if err == nil && len(archived) == 1 && archived[0].ID == "upload-2" && strings.Contains(archived[0].LastErr, "colour") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("archived: %+v, %v", archived, err)
		}
	}
}

// relay passes connections on until it is cut.
type relay struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp4", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, in, out)
			r.mu.Unlock()
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()
	t.Cleanup(r.cut)
	return r
}

func (r *relay) cut() {
	_ = r.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
}

// Without Postgres the key route says 503, never 404; readyz says so too.
func TestE2EDatabaseAway(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	cfg, err := pgx.ParseConfig(r.env["DATABASE_URL"])
	if err != nil {
		t.Fatal(err)
	}
	direct := net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
	line := newRelay(t, direct)
	r.env["DATABASE_URL"] = strings.Replace(r.env["DATABASE_URL"], direct, line.Addr().String(), 1)
	r.ready(r.start([]string{"api"}))
	hash := strings.Repeat("cd", 32)
	bearer := "Authorization: Bearer " + r.token(hash, time.Minute)
	if a := r.do("GET", "/api/key/"+hash, "", bearer); a.status != 404 || a.code() != "no_key" {
		t.Fatalf("with Postgres: %d %s", a.status, a.body)
	}
	line.cut()
	a := r.do("GET", "/api/key/"+hash, "", bearer)
	if a.status != 503 || a.code() != "unavailable" || a.header.Get("Retry-After") == "" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("without Postgres: %d %s %v", a.status, a.body, a.header)
	}
	if a := r.do("GET", "/readyz", ""); a.status != 503 {
		t.Errorf("readyz: %d", a.status)
	}
	if a := r.do("GET", "/healthz", ""); a.status != 200 {
		t.Errorf("healthz: %d", a.status)
	}
}

// The redacted configuration is all that a start prints of a secret.
func TestE2EStartPrintsNoSecret(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.serve()
	limits, err := os.ReadFile("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/limits")
	if err != nil || !regexp.MustCompile(`Max core file size\s+0\s+0`).Match(limits) {
		t.Errorf("core dumps are not forbidden: %v\n%s", err, limits)
	}
	check := r.start([]string{"check-config"})
	<-check.done
	p.stop(t)
	for _, name := range []string{"DATABASE_URL", "REDIS_URL"} {
		u, err := url.Parse(r.env[name])
		if err != nil {
			t.Fatal(err)
		}
		password, _ := u.User.Password()
		if password == "" || strings.Contains(p.out.String()+check.out.String(), password) {
			t.Errorf("the password of %s (%d characters) is printed", name, len(password))
		}
	}
	for name, value := range r.env {
		if strings.Contains(name, "SECRET") || strings.Contains(name, "KEK_1") || name == "API_KEY" || name == "S3_ACCESS_KEY" {
			if strings.Contains(p.out.String()+check.out.String(), value) {
				t.Errorf("%s is printed", name)
			}
		}
	}
	if p.cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("serve ended with %v", p.cmd.ProcessState)
	}
}
