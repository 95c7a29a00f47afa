package sandbox

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/proc"
)

func TestMain(m *testing.M) {
	MaybeChild()
	os.Exit(m.Run())
}

// bash plays the tool that was taken over: what it tries it does itself.
func bash(script string) proc.Spec {
	return proc.Spec{Name: "bash", Path: "/bin/bash", Args: []string{"-c", script}}
}

// here is a sandbox of the level as Choose would make it.
func here(level Level) *Sandbox {
	s := &Sandbox{Level: level}
	if os.Getuid() == 0 {
		s.User = nobody
	}
	return s
}

func listen(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return port(ln)
}

// Each level refuses what it promises to refuse; what only a better one
// refuses still works, so that the attempts themselves are known to be sound.
func TestHostileTool(t *testing.T) {
	dir := t.TempDir()
	for d := dir; d != "/tmp" && d != "/"; d = filepath.Dir(d) {
		_ = os.Chmod(d, 0o777) // only the sandbox shall stand in the way
	}
	canary := filepath.Join(dir, "canary")
	if err := os.WriteFile(canary, []byte("secret\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	own, other := listen(t), listen(t)
	victim := exec.Command("/bin/sleep", "600")
	if os.Getuid() == 0 { // another child of ours
		victim.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	if err := victim.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = victim.Process.Kill(); _ = victim.Wait() })

	tcp := func(port int) string { return fmt.Sprintf(": <>/dev/tcp/127.0.0.1/%d", port) }
	for _, c := range []struct {
		name, script string
		refusedFrom  Level // the worst level that refuses it; empty: none does
	}{
		{"its own endpoint", tcp(own), ""},
		{"its own library", "read -N 1 x < /lib/x86_64-linux-gnu/libc.so.6", ""},
		{"another port", tcp(other), Full},
		{"a canary", "read x < " + canary, Files},
		{"passwd", "read x < /etc/passwd", Files},
		{"another process", "read x < /proc/" + strconv.Itoa(os.Getpid()) + "/status", Files},
		{"a listing", "set -- " + dir + "/*; [ \"$1\" != '" + dir + "/*' ]", Files},
		{"a new file", ": > " + dir + "/new", Files},
		{"another tool", "exec /bin/true", Files},
		{"growth of a file", "echo x >> " + dir + "/grown", Limits},
		{"a datagram", fmt.Sprintf(": <>/dev/udp/127.0.0.1/%d", own), Limits},
		{"a signal to another", "kill -0 " + strconv.Itoa(victim.Process.Pid), Limits},
		{"a process", "/bin/true || exit 1; :", Limits},
		{"a fork bomb", `bomb() { bomb | bomb & }; bomb; wait; [ -n "$!" ]`, Limits},
	} {
		t.Run(c.name, func(t *testing.T) {
			refuses := c.refusedFrom != ""
			for i := len(Levels) - 1; i >= 0; i-- { // worst first
				level := Levels[i]
				if level == Off && c.name == "a fork bomb" {
					continue
				}
				_ = os.Remove(filepath.Join(dir, "new"))
				_ = os.Remove(filepath.Join(dir, "grown"))
				res, err := proc.Run(t.Context(), here(level).Confine(bash(c.script), Allowance{Port: own}))
				want := refuses && rank(level) <= rank(c.refusedFrom)
				if (err != nil) != want {
					t.Errorf("level %s: refused is %t, want %t: %v %s", level, err != nil, want, err, res.Stderr)
				}
			}
		})
	}
}

func rank(l Level) int {
	for i, other := range Levels {
		if l == other {
			return i
		}
	}
	return -1
}

// What this host offers is what is chosen, and the tools run in it.
func TestChoose(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Fatal(err)
	}
	want := Limits
	if abi, err := landlockABI(); err == nil {
		if want = Files; abi >= 4 {
			want = Full
		}
	}
	s, err := Choose(t.Context(), Auto, ffmpeg)
	if err != nil {
		t.Fatal(err)
	}
	if s.Level != want {
		t.Errorf("level %s, want %s: %v", s.Level, want, s.Refused)
	}
	if os.Getuid() == 0 && s.User != nobody {
		t.Errorf("children run as user %d: %v", s.User, s.Refused)
	}
	if off, err := Choose(t.Context(), Disable, ffmpeg); err != nil || off.Level != Off {
		t.Errorf("off: %v, %v", off, err)
	}
}

