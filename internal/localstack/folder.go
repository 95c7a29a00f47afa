package localstack

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tempPattern names temporary data folders under os.TempDir.
const tempPattern = "sealcast-stack-*"

// releaseTimeout bounds the wait for the processes of an earlier run, or of
// this one after Stop, to be gone.
const releaseTimeout = 10 * time.Second

// folder is a data folder, locked for this process.
//
// The lock is a flock on a file whose descriptor every server inherits: it is
// free only when the process that started the stack and all its servers have
// ended. So a second Start cannot run two servers on one set of files, not even
// in the moment after a kill -9.
type folder struct {
	path string
	temp bool
	lock *os.File

	mu    sync.Mutex
	state state
}

// state is what a data folder remembers between runs.
type state struct {
	ID               string         `json:"id"` // ties parts outside the folder to it
	PostgresPassword string         `json:"postgres_password"`
	RedisPassword    string         `json:"redis_password"`
	S3AccessKey      string         `json:"s3_access_key"`
	S3SecretKey      string         `json:"s3_secret_key"`
	Ports            map[string]int `json:"ports"` // of the last run, tried again
}

// openFolder creates or reopens the data folder dir; empty means a temporary
// one.
func openFolder(ctx context.Context, dir string) (*folder, error) {
	f := &folder{path: dir, temp: dir == ""}
	var err error
	if f.temp {
		sweepTemp()
		if f.path, err = os.MkdirTemp("", tempPattern); err != nil {
			return nil, fmt.Errorf("create a temporary data folder: %w", err)
		}
	} else {
		if f.path, err = filepath.Abs(dir); err != nil {
			return nil, fmt.Errorf("data folder: %w", err)
		}
		if err := os.MkdirAll(f.path, 0o755); err != nil {
			return nil, fmt.Errorf("create the data folder: %w", err)
		}
	}
	if f.temp && os.Geteuid() == 0 {
		// PostgreSQL runs as another user, who must pass through. What needs to
		// be private inside is private by itself.
		if err := os.Chmod(f.path, 0o711); err != nil {
			return nil, fmt.Errorf("data folder: %w", err)
		}
	}
	if f.lock, err = takeLock(ctx, filepath.Join(f.path, "lock")); err != nil {
		if f.temp {
			err = errors.Join(err, os.RemoveAll(f.path))
		}
		return nil, err
	}
	if err := f.load(); err != nil {
		return nil, errors.Join(err, f.close())
	}
	if err := os.MkdirAll(filepath.Join(f.path, "log"), 0o700); err != nil {
		return nil, errors.Join(fmt.Errorf("data folder: %w", err), f.close())
	}
	return f, nil
}

// takeLock locks the file and writes our process id into it. When the process
// named in it is alive, it runs the stack: that is an error at once. When it is
// dead, its servers are about to end.
func takeLock(ctx context.Context, path string) (*os.File, error) {
	lock, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data folder: %w", err)
	}
	if err := waitLock(ctx, lock, func() error {
		text, _ := os.ReadFile(path)
		var pid int
		if _, err := fmt.Sscan(string(text), &pid); err == nil && alive(pid) {
			return fmt.Errorf("process %d uses it: end that first", pid)
		}
		return nil
	}); err != nil {
		return nil, errors.Join(fmt.Errorf("lock the data folder %s: %w", filepath.Dir(path), err), lock.Close())
	}
	if err = lock.Truncate(0); err == nil {
		_, err = lock.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock the data folder: %w", err), lock.Close())
	}
	return lock, nil
}

// alive says whether the process runs. One that has ended but that its parent
// has not waited for does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ") // proc_pid_stat(5): pid (comm) state …
	return !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// waitLock waits until the flock is ours. There is no event to wait for that a
// context could end, so it polls. While it waits it asks hopeless.
func waitLock(ctx context.Context, lock *os.File, hopeless func() error) error {
	ctx, cancel := context.WithTimeout(ctx, releaseTimeout)
	defer cancel()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if err := hopeless(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("a server of an earlier run has not ended: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// close gives the lock back and makes sure that nobody holds it any more. A
// temporary folder is removed.
func (f *folder) close() error {
	path := f.lock.Name()
	err := f.lock.Close()
	probe, openErr := os.Open(path)
	if openErr != nil {
		return errors.Join(err, fmt.Errorf("data folder: %w", openErr))
	}
	defer probe.Close()
	ctx := context.Background() // a last wait, bounded by releaseTimeout
	if waitErr := waitLock(ctx, probe, func() error { return nil }); waitErr != nil {
		err = errors.Join(err, fmt.Errorf("processes are left: %w", waitErr))
	}
	if f.temp {
		err = errors.Join(err, removeFolder(f.path))
	}
	return err
}

// load reads state.json, or makes the credentials of a new folder.
func (f *folder) load() error {
	text, err := os.ReadFile(f.statePath())
	switch {
	case err == nil:
		if err := json.Unmarshal(text, &f.state); err != nil {
			return fmt.Errorf("read %s: %w", f.statePath(), err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("data folder: %w", err)
	}
	for _, secret := range []*string{
		&f.state.ID, &f.state.PostgresPassword, &f.state.RedisPassword,
		&f.state.S3AccessKey, &f.state.S3SecretKey,
	} {
		if *secret == "" {
			*secret = rand.Text() // 130 bits
		}
	}
	if f.state.Ports == nil {
		f.state.Ports = map[string]int{}
	}
	return f.save()
}

// save writes state.json, whole or not at all.
func (f *folder) save() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := json.MarshalIndent(f.state, "", "  ")
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	old, err := os.ReadFile(f.statePath())
	if text = append(text, '\n'); err == nil && bytes.Equal(old, text) {
		return nil
	}
	next := f.statePath() + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	if err := os.Rename(next, f.statePath()); err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	return nil
}

func (f *folder) statePath() string { return filepath.Join(f.path, "state.json") }

func (f *folder) port(server string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.state.Ports[server]
}

func (f *folder) setPort(server string, port int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.Ports[server] = port
}

// sub creates a folder inside the data folder.
func (f *folder) sub(name string) (string, error) {
	path := filepath.Join(f.path, name)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return "", fmt.Errorf("data folder: %w", err)
	}
	return path, nil
}

// openLog opens the log file of a server, empty; that of the last run stays
// beside it as <name>.log.1.
func (f *folder) openLog(server string) (*os.File, error) {
	path := filepath.Join(f.path, "log", server+".log")
	if err := os.Rename(path, path+".1"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("log file: %w", err)
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log file: %w", err)
	}
	return log, nil
}

// removeFolder removes a data folder and the database that may lie outside it.
func removeFolder(path string) error {
	err := os.RemoveAll(outsidePath(path))
	if rmErr := os.RemoveAll(path); rmErr != nil {
		err = errors.Join(err, rmErr)
	}
	if err != nil {
		return fmt.Errorf("remove the data folder: %w", err)
	}
	return nil
}

// sweepTemp removes temporary folders of processes that were killed. It does
// what it can: a folder that is young, in use, or another user's stays.
func sweepTemp() {
	found, _ := filepath.Glob(filepath.Join(os.TempDir(), tempPattern))
	for _, path := range found {
		sweep(path, time.Now().Add(-time.Minute))
	}
}

func sweep(path string, youngest time.Time) {
	info, err := os.Lstat(path)
	if err != nil || !info.IsDir() || ownerOf(info).uid != os.Geteuid() {
		return
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	defer lock.Close()
	info, err = lock.Stat()
	if err != nil || info.ModTime().After(youngest) {
		return
	}
	if syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return
	}
	_ = removeFolder(path)
}
