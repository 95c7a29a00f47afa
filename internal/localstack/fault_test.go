package localstack

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMissingToolsAreAllNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	defer func(was string) { debianPostgres = was }(debianPostgres)
	debianPostgres = "/nonexistent/*/bin"
	_, err := Start(t.Context(), Config{})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"postgres", "redis-server", "minio", "make deps"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in the error: %v", want, err)
		}
	}
}

func TestNewestPostgresIsFoundWithoutPath(t *testing.T) {
	root := t.TempDir()
	for _, version := range []string{"9", "15", "17"} {
		bin := filepath.Join(root, version, "bin")
		if err := os.MkdirAll(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"initdb", "postgres"} {
			if version == "17" && name == "postgres" {
				continue // a client package alone is no server
			}
			if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	t.Setenv("PATH", t.TempDir())
	defer func(was string) { debianPostgres = was }(debianPostgres)
	debianPostgres = filepath.Join(root, "*", "bin")
	got := strings.Join(findPostgres(), " ")
	if want := filepath.Join(root, "15", "bin") + " " + filepath.Join(root, "9", "bin"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A server that ends at once takes the others with it, and its log is shown.
func TestBrokenServerShowsItsLog(t *testing.T) {
	bin := t.TempDir()
	script := "#!/bin/sh\necho 'the disk is on fire' >&2\nexit 3\n"
	if err := os.WriteFile(filepath.Join(bin, "minio"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	dir := keptDir(t)
	_, err := Start(t.Context(), Config{Dir: dir})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"start minio", "exit status 3", "the disk is on fire"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in the error: %v", want, err)
		}
	}
	if left := holders(t, dir); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
}

// The port of the last run may be somebody else's by now.
func TestTakenPortIsReplaced(t *testing.T) {
	s := start(t, "")
	other, err := Start(t.Context(), Config{Dir: seeded(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := other.Stop(); err != nil {
			t.Error(err)
		}
	}()
	if other.S3Endpoint == s.S3Endpoint || other.RedisURL == s.RedisURL || other.DatabaseURL == s.DatabaseURL {
		t.Error("two stacks on one port")
	}
}

// seeded is a data folder that last ran on the ports of s.
func seeded(t *testing.T, s *Stack) string {
	t.Helper()
	dir := keptDir(t)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f := &folder{path: dir}
	if err := f.load(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "redis", "minio"} {
		f.setPort(name, s.folder.port(name))
	}
	if err := f.save(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A folder that PostgreSQL's user cannot reach, such as a checkout in /root.
func TestClosedParentFolder(t *testing.T) {
	closed := t.TempDir()
	if err := os.Chmod(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, "data")
	t.Cleanup(func() { _ = removeFolder(dir) })
	s := start(t, dir)
	write(t, s)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	target, err := os.Readlink(filepath.Join(dir, "postgres"))
	switch {
	case os.Geteuid() != 0 && err == nil:
		t.Errorf("moved to %s though nobody needs it", target)
	case os.Geteuid() == 0 && target != outsidePath(dir):
		t.Errorf("link to %q (%v), want %q", target, err, outsidePath(dir))
	}
	read(t, start(t, dir))
}

func TestSweepRemovesOnlyWhatNobodyHolds(t *testing.T) {
	used := start(t, "").folder.path
	left, err := os.MkdirTemp("", tempPattern)
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(left)
	if err := os.WriteFile(filepath.Join(left, "lock"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{used, left} {
		sweep(dir, time.Now().Add(time.Hour))
	}
	if _, err := os.Stat(filepath.Join(used, "state.json")); err != nil {
		t.Errorf("a folder in use was removed: %v", err)
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("an abandoned folder was not removed")
	}
}

// An orphan of an earlier run with a stale postmaster.pid does not stop us.
func TestStalePidFile(t *testing.T) {
	dir := keptDir(t)
	s := start(t, dir)
	data := filepath.Join(s.folder.path, "postgres", "data")
	pidFile, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	// As after a power cut: the number belongs to a living stranger by now.
	// One of the same user, which PostgreSQL takes for its own kind.
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	stranger := exec.Command("sleep", "600")
	if os.Geteuid() == 0 {
		stranger.SysProcAttr = &syscall.SysProcAttr{Credential: credential(ownerOf(info))}
	}
	if err := stranger.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Process.Kill(); _ = stranger.Wait() }()
	_, rest, _ := strings.Cut(string(pidFile), "\n")
	stale := []byte(strings.Join([]string{strconv.Itoa(stranger.Process.Pid), rest}, "\n"))
	if err := os.WriteFile(filepath.Join(data, "postmaster.pid"), stale, 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, dir)
}
