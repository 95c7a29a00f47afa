package main

import (
	"encoding/json"
	"io"
	"net"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// post asks for something about a job.
func (r *rig) post(id, action string) (answer, fullJob) {
	r.t.Helper()
	a := r.do("POST", "/api/jobs/"+id+"/"+action, "", "X-API-Key: "+r.env["API_KEY"])
	var j fullJob
	_ = json.Unmarshal(a.body, &j)
	return a, j
}

// encoding is a job in the middle of its encode, with segments in the store,
// and the worker's children.
func (r *rig) encoding(p *process) (id string, family []int) {
	r.t.Helper()
	hash, source := r.upload(clip(r.t.(*testing.T), "1280x720", 40))
	id = r.accepted(r.submit("video:transcode", hash, source, `{"outputs":["ts"],"ladder":["720p","360p"],"passthrough":"off"}`))
	r.await(id, "the encode", func(j fullJob) bool {
		objects, err := r.media.List(r.t.Context(), "stream/"+hash+"/")
		return err == nil && j.Stage == "encode" && len(objects) > 0
	})
	if family = children(r.t, p.cmd.Process.Pid); len(family) < 2 {
		r.t.Fatalf("%d children in the encode", len(family))
	}
	return id, family
}

// gone waits until none of the processes is left and returns how long it took.
func (r *rig) gone(family []int) time.Duration {
	r.t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		running := processes(r.t)
		left := 0
		for _, pid := range family {
			if running[pid] != nil {
				left++
			}
		}
		if left == 0 {
			return time.Since(began)
		}
		if time.Since(began) > 30*time.Second {
			r.t.Fatalf("%d children live on", left)
		}
	}
}

// Cancelled in the middle: the children die, nothing is published; tried
// again, it is.
func TestE2ECancelAndRetry(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	id, family := r.encoding(r.serve())
	a, job := r.post(id, "cancel")
	if a.status != 202 || job.State != "cancelled" {
		t.Fatalf("cancel: %d %s", a.status, a.body)
	}
	t.Logf("children were dead %s after the answer", r.gone(family))
	if again, same := r.post(id, "cancel"); again.status != 200 || same.State != "cancelled" {
		t.Errorf("cancel again: %d %s", again.status, again.body)
	}
	if n := r.count(`SELECT count(*) FROM publications`); n != 0 {
		t.Errorf("%d publications", n)
	}
	if a, job := r.post(id, "retry"); a.status != 202 || job.State != "queued" || job.ID != id {
		t.Fatalf("retry: %d %s", a.status, a.body)
	}
	job = r.succeeded(id)
	if job.Attempt != 2 {
		t.Errorf("attempt %d", job.Attempt)
	}
	r.play(job)
	for action, code := range map[string]string{"cancel": "job_finished", "retry": "job_not_retryable"} {
		if a, _ := r.post(id, action); a.status != 409 || a.code() != code {
			t.Errorf("%s a succeeded job: %d %s", action, a.status, a.body)
		}
	}
	// What the cancelled attempt left is garbage after a while.
	r.exec(`UPDATE jobs SET finished_at = finished_at - interval '1 day'`)
	r.gc(id, job.Hash)
}

func (r *rig) exec(sql string) {
	r.t.Helper()
	if _, err := r.db.Exec(r.t.Context(), sql); err != nil {
		r.t.Fatal(err)
	}
}

