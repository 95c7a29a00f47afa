package localstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/minio/minio-go/v7"
	"github.com/redis/go-redis/v9"
)

// parentEnv turns the test binary into a process that starts a stack in the
// folder it names, writes its URLs to stdout and waits to be killed.
const parentEnv = "SEALCAST_LOCALSTACK_PARENT"

func TestMain(m *testing.M) {
	if dir, ok := os.LookupEnv(parentEnv); ok {
		if err := parent(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

func parent(dir string) error {
	s, err := Start(context.Background(), Config{Dir: dir})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(s); err != nil {
		return err
	}
	select {}
}

// keptDir is a data folder that a test keeps over several starts.
func keptDir(t *testing.T) string {
	t.Helper()
	parent := t.TempDir()
	for _, path := range []string{parent, filepath.Dir(parent)} {
		if err := os.Chmod(path, 0o711); err != nil { // TestClosedParentFolder has the other case
			t.Fatal(err)
		}
	}
	dir := filepath.Join(parent, "data")
	t.Cleanup(func() {
		if err := removeFolder(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func start(t *testing.T, dir string) *Stack {
	t.Helper()
	s, err := Start(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// holders are the processes that have the data folder's lock open, by id.
func holders(t *testing.T, dir string) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	lock := filepath.Join(dir, "lock")
	var pids []string
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil && strings.TrimSuffix(target, " (deleted)") == lock {
			pids = append(pids, strings.Split(link, "/")[2])
		}
	}
	return pids
}

func TestStartAnswersStopLeavesNothing(t *testing.T) {
	ctx := t.Context()
	s := start(t, "")
	dir := s.folder.path

	conn, err := pgx.Connect(ctx, s.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string]string{}
	for _, name := range []string{"max_connections", "listen_addresses", "server_encoding", "TimeZone"} {
		var v string
		if err := conn.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&v); err != nil {
			t.Fatal(err)
		}
		settings[name] = v
	}
	want := map[string]string{"max_connections": "200", "listen_addresses": "127.0.0.1", "server_encoding": "UTF8", "TimeZone": "UTC"}
	if diff := cmp.Diff(want, settings); diff != "" {
		t.Errorf("postgres settings (-want +got):\n%s", diff)
	}
	// A session that is open does not hold Stop up.
	defer func() { _ = conn.Close(ctx) }()

	opt, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opt)
	defer client.Close()
	got, err := client.ConfigGet(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	if got["maxmemory-policy"] != "noeviction" || got["appendonly"] != "yes" {
		t.Errorf("redis: maxmemory-policy %q, appendonly %q", got["maxmemory-policy"], got["appendonly"])
	}

	for range 2 { // again is no error
		if err := s.CreateBucket(ctx, "source", "media"); err != nil {
			t.Fatal(err)
		}
	}

	if len(holders(t, dir)) < 4 {
		t.Errorf("processes with the lock: %v, want this one and three servers at least", holders(t, dir))
	}
	noSecretInArgv(t, s)
	for range 2 {
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	if left := holders(t, dir); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
	for _, path := range []string{dir, outsidePath(dir)} {
		if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", path, err)
		}
	}
	select {
	case err := <-s.Died():
		t.Errorf("died: %v", err)
	default:
	}
}

// noSecretInArgv looks at every process of the machine.
func noSecretInArgv(t *testing.T, s *Stack) {
	t.Helper()
	args, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	st := s.folder.state
	for _, path := range args {
		text, _ := os.ReadFile(path)
		for _, secret := range []string{st.PostgresPassword, st.RedisPassword, st.S3AccessKey, st.S3SecretKey} {
			if strings.Contains(string(text), secret) {
				t.Errorf("secret in argv: %s", strings.ReplaceAll(string(text), "\x00", " "))
			}
		}
	}
}

func TestKeptDataIsSeenAgain(t *testing.T) {
	ctx, dir := t.Context(), keptDir(t)
	first := start(t, dir)
	write(t, first)
	if _, err := Start(ctx, Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "uses it") {
		t.Errorf("second stack on a folder in use: %v", err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	second := start(t, dir)
	read(t, second)
	if diff := cmp.Diff(first.DatabaseURL, second.DatabaseURL); diff != "" {
		t.Errorf("the port changed though it was free (-first +second):\n%s", diff)
	}
	for _, name := range []string{"state.json"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, want 0600", name, info.Mode())
		}
	}
}

// write leaves something in each server, read looks for it.
func write(t *testing.T, s *Stack) {
	t.Helper()
	ctx := t.Context()
	if err := s.withPostgres(ctx, s.DatabaseURL, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, "CREATE TABLE kept AS SELECT 'kept' AS word")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	opt, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opt)
	defer client.Close()
	if err := client.Set(ctx, "word", "kept", 0).Err(); err != nil {
		t.Fatal(err)
	}
	// On disk for certain: kept data survives SIGKILL, but for the last second.
	if err := client.Do(ctx, "WAITAOF", 1, 0, 5000).Err(); err != nil && !strings.Contains(err.Error(), "unknown command") {
		t.Fatal(err)
	}
	if err := s.CreateBucket(ctx, "media"); err != nil {
		t.Fatal(err)
	}
	if err := s.withS3(strings.TrimPrefix(s.S3Endpoint, "http://"), func(c *minio.Client) error {
		_, err := c.PutObject(ctx, "media", "word", strings.NewReader("kept"), 4, minio.PutObjectOptions{})
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, s *Stack) {
	t.Helper()
	ctx := t.Context()
	if err := s.withPostgres(ctx, s.DatabaseURL, func(c *pgx.Conn) error {
		var word string
		return c.QueryRow(ctx, "SELECT word FROM kept").Scan(&word)
	}); err != nil {
		t.Errorf("postgres: %v", err)
	}
	opt, err := redis.ParseURL(s.RedisURL)
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(opt)
	defer client.Close()
	if err := client.Get(ctx, "word").Err(); err != nil {
		t.Errorf("redis: %v", err)
	}
	if err := s.withS3(strings.TrimPrefix(s.S3Endpoint, "http://"), func(c *minio.Client) error {
		_, err := c.StatObject(ctx, "media", "word", minio.StatObjectOptions{})
		return err
	}); err != nil {
		t.Errorf("minio: %v", err)
	}
}

func TestDiedTellsOfAKilledServer(t *testing.T) {
	for _, name := range []string{"postgres", "redis", "minio"} {
		t.Run(name, func(t *testing.T) {
			s := start(t, "")
			for _, srv := range s.servers {
				if srv.name == name {
					if err := srv.cmd.Process.Kill(); err != nil {
						t.Fatal(err)
					}
				}
			}
			select {
			case err := <-s.Died():
				if !strings.HasPrefix(err.Error(), name+" ended by itself: signal: killed") {
					t.Errorf("died: %v", err)
				}
			case <-time.After(time.Minute):
				t.Fatal("nobody said that it died")
			}
		})
	}
}

func TestKilledParentLeavesNoServer(t *testing.T) {
	dir := keptDir(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parentEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	remote := &Stack{folder: &folder{path: dir}}
	if err := json.NewDecoder(out).Decode(remote); err != nil {
		t.Fatal(err)
	}
	if err := remote.folder.load(); err != nil {
		t.Fatal(err)
	}
	write(t, remote)
	if len(holders(t, dir)) < 4 {
		t.Fatalf("processes: %v, want the parent and three servers at least", holders(t, dir))
	}

	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	// At once: the new one waits for what is still ending.
	again := start(t, dir)
	read(t, again)
	if err := again.Stop(); err != nil {
		t.Fatal(err)
	}
	if left := holders(t, dir); len(left) > 0 {
		t.Errorf("processes left: %v", left)
	}
}

func TestKilledParentOnly(t *testing.T) {
	dir := keptDir(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), parentEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(out).Decode(&Stack{}); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	deadline := time.Now().Add(time.Minute)
	for len(holders(t, dir)) > 0 {
		if time.Now().After(deadline) {
			t.Fatalf("processes left: %v", holders(t, dir))
		}
		time.Sleep(pollEvery)
	}
}

func TestCreateDatabaseFromTemplate(t *testing.T) {
	ctx := t.Context()
	s := start(t, "")
	template, err := s.CreateDatabase(ctx, "template_of_test", "")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.withPostgres(ctx, template, func(c *pgx.Conn) error {
		_, err := c.Exec(ctx, "CREATE TABLE cloned (n int)")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	for i := range 4 {
		go func() {
			dsn, err := s.CreateDatabase(ctx, fmt.Sprintf("Clone %q %d", "of", i), "template_of_test")
			if err == nil {
				err = s.withPostgres(ctx, dsn, func(c *pgx.Conn) error {
					_, err := c.Exec(ctx, "INSERT INTO cloned VALUES (1)")
					return err
				})
			}
			errs <- err
		}()
	}
	for range 4 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if _, err := s.CreateDatabase(ctx, "template_of_test", ""); err == nil {
		t.Error("creating a database twice is no error")
	}
}
