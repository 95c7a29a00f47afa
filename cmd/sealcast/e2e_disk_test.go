package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// opened matches strace's line of a call that opened or made a file.
var opened = regexp.MustCompile(`(openat2?|open|creat|mkdir(?:at)?|mknod(?:at)?|rename(?:at2?)?|link(?:at)?|truncate)\((.*)\)\s+= (-?\d+)`)

// writes returns the files that a trace shows as opened for writing or made.
func writes(trace string) []string {
	var out []string
	for line := range strings.Lines(trace) {
		m := opened.FindStringSubmatch(line)
		if m == nil || strings.HasPrefix(m[3], "-") {
			continue
		}
		if strings.HasPrefix(m[1], "open") && !strings.Contains(m[2], "O_WRONLY") && !strings.Contains(m[2], "O_RDWR") && !strings.Contains(m[2], "O_CREAT") {
			continue
		}
		path := m[2]
		if q := strings.SplitN(m[2], `"`, 3); len(q) == 3 {
			path = q[1]
		}
		if !harmless(path) {
			out = append(out, m[1]+" "+path)
		}
	}
	return out
}

// harmless are devices and kernel files that hold no media.
func harmless(path string) bool {
	return path == "/dev/null" || path == "/dev/tty" || strings.HasPrefix(path, "/proc/") || strings.HasPrefix(path, "/sys/")
}

// Nothing that the worker or any of its children writes goes to a file: every
// call that could open or make one is traced, for an encrypted job of both
// outputs with its poster. So the peak of media bytes on disk is 0.
func TestE2ENoMediaOnDisk(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	log := filepath.Join(t.TempDir(), "trace")
	// -D: strace is the child, so that sealcast itself gets our signals.
	// -ff: a file per thread, so that no call is split by another's.
	server := r.serve("strace", "-D", "-ff", "--seccomp-bpf", "-qq", "-s", "256", "-o", log,
		"-e", "trace=open,openat,openat2,creat,mkdir,mkdirat,mknod,mknodat,rename,renameat,renameat2,link,linkat,truncate,execve")
	hash, source := r.upload(clip(t, "640x360", 14))
	job := r.succeeded(r.accepted(r.submit("video:full", hash, source, `{"transcode":{"encrypt":true}}`)))
	r.play(job)
	r.partsReady(job.ID)
	server.stop(t)
	trace := readTraces(t, log)
	for _, tool := range []string{"ffmpeg", "ffprobe", "packager"} {
		if !regexp.MustCompile(`execve\("[^"]*` + tool + `"`).MatchString(trace) {
			t.Errorf("the trace does not show %s", tool)
		}
	}
	for _, w := range writes(trace) {
		t.Errorf("written: %s", w)
	}
	scratchEmpty(t, r)
	// The trace does show what is written, by each of the calls.
	made := filepath.Join(t.TempDir(), "made")
	control := filepath.Join(t.TempDir(), "control")
	script := "mkdir " + made + " && echo x > " + made + "/a && mv " + made + "/a " + made + "/b && ln " + made + "/b " + made + "/c && mkfifo " + made + "/d"
	if out, err := exec.Command("strace", "-ff", "-qq", "-o", control, "sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("strace: %v\n%s", err, out)
	}
	seen := strings.Join(writes(readTraces(t, control)), "\n")
	for _, want := range []string{"mkdir", made + "/a", "rename", "link", "mknod"} {
		if !strings.Contains(seen, want) {
			t.Errorf("%s is not seen in:\n%s", want, seen)
		}
	}
}

// readTraces joins what strace -ff wrote, one file for each thread.
func readTraces(t *testing.T, prefix string) string {
	t.Helper()
	files, err := filepath.Glob(prefix + ".*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no traces: %v", err)
	}
	var all strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all.Write(text)
	}
	return all.String()
}