// A tool that does not start at a level takes the choice down, with the reason.
func TestLadderGoesDown(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(tool, []byte("#!/bin/sh\nread x < /etc/passwd || exit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	s, err := Choose(t.Context(), Auto, tool)
	if err != nil {
		t.Fatal(err)
	}
	if s.Level != Limits || !strings.Contains(errors.Join(s.Refused...).Error(), "level full as user") {
		t.Errorf("level %s: %v", s.Level, s.Refused)
	}
	if s, err := Choose(t.Context(), Require, tool); err == nil {
		t.Errorf("required: got level %s", s.Level)
	}
}

// A level whose trial finds a promise broken is refused.
func TestPromises(t *testing.T) {
	kept := findings{Other: "no", Read: "no", Write: "no", Datagram: "no", Fork: "no"}
	for _, c := range []struct {
		name  string
		spoil func(*findings)
		worst Level // that is still refused
	}{
		{"nothing", func(*findings) {}, ""},
		{"endpoint", func(f *findings) { f.Endpoint = "no" }, Limits},
		{"random numbers", func(f *findings) { f.Random = "no" }, Limits},
		{"other port", func(f *findings) { f.Other = "" }, Full},
		{"read", func(f *findings) { f.Read = "" }, Files},
		{"write", func(f *findings) { f.Write = "" }, Files},
		{"datagram", func(f *findings) { f.Datagram = "" }, Limits},
		{"fork", func(f *findings) { f.Fork = "" }, Limits},
	} {
		f := kept
		c.spoil(&f)
		for _, level := range Levels[:3] {
			want := c.worst != "" && rank(level) <= rank(c.worst)
			if err := level.promised(f); (err != nil) != want {
				t.Errorf("%s broken at %s: got %v", c.name, level, err)
			}
		}
	}
}

// A program without the hook would start itself again and again.
func TestHookIsNeeded(t *testing.T) {
	hooked.Store(false)
	defer hooked.Store(true)
	if _, err := Choose(t.Context(), Auto); !errors.Is(err, errNoHook) {
		t.Errorf("got %v", err)
	}
}

// Descriptors come through and can be opened again by their number, by
// whatever user; the environment stays closed; the priority is the asked one.
func TestWhatTheToolInherits(t *testing.T) {
	for _, level := range Levels[:3] {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.WriteString("through the pipe\n")
		_ = w.Close()
		var out bytes.Buffer
		spec := bash(`read x < /dev/fd/3; echo "$x"; export -p; [ ! -e /dev/fd/4 ] && echo no more`)
		spec.Files, spec.Stdout, spec.Nice = []*os.File{r}, &out, 7
		if _, err := proc.Run(t.Context(), here(level).Confine(spec, Allowance{})); err != nil {
			t.Fatalf("%s: %v", level, err)
		}
		got := out.String()
		if !strings.HasPrefix(got, "through the pipe\n") || strings.Contains(got, "__child") ||
			!strings.Contains(got, `HOME="/nonexistent"`) || !strings.HasSuffix(got, "no more\n") {
			t.Errorf("%s:\n%s", level, got)
		}
	}
}

// waiting says that it runs and waits for ever.
var waiting = bash("echo ready >&3; read x <&4")

// started starts a tool that says so and waits for it.
func started(ctx context.Context, t *testing.T, s *Sandbox, spec proc.Spec, allow Allowance) *proc.Process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	silent, ours, err := os.Pipe() // the child holds both ends
	if err != nil {
		t.Fatal(err)
	}
	spec.Files = []*os.File{w, silent, ours}
	p, err := proc.Start(ctx, s.Confine(spec, allow))
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(r).ReadString('\n'); err != nil {
		res, werr := p.Wait()
		t.Fatalf("no sign: %q %v %v %s", line, err, werr, res.Stderr)
	}
	return p
}

// The kernel has the limits, the user, no capability and no new privilege.
func TestLimitsAreSet(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	spec := waiting
	spec.Nice = 7
	for _, s := range []*Sandbox{here(Full), {Level: Full}} {
		p := started(ctx, t, s, spec, Allowance{CPU: time.Hour, Memory: 1 << 30})
		status, limits := procFile(t, p.Pid(), "status"), procFile(t, p.Pid(), "limits")
		for _, want := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", fmt.Sprintf("Uid:\t%d\t", s.User)} {
			if s.User == 0 && strings.HasPrefix(want, "Uid") {
				continue
			}
			if !strings.Contains(status, want) {
				t.Errorf("%q is not in\n%s", want, status)
			}
		}
		for name, want := range map[string]string{
			"Max core file size": "0 0 bytes", "Max file size": "0 0 bytes", "Max open files": "1024 1024 files",
			"Max cpu time": "3601 3602 seconds", "Max data size": "1073741824 1073741824 bytes",
		} {
			if !strings.Contains(strings.Join(strings.Fields(limits), " "), name+" "+want) {
				t.Errorf("%s is not %s in\n%s", name, want, limits)
			}
		}
		stat := strings.Fields(procFile(t, p.Pid(), "stat"))
		if stat[4] != strconv.Itoa(p.Pid()) || stat[18] != "7" {
			t.Errorf("group %s of %d, nice %s", stat[4], p.Pid(), stat[18])
		}
		if adj := strings.TrimSpace(procFile(t, p.Pid(), "oom_score_adj")); adj != "800" {
			t.Errorf("oom_score_adj %s", adj)
		}
		cancel()
		if _, err := p.Wait(); err == nil {
			t.Error("a killed child counts as success")
		}
		ctx, cancel = context.WithCancel(t.Context())
	}
	cancel()
}

