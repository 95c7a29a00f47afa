package pipeline_test

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealcast/sealcast/internal/sandbox"
	"github.com/sealcast/sealcast/pipeline"
)

// hostile is what an ffmpeg does that its input has taken over; the test
// binary plays it under the name ffmpeg. It tells what it could do on stderr.
func hostile(args []string) int {
	input := slices.Index(args, "-i")
	if input < 0 {
		return 0 // asked for its version
	}
	source, err := url.Parse(args[input+1])
	if err != nil {
		return 1
	}
	port, _ := strconv.Atoi(source.Port())
	try := func(what string, err error) {
		fmt.Fprintf(os.Stderr, "hostile: %s: denied=%t\n", what, errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM))
	}
	dial := func(network string, port int) error {
		conn, err := net.Dial(network, "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	try("endpoint", dial("tcp4", port))
	try("other port", dial("tcp4", port%65535+1))
	try("datagram", dial("udp4", port))
	_, err = os.ReadFile("/etc/passwd")
	try("passwd", err)
	_, err = os.ReadFile("/proc/" + strconv.Itoa(os.Getppid()) + "/cmdline")
	try("parent", err)
	try("file", os.WriteFile("/tmp/sealcast-hostile", nil, 0o600))
	_, err = syscall.ForkExec("/proc/self/exe", []string{"ffmpeg"}, nil)
	try("process", err)
	try("signal", syscall.Kill(os.Getppid(), syscall.Signal(0)))
	return 1
}

// An encoder that was taken over reaches its own endpoint and nothing else.
func TestHostileEncoder(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tool := filepath.Join(t.TempDir(), "ffmpeg")
	if err := os.Symlink(exe, tool); err != nil {
		t.Fatal(err)
	}
	l := newLab(t, func(c *pipeline.Config) { c.FFmpeg, c.Sandbox = tool, sandbox.Require })
	req := l.request(clip(t, "2"))
	_, err = l.runner.Run(t.Context(), req)
	wantCode(t, err, pipeline.CodeSourceTruncated, true) // it made nothing
	for what, denied := range map[string]bool{
		"endpoint": false, "other port": true, "datagram": true, "passwd": true,
		"parent": true, "file": true, "process": true, "signal": true,
	} {
		if want := fmt.Sprintf("hostile: %s: denied=%t", what, denied); !strings.Contains(l.log.String(), want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	l.nothingPlayable(req)
}

// children lists our child processes of a name.
func children(name string) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range stats {
		stat, _ := os.ReadFile(file) // pid (name) state parent …
		_, after, _ := strings.Cut(string(stat), ") ")
		fields := strings.Fields(after)
		// By its first argument: a tool that runs by its descriptor has another name.
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		tool, _, _ := strings.Cut(string(line), "\x00")
		if len(fields) > 1 && fields[1] == strconv.Itoa(os.Getpid()) && filepath.Base(tool) == name {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			pids = append(pids, pid)
		}
	}
	return pids
}

// awaitChildren waits until n children of the name run.
func awaitChildren(t *testing.T, name string, n int) []int {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if pids := children(name); len(pids) >= n {
			return pids
		}
		if time.Now().After(end) {
			t.Fatalf("no %d children %s", n, name)
		}
	}
}

// The real tools run confined, and the death of one ends the attempt.
func TestDeathInTheSandbox(t *testing.T) {
	file := clip(t, "60")
	for _, c := range []struct {
		tool, code string
	}{{"ffmpeg", pipeline.CodeEncodeFailed}, {"packager", pipeline.CodePackFailed}} {
		t.Run(c.tool, func(t *testing.T) {
			l := newLab(t, func(cfg *pipeline.Config) { cfg.Sandbox, cfg.ChildMemory = sandbox.Require, 4<<30 })
			req := l.request(file)
			req.Nice = 3
			done := make(chan error, 1)
			go func() { _, err := l.runner.Run(t.Context(), req); done <- err }()
			awaitChildren(t, "packager", 2)
			pids := awaitChildren(t, "ffmpeg", 1)
			if c.tool == "packager" {
				pids = children("packager")
			}
			status, err := os.ReadFile("/proc/" + strconv.Itoa(pids[0]) + "/status")
			if err != nil || !strings.Contains(string(status), "Seccomp:\t2") {
				t.Errorf("not confined: %v\n%s", err, status)
			}
			stat, _ := os.ReadFile("/proc/" + strconv.Itoa(pids[0]) + "/stat")
			if fields := strings.Fields(string(stat)); len(fields) < 19 || fields[18] != "3" {
				t.Errorf("priority is not 3: %s", stat)
			}
			if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
				t.Error(err)
			}
			wantCode(t, <-done, c.code, false)
			if left := append(children("ffmpeg"), children("packager")...); len(left) > 0 {
				t.Errorf("children left: %v", left)
			}
			l.nothingPlayable(req)
		})
	}
}

// The chosen level is a metric.
func TestSandboxLevelIsShown(t *testing.T) {
	for mode, level := range map[sandbox.Mode]string{sandbox.Require: "full", sandbox.Disable: "off"} {
		reg := prometheus.NewRegistry()
		newLab(t, func(c *pipeline.Config) { c.Sandbox, c.Registry = mode, reg })
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		shown := map[string]float64{}
		for _, f := range families {
			if f.GetName() == "sealcast_sandbox_level" {
				for _, m := range f.GetMetric() {
					shown[m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
				}
			}
		}
		if len(shown) != 4 || shown[level] != 1 || shown["full"]+shown["files"]+shown["limits"]+shown["off"] != 1 {
			t.Errorf("mode %s: %v", mode, shown)
		}
	}
}