// gc removes the first attempt of a job whose second was published.
func (r *rig) gc(id, hash string) {
	r.t.Helper()
	objects := func() (n int) {
		all, err := r.media.List(r.t.Context(), "stream/"+hash+"/")
		if err != nil {
			r.t.Fatal(err)
		}
		return len(all)
	}
	run := func(args ...string) string {
		cmd := exec.Command("sealcast", append([]string{"gc"}, args...)...)
		cmd.Env = r.environ()
		out, err := cmd.CombinedOutput()
		if err != nil {
			r.t.Fatalf("gc: %v\n%s", err, out)
		}
		return string(out)
	}
	published := r.count(`SELECT count(*) FROM publication_objects`)
	before := objects()
	if said := run("--dry-run"); !strings.Contains(said, "dead attempt") || !strings.Contains(said, "would remove") || objects() != before {
		r.t.Errorf("gc --dry-run said %s", said)
	}
	if said := run(); !strings.Contains(said, "dead attempt") || !strings.Contains(said, "\nremoved ") || objects() != published || before <= published {
		r.t.Errorf("%d objects of %d are left, %d are published; gc said %s", objects(), before, published, said)
	}
	if n := r.count(`SELECT count(*) FROM content_keys WHERE job_id = $1 AND attempt = 1 AND state <> 'shredded'`, id); n != 0 {
		r.t.Errorf("%d keys of the dead attempt", n)
	}
	r.play(r.job(id))
}

// SIGTERM lets a job end that ends within DRAIN_TIMEOUT.
func TestE2EDrainLetsTheJobEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.env["DRAIN_TIMEOUT"] = "10m"
	p := r.serve()
	id, _ := r.encoding(p)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(4 * time.Minute):
		t.Fatal("it does not end")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if n := r.count(`SELECT count(*) FROM jobs WHERE id = $1 AND state = 'succeeded' AND attempt = 1`, id); n != 1 {
		t.Error("the job did not end in its first attempt")
	}
}

// A second SIGTERM kills at once, children and all. The job starts again when
// its lease is over.
func TestE2ESecondSignalKills(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.env["DRAIN_TIMEOUT"] = "10m"
	p := r.serve()
	id, family := r.encoding(p)
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	for !strings.Contains(p.out.String(), "draining") {
		select {
		case <-p.done:
			t.Fatal("it ended with the first signal")
		case <-time.After(20 * time.Millisecond):
		}
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.done
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGTERM {
		t.Errorf("it ended as %s", p.cmd.ProcessState)
	}
	r.gone(family)
	r.serve()
	if job := r.succeeded(id); job.Attempt != 2 {
		t.Errorf("attempt %d", job.Attempt)
	}
}

// A drain while Redis is away: the job is released, and another worker, which
// waits already, has it before its lease could end; never both.
func TestE2EDrainWithoutRedis(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	direct := r.env["REDIS_URL"]
	cut := r.cuttableRedis()
	first := r.serve()
	id, family := r.encoding(first)
	r.env["REDIS_URL"], r.env["LISTEN_ADDR"], r.env["METRICS_ADDR"] = direct, freeAddr(t), freeAddr(t)
	r.env["BASE_URL"] = "http://" + r.env["LISTEN_ADDR"]
	second := r.serve()
	cut()
	first.stop(t)
	if code := first.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	r.gone(family)
	job := r.succeeded(id)
	if job.Attempt != 2 || strings.Contains(second.out.String(), "lease expired") {
		t.Errorf("attempt %d", job.Attempt)
	}
	if n := r.count(`SELECT count(*) FROM jobs WHERE failures > 0`); n != 0 {
		t.Error("the shutdown counts as a failure")
	}
	r.play(job)
}

// cuttableRedis puts a wire before Redis that cut breaks for good.
func (r *rig) cuttableRedis() (cut func()) {
	r.t.Helper()
	u, err := url.Parse(r.env["REDIS_URL"])
	if err != nil {
		r.t.Fatal(err)
	}
	server := u.Host
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	var mu sync.Mutex
	var conns []net.Conn
	go func() {
		for {
			near, err := ln.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", server)
			if err != nil {
				_ = near.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, near, far)
			mu.Unlock()
			go func() { _, _ = io.Copy(far, near); _ = far.Close() }()
			go func() { _, _ = io.Copy(near, far); _ = near.Close() }()
		}
	}()
	cut = sync.OnceFunc(func() {
		_ = ln.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range conns {
			_ = c.Close()
		}
	})
	r.t.Cleanup(cut)
	u.Host = ln.Addr().String()
	r.env["REDIS_URL"] = u.String()
	return cut
}
