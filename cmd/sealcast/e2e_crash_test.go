package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// processes returns the command lines of all processes by id.
func processes(t testing.TB) map[int][]string {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	out := map[int][]string{}
	for _, dir := range dirs {
		line, err := os.ReadFile(dir + "/cmdline")
		if pid, perr := strconv.Atoi(filepath.Base(dir)); err == nil && perr == nil && len(line) > 0 {
			out[pid] = strings.Split(strings.TrimSuffix(string(line), "\x00"), "\x00")
		}
	}
	return out
}

// children returns the descendants of a process.
func children(t testing.TB, pid int) []int {
	t.Helper()
	parent := map[int]int{}
	for p := range processes(t) {
		stat, err := os.ReadFile("/proc/" + strconv.Itoa(p) + "/stat")
		if err != nil {
			continue
		}
		after := string(stat[strings.LastIndexByte(string(stat), ')')+1:])
		if f := strings.Fields(after); len(f) > 1 {
			parent[p], _ = strconv.Atoi(f[1])
		}
	}
	var out []int
	for p := range parent {
		for q := parent[p]; q > 1; q = parent[q] {
			if q == pid {
				out = append(out, p)
				break
			}
		}
	}
	return out
}

// A worker killed with SIGKILL in the middle leaves no child behind, and a job
// that finishes after a restart: playable, published once.
func TestE2EKilledWorker(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.serve()
	hash, source := r.upload(clip(t, "1280x720", 40))
	id := r.accepted(r.submit("video:transcode", hash, source, `{"encrypt":true}`))
	r.await(id, "the middle of the encode", func(j fullJob) bool { return j.Stage == "encode" && j.Progress > 20 })
	family := children(t, first.cmd.Process.Pid)
	if len(family) < 3 { // ffmpeg and two packagers
		t.Errorf("%d children in the middle of the encode", len(family))
	}
	if err := first.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.done
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		left := 0
		running := processes(t)
		for _, pid := range family {
			if running[pid] != nil {
				left++
			}
		}
		if left == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d children outlive their worker", left)
		}
	}
	if n := r.count(`SELECT count(*) FROM publications`); n != 0 {
		t.Fatalf("%d publications by a killed worker", n)
	}

	r.serve()
	job := r.succeeded(id)
	if job.Attempt != 2 {
		t.Errorf("attempt %d", job.Attempt)
	}
	if n := r.count(`SELECT count(*) FROM publications`); n != 1 {
		t.Errorf("%d publications", n)
	}
	if n := r.count(`SELECT count(*) FROM content_keys WHERE state = 'active' AND attempt = 2`); n != 2 {
		t.Errorf("%d active keys of the second attempt", n)
	}
	if n := r.count(`SELECT count(*) FROM content_keys WHERE state = 'active' AND attempt = 1`); n != 0 {
		t.Errorf("%d active keys of the killed attempt", n)
	}
	r.play(job)
	scratchEmpty(t, r)
}

// scratchEmpty wants nothing left in the folder for temporary files.
func scratchEmpty(t *testing.T, r *rig) {
	t.Helper()
	left, err := os.ReadDir(r.scratch)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range left {
		t.Errorf("%s is left in the scratch folder", f.Name())
	}
}

// SIGTERM releases the job at once; another worker goes on with it.
func TestE2EShutdownReleasesTheJob(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	first := r.serve()
	hash, source := r.upload(clip(t, "1280x720", 40))
	id := r.accepted(r.submit("video:transcode", hash, source, `{"encrypt":true,"outputs":["ts"],"ladder":["360p"]}`))
	r.await(id, "the encode", func(j fullJob) bool { return j.Stage == "encode" && j.Progress > 5 })
	first.stop(t)
	if code := first.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status %d after SIGTERM", code)
	}
	if n := r.count(`SELECT count(*) FROM jobs WHERE state = 'queued' AND lease_until IS NULL`); n != 1 {
		t.Errorf("the job was not released")
	}
	r.serve()
	r.play(r.succeeded(id))
}
