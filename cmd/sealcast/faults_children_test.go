//go:build faults

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// child finds a running child of a worker by what its command line has.
func (f *faultRig) child(p *process, words ...string) (pid int) {
	f.t.Helper()
	f.until("the worker has a child "+strings.Join(words, " "), func() bool {
		all := processes(f.t)
		for _, one := range children(f.t, p.cmd.Process.Pid) {
			line := all[one]
			if len(line) > 0 && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(strings.Join(line, " "), w) }) {
				pid = one
				return true
			}
		}
		return false
	})
	return pid
}

// A child that is killed, or stopped for ever, costs an attempt and nothing else.
func TestFaultsChildSignalled(t *testing.T) {
	for _, c := range []struct {
		name   string
		words  []string
		signal syscall.Signal
	}{
		{"ffmpeg killed", []string{"ffmpeg", "-filter_complex"}, syscall.SIGKILL},
		{"packager killed", []string{"packager", "--segment_duration"}, syscall.SIGKILL},
		{"ffmpeg stopped", []string{"ffmpeg", "-filter_complex"}, syscall.SIGSTOP}, // until the watchdog bites, 2 min
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFaultRig(t)
			f.serveAPI()
			worker := f.worker(nil)
			held := f.store.catch(t, true, 0, putOf(".m4s", ".ts"))
			id := f.film(t, "640x360", 40)
			f.reached(held, "the encode")
			if err := syscall.Kill(f.child(worker, c.words...), c.signal); err != nil {
				t.Fatal(err)
			}
			held.free()
			f.succeeds(t, id, 2)
			f.invariants(t)
		})
	}
}

// badTool puts a script before a tool in PATH that does bad things in the
// first encode and is the tool itself otherwise. $real is the tool, $once
// makes one file per test. An empty once makes every encode bad.
func (f *faultRig) badTool(tool, script string, once bool) environment {
	f.t.Helper()
	real, err := exec.LookPath(tool)
	if err != nil {
		f.t.Fatal(err)
	}
	dir := f.t.TempDir()
	guard := ""
	if once {
		guard = fmt.Sprintf("if [ -e %[1]s/bad ]; then exec \"$real\" \"$@\"; fi\n: >%[1]s/bad\n", dir)
	}
	text := fmt.Sprintf("#!/bin/bash\nreal=%s\ncase \"$*\" in *-filter_complex*libx264*) ;; *) exec \"$real\" \"$@\" ;; esac\n%s%s\n", real, guard, script)
	if err := os.WriteFile(filepath.Join(dir, tool), []byte(text), 0o755); err != nil {
		f.t.Fatal(err)
	}
	// A script starts processes, which the sandbox forbids.
	return environment{"PATH": dir + ":" + os.Getenv("PATH"), "SANDBOX": "off"}
}

// An ffmpeg that misbehaves once costs an attempt at most; what it made is not
// published.
func TestFaultsBadEncoder(t *testing.T) {
	for _, c := range []struct {
		name, script string
		state        string
		attempt      int
	}{
		{"floods stderr", `head -c 200000000 /dev/zero | tr '\0' 'x' >&2; exec "$real" "$@"`, "succeeded", 1},
		{"exits 0 with no output", `exit 0`, "succeeded", 2},
		{"exits 0 with half the output", `args=(); for a in "$@"; do if [ "$a" = -i ]; then args+=(-t 4); fi; args+=("$a"); done; exec "$real" "${args[@]}"`, "failed", 1},
		{"has no memory", `ulimit -v 90000; exec "$real" "$@"`, "succeeded", 2},
		{"is ended for want of memory", `kill -9 $$`, "succeeded", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFaultRig(t)
			f.serveAPI()
			worker := f.worker(f.badTool("ffmpeg", c.script, true))
			id := f.film(t, "320x240", 8)
			if j := f.ends(id, c.state); j.Attempt != c.attempt {
				t.Errorf("it took %d attempts", j.Attempt)
			}
			if n := len(worker.out.String()); n > 1<<20 {
				t.Errorf("the log has %d bytes", n)
			}
			f.invariants(t)
		})
	}
}

// An ffmpeg that makes nothing for ever: attempts are bounded, nothing is
// published.
func TestFaultsAttemptsAreBounded(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	f.worker(f.badTool("ffmpeg", "exit 0", false))
	id := f.film(t, "320x240", 4)
	if j := f.ends(id, "failed"); j.Attempt > 3 || j.Error == nil {
		t.Errorf("it took %d attempts, error %+v", j.Attempt, j.Error)
	}
	f.invariants(t)
}

// An ffmpeg that ignores SIGTERM and hangs ends with its worker, within the
// grace of 3 s and what a machine under load adds.
func TestFaultsEncoderIgnoresTerm(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	worker := f.worker(f.badTool("ffmpeg", "trap '' TERM INT HUP; while :; do sleep 1; done", true))
	id := f.film(t, "320x240", 4)
	f.child(worker, "-filter_complex")
	worker.stop(t)
	if alive := f.kin.alive(); len(alive) > 0 {
		t.Errorf("the worker has ended, and %q not", alive)
	}
	if j := f.row(id); j.State != "queued" {
		t.Errorf("the job is %s", j.State)
	}
	f.worker(nil)
	f.ends(id, "succeeded")
	f.invariants(t)
}

// SIGTERM with time to drain: the running job ends, the waiting one stays for
// the next worker.
func TestFaultsDrain(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	first := f.worker(environment{"DRAIN_TIMEOUT": "3m"})
	held := f.store.catch(t, true, 3, putOf(".m4s", ".ts"))
	running := f.film(t, "320x240", 8)
	f.reached(held, "the encode")
	waiting := f.film(t, "320x240", 4)
	if err := first.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	held.free()
	f.succeeds(t, running, 1)
	select {
	case <-first.done:
	case <-time.After(time.Minute):
		t.Fatal("the worker does not end")
	}
	if code := first.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit status %d", code)
	}
	if j := f.row(waiting); j.State != "queued" || j.Attempt != 0 {
		t.Errorf("the waiting job is %+v", j)
	}
	f.worker(nil)
	f.ends(waiting, "succeeded")
	f.invariants(t)
}
