package proc_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/proc"
)

func sh(script string) proc.Spec {
	return proc.Spec{Name: "sh", Path: "/bin/sh", Args: []string{"-c", script}}
}

// gone reports whether a process has ended (a zombie has).
func gone(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func waitGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !gone(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d still runs", pid)
		}
	}
}

func TestExitIsTyped(t *testing.T) {
	_, err := proc.Run(t.Context(), sh("echo why >&2; exit 3"))
	var exit *proc.ExitError
	if !errors.As(err, &exit) || exit.Code != 3 || exit.Stderr != "why\n" {
		t.Fatalf("got %#v", err)
	}
	if strings.Contains(err.Error(), "why") {
		t.Error("the error text carries the child's output")
	}
	_, err = proc.Run(t.Context(), sh("kill -9 $$"))
	if !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL {
		t.Fatalf("got %#v", err)
	}
	if res, err := proc.Run(t.Context(), sh("exit 0")); err != nil || res.MaxRSS == 0 {
		t.Fatalf("got %v, %v", res, err)
	}
}

func TestEnvironmentIsClosed(t *testing.T) {
	t.Setenv("SEALCAST_CANARY", "secret")
	var out bytes.Buffer
	spec := sh("env")
	spec.Stdout = &out
	if _, err := proc.Run(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "CANARY") || !strings.Contains(out.String(), "LC_ALL=C.UTF-8") {
		t.Errorf("environment:\n%s", out.String())
	}
}

func TestStderrIsBounded(t *testing.T) {
	res, err := proc.Run(t.Context(), sh("i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678901234567890123456789 >&2; i=$((i+1)); done; echo end >&2"))
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Stderr) > 16<<10 || !strings.HasSuffix(res.Stderr, "end\n") {
		t.Errorf("%d bytes kept", len(res.Stderr))
	}
}

// A child that is deaf to TERM and a grandchild that holds its output both
// end, soon after the grace.
func TestCancelEndsTheGroup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	spec := sh("trap '' TERM; sleep 600 & echo $! >&3; while :; do sleep 1; done")
	spec.Files = []*os.File{w}
	p, err := proc.Start(ctx, spec)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	grandchild, _ := strconv.Atoi(strings.TrimSpace(line))
	cancel()
	if _, err := p.Wait(); err == nil {
		t.Error("a killed child counts as success")
	}
	waitGone(t, p.Pid())
	waitGone(t, grandchild)
}

// urgent is a cause that does not wait for the whole grace.
type urgent struct{ error }

func (urgent) Urgent() bool { return true }

// A deaf child of an urgent end dies while another one still has its grace.
func TestUrgentEnd(t *testing.T) {
	start := func(cause error) *proc.Process {
		ctx, cancel := context.WithCancelCause(t.Context())
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		spec := sh("trap '' TERM; echo ready >&3; while :; do sleep 1; done")
		spec.Files = []*os.File{w}
		p, err := proc.Start(ctx, spec)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		cancel(cause)
		return p
	}
	patient := start(errors.New("no hurry"))
	hurried := start(urgent{errors.New("now")})
	if _, err := hurried.Wait(); err == nil {
		t.Error("a killed child counts as success")
	}
	if gone(patient.Pid()) {
		t.Error("the other child had no grace")
	}
	patient.Kill()
	_, _ = patient.Wait()
}

// The parent is killed with KILL; its child dies too.
func TestChildDiesWithItsParent(t *testing.T) {
	parent := exec.Command(os.Args[0], "-test.run=^TestHelperParent$")
	parent.Env = append(os.Environ(), "SEALCAST_HELPER=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil || gone(child) {
		t.Fatalf("child %q: %v", line, err)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	waitGone(t, child)
}

func TestHelperParent(t *testing.T) {
	if os.Getenv("SEALCAST_HELPER") == "" {
		return // only a helper of the test above
	}
	p, err := proc.Start(context.Background(), sh("sleep 600"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = os.Stdout.WriteString(strconv.Itoa(p.Pid()) + "\n")
	_, _ = p.Wait()
}
