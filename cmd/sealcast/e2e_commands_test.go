package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// `sealcast demo` takes a file the whole way and exits 0; with a file that is
// no film it says so and exits otherwise.
func TestE2EDemo(t *testing.T) {
	t.Parallel()
	demo := func(file string) (string, int) {
		cmd := exec.Command("sealcast", "demo", "-input", file)
		cmd.Dir = t.TempDir()
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	out, code := demo(clip(t, "640x360", 7))
	if code != 0 {
		t.Fatalf("exit status %d:\n%s", code, out)
	}
	for _, want := range []string{"#EXT-X-STREAM-INF", "kek_version", "played cmaf", "played ts", "encode", "verify", "publish"} {
		if !strings.Contains(out, want) {
			t.Errorf("it does not show %q:\n%s", want, out)
		}
	}
	text := filepath.Join(t.TempDir(), "text.mp4")
	if err := os.WriteFile(text, []byte("no film\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := demo(text); code == 0 || !strings.Contains(out, "source_unreadable") {
		t.Errorf("a text file: exit status %d\n%s", code, out)
	}
}

// `sealcast dev` writes dev.env, which is all that another shell needs to
// submit a film; SIGINT ends it within 10 s with no process left; its data is
// there when it starts again.
func TestE2EDev(t *testing.T) {
	t.Parallel()
	// Postgres refuses root: below a folder that its user may enter.
	dir, err := os.MkdirTemp("", "sealcast-dev-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	env := filepath.Join(dir, ".sealcast", "dev.env")
	start := func() (*exec.Cmd, *syncBuffer) {
		cmd := exec.Command("sealcast", "dev")
		out := &syncBuffer{}
		cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(90 * time.Second); !strings.Contains(out.String(), "Ctrl-C ends it"); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("dev did not come up:\n%s", out.String())
			}
		}
		return cmd, out
	}
	stop := func(cmd *exec.Cmd, out *syncBuffer) {
		family := children(t, cmd.Process.Pid)
		if len(family) < 3 {
			t.Errorf("%d children", len(family))
		}
		began := time.Now()
		_ = cmd.Process.Signal(os.Interrupt)
		err := cmd.Wait()
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("it took %s to end", took)
		}
		if err != nil && cmd.ProcessState.ExitCode() != 0 && cmd.ProcessState.ExitCode() != 130 {
			t.Errorf("it ended with %v\n%s", err, out.String())
		}
		running := processes(t)
		for _, pid := range family {
			if running[pid] != nil {
				t.Errorf("process %d is left: %q", pid, running[pid])
			}
		}
	}
	shell := func(script string) string {
		cmd := exec.Command("sh", "-c", ". '"+env+"'; "+script)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", script, err, out)
		}
		return string(out)
	}

	cmd, out := start()
	film := clip(t, "320x240", 3)
	if said := shell("sealcast submit '" + film + "'"); !strings.Contains(said, "master.m3u8") {
		t.Errorf("submit said:\n%s", said)
	}
	if said := shell("sealcast check-config"); strings.Contains(said, "invalid") {
		t.Errorf("check-config said:\n%s", said)
	}
	if info, err := os.Stat(env); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("dev.env: %v, %v", info, err)
	}
	stop(cmd, out)

	cmd, out = start()
	if said := shell("sealcast submit '" + film + "'"); !strings.Contains(said, "master.m3u8") {
		t.Errorf("after a restart, submit said:\n%s", said)
	}
	body, err := os.ReadFile(env)
	if err != nil || !bytes.Contains(body, []byte("export KEK_1=")) {
		t.Errorf("dev.env: %s, %v", body, err)
	}
	stop(cmd, out)
}
