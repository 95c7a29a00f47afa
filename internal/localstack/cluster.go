package localstack

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// cluster is the data of PostgreSQL and the programs and the user to run it
// with. PostgreSQL refuses to run as root: then it runs as the user "postgres",
// or as "nobody" where that does not exist.
type cluster struct {
	root      string // ours: marker, password file, data
	data      string // the server user's
	bin       string
	owner     owner
	switchTo  *syscall.Credential // nil: we are that user
	throwaway bool
}

type owner struct{ uid, gid int }

func ownerOf(info fs.FileInfo) owner {
	st := info.Sys().(*syscall.Stat_t)
	return owner{int(st.Uid), int(st.Gid)}
}

// command runs a PostgreSQL program as the right user.
func (c *cluster) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(c.bin, program), args...)
	cmd.Dir = c.root // the folder we were called in may be closed to that user
	cmd.Env = environment(c.root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.switchTo}
	return cmd
}

// openCluster finds or makes the cluster of the data folder. log takes what
// initdb writes.
func (s *Stack) openCluster(ctx context.Context, t tools, log *os.File) (*cluster, error) {
	c := &cluster{bin: t.postgres[0], throwaway: s.folder.temp}
	if err := s.placeCluster(ctx, c); err != nil {
		return nil, err
	}
	c.data = filepath.Join(c.root, "data")
	info, err := os.Stat(c.data)
	if errors.Is(err, fs.ErrNotExist) {
		return c, s.initdb(ctx, c, log)
	}
	if err != nil {
		return nil, err
	}
	if c.owner = ownerOf(info); c.switchTo != nil {
		c.switchTo = credential(c.owner) // "postgres" may exist only since later
	} else if c.owner.uid != os.Geteuid() {
		return nil, fmt.Errorf("%s belongs to the user with id %d: remove %s, or run as root as before", c.data, c.owner.uid, s.folder.path)
	}
	// We hold the folder's lock, so no server of it is alive: the file is stale,
	// and the process id in it may be a stranger's by now.
	if err := os.Remove(filepath.Join(c.data, "postmaster.pid")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return c, s.matchVersion(ctx, c, t)
}

// placeCluster decides where the cluster lies and who runs it.
func (s *Stack) placeCluster(ctx context.Context, c *cluster) error {
	c.root = filepath.Join(s.folder.path, "postgres")
	if os.Geteuid() != 0 {
		c.owner = owner{os.Geteuid(), os.Getegid()}
		return s.claim(c.root, 0o700)
	}
	var err error
	if c.owner, err = serverUser(); err != nil {
		return err
	}
	c.switchTo = credential(c.owner)
	outside := outsidePath(s.folder.path)
	if target, err := os.Readlink(c.root); err == nil {
		if target != outside {
			return fmt.Errorf("%s points to %s, not to %s: has the data folder been moved? remove the link", c.root, target, outside)
		}
		c.root = outside
		return s.claim(c.root, 0o711)
	}
	if err := s.claim(c.root, 0o711); err != nil {
		return err
	}
	_, err = s.version(ctx, c)
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	if _, dataErr := os.Stat(filepath.Join(c.root, "data")); dataErr == nil {
		return fmt.Errorf("a parent folder of %s has been closed to the user with id %d since: %w", c.root, c.owner.uid, err)
	}
	// A checkout under /root, for one, is closed to every other user: the
	// cluster goes where that user can reach it, and a link says where.
	if err := os.RemoveAll(outside); err != nil { // of a folder that was removed
		return err
	}
	if err := os.RemoveAll(c.root); err != nil {
		return err
	}
	if err := os.Symlink(outside, c.root); err != nil {
		return err
	}
	c.root = outside
	if err := s.claim(c.root, 0o711); err != nil {
		return err
	}
	if _, err := s.version(ctx, c); err != nil {
		return fmt.Errorf("the user with id %d cannot run PostgreSQL in %s: %w", c.owner.uid, c.root, err)
	}
	s.log.Info("database placed outside the data folder", "dir", c.root)
	return nil
}

// outsidePath is where the cluster lies when its user cannot reach the data
// folder.
func outsidePath(folder string) string {
	sum := sha256.Sum256([]byte(folder))
	return fmt.Sprintf("/var/tmp/sealcast-%x-postgres", sum[:8])
}

// claim creates the folder, or checks that it is the one this data folder made:
// the name of a folder in /var/tmp is anybody's to take.
func (s *Stack) claim(root string, mode fs.FileMode) error {
	marker := filepath.Join(root, "of-data-folder")
	id := s.folder.state.ID + "\n" + s.folder.path + "\n"
	err := os.Mkdir(root, mode)
	switch {
	case err == nil:
		if err := os.Chmod(root, mode); err != nil { // whatever the umask
			return err
		}
		return os.WriteFile(marker, []byte(id), 0o600)
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	info, err := os.Lstat(root)
	if err != nil {
		return err
	}
	found, _ := os.ReadFile(marker)
	gotID, _, _ := strings.Cut(string(found), "\n")
	if !info.IsDir() || ownerOf(info).uid != os.Geteuid() || gotID != s.folder.state.ID {
		return fmt.Errorf("%s is not of this data folder: remove both it and %s", root, s.folder.path)
	}
	return nil
}

// initdb makes a new cluster under another name first, so that one half made is
// never taken for a whole one.
func (s *Stack) initdb(ctx context.Context, c *cluster, log *os.File) error {
	next, password := c.data+".new", filepath.Join(c.root, "password")
	for _, left := range []string{next, password} {
		if err := os.RemoveAll(left); err != nil {
			return err
		}
	}
	if err := os.Mkdir(next, 0o700); err != nil {
		return err
	}
	defer os.Remove(password)
	if err := os.WriteFile(password, []byte(s.folder.state.PostgresPassword+"\n"), 0o600); err != nil {
		return err
	}
	if c.switchTo != nil {
		for _, path := range []string{next, password} {
			if err := os.Chown(path, c.owner.uid, c.owner.gid); err != nil {
				return err
			}
		}
	}
	args := []string{
		"-D", next, "-U", pgUser, "--pwfile", password,
		"--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C",
	}
	if c.throwaway {
		args = append(args, "--no-sync")
	}
	cmd := c.command("initdb", args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := s.toEnd(ctx, cmd); err != nil {
		return fmt.Errorf("initdb: %w; the end of its log:\n%s", err, logTail(log.Name(), 0))
	}
	return os.Rename(next, c.data)
}

// matchVersion picks the programs of the major version that made the data: no
// other can read it.
func (s *Stack) matchVersion(ctx context.Context, c *cluster, t tools) error {
	text, err := os.ReadFile(filepath.Join(c.data, "PG_VERSION"))
	if err != nil {
		return err
	}
	want := strings.TrimSpace(string(text))
	var have []string
	for _, c.bin = range t.postgres {
		got, err := s.version(ctx, c)
		if err != nil {
			return err
		}
		if got == want {
			return nil
		}
		have = append(have, got)
	}
	return fmt.Errorf("the data was made by PostgreSQL %s, installed is %s: remove %s to begin anew",
		want, strings.Join(have, ", "), s.folder.path)
}

// version is the major version of the programs in c.bin. It is asked as the
// server user in the cluster's root, and so also says whether that works.
func (s *Stack) version(ctx context.Context, c *cluster) (string, error) {
	var out strings.Builder
	cmd := c.command("postgres", "--version")
	cmd.Stdout = &out
	if err := s.toEnd(ctx, cmd); err != nil {
		return "", err
	}
	_, v, _ := strings.Cut(out.String(), "(PostgreSQL) ") // postgres (PostgreSQL) 15.13 (Debian …)
	major := number.FindString(v)
	if major == "" {
		return "", fmt.Errorf("postgres --version said %q", out.String())
	}
	return major, nil
}

// toEnd runs a child that ends by itself.
func (s *Stack) toEnd(ctx context.Context, cmd *exec.Cmd) error {
	if err := s.starter.start(cmd, syscall.SIGKILL); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) })()
	if err := cmd.Wait(); err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return nil
}

// serverUser is who runs PostgreSQL when we are root.
func serverUser() (owner, error) {
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.Atoi(u.Uid)
		gid, gidErr := strconv.Atoi(u.Gid)
		if uidErr == nil && gidErr == nil && uid != 0 {
			return owner{uid, gid}, nil
		}
	}
	return owner{}, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody: add one, or run as another user")
}

func credential(o owner) *syscall.Credential {
	return &syscall.Credential{Uid: uint32(o.uid), Gid: uint32(o.gid)}
}