func procFile(t *testing.T, pid int, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Memory and CPU time end a tool that wants more.
func TestBounds(t *testing.T) {
	for _, c := range []struct {
		name, script string
		allow        Allowance
	}{
		{"memory", `x=0123456789abcdef; while :; do x=$x$x; done`, Allowance{Memory: 64 << 20}},
		{"cpu", `while :; do :; done`, Allowance{CPU: time.Second}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := proc.Run(t.Context(), here(Limits).Confine(bash(c.script), c.allow)); err == nil {
				t.Error("it ended well")
			}
		})
	}
}

// A sandbox that cannot be made looks like no exit status of the tool.
func TestFailureIsASignal(t *testing.T) {
	spec := proc.Spec{Name: "tool", Path: "/nonexistent/tool"}
	_, err := proc.Run(t.Context(), here(Full).Confine(spec, Allowance{}))
	var exit *proc.ExitError
	if !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL || !strings.Contains(exit.Stderr, "open the tool") {
		t.Errorf("got %#v", err)
	}
}

// A tool that its user cannot walk to still runs.
func TestToolInAClosedFolder(t *testing.T) {
	dir := t.TempDir()
	tool := filepath.Join(dir, "true")
	b, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(tool, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if res, err := proc.Run(t.Context(), here(Full).Confine(proc.Spec{Name: "true", Path: tool}, Allowance{})); err != nil {
		t.Errorf("%v %s", err, res.Stderr)
	}
}

// The parent is killed with KILL; its confined child dies too.
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
	if err != nil {
		t.Fatalf("child %q: %v", line, err)
	}
	stdout, err := os.Open("/proc/" + strconv.Itoa(child) + "/fd/3")
	if err != nil {
		t.Fatal(err)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	// The child holds the only writing end.
	if _, err := io.Copy(io.Discard, stdout); err != nil {
		t.Error(err)
	}
}

func TestHelperParent(t *testing.T) {
	if os.Getenv("SEALCAST_HELPER") == "" {
		return // only a helper of the test above
	}
	p := started(context.Background(), t, here(Full), waiting, Allowance{})
	_, _ = os.Stdout.WriteString(strconv.Itoa(p.Pid()) + "\n")
	_, _ = p.Wait()
}

// What a child costs, with and without.
func BenchmarkStart(b *testing.B) {
	for _, level := range []Level{Off, Full} {
		b.Run(string(level), func(b *testing.B) {
			s := here(level)
			for b.Loop() {
				if _, err := proc.Run(b.Context(), s.Confine(proc.Spec{Name: "true", Path: "/bin/true"}, Allowance{Port: 1})); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
