// Package proc runs a child process so that nothing of it outlives its parent:
// own process group, TERM then KILL to the whole group, bounded waiting,
// closed environment, the last of its stderr kept in a ring.
package proc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"time"
)

// Grace is the time between TERM and KILL to a child's process group; hurry is
// that of a cause that is urgent.
const (
	Grace = 3 * time.Second
	hurry = time.Second
)

// graceOf is the grace that the cause of a context's end grants: causes that
// have a method Urgent() bool may shorten it.
func graceOf(ctx context.Context) time.Duration {
	var cause interface{ Urgent() bool }
	if errors.As(context.Cause(ctx), &cause) && cause.Urgent() {
		return hurry
	}
	return Grace
}

const stderrTail = 16 << 10

// Spec says what to run.
type Spec struct {
	Name string   // for errors and metrics
	Path string   // absolute, or looked up in PATH
	Args []string // without the program's name
	// Env is the whole environment; nil means PATH, HOME and LC_ALL only.
	Env []string
	// Stdin may carry bytes or a secret; nil is /dev/null.
	Stdin io.Reader
	// Stdout may be nil.
	Stdout io.Writer
	// Files are inherited as descriptors 3, 4, …. Start closes them in the
	// parent, whether it succeeds or not, so that the death of one side of a
	// pipe ends the other.
	Files []*os.File
	// Nice lowers the child's priority: 0 is ours, 19 the lowest.
	Nice int
}

// Result is what a child used and said.
type Result struct {
	Stderr       string        // the last 16 KiB
	CPU          time.Duration // user and system, of the child and those it waited for
	MaxRSS       int64         // bytes; never less than the peak of the process that started it, which Linux carries over an exec
	BytesWritten int64         // to block devices, as the kernel counts them
}

// ExitError is a child that ended badly.
type ExitError struct {
	Name   string
	Code   int            // −1 when ended by a signal
	Signal syscall.Signal // 0 when it exited
	Stderr string         // the last of it; may hold host names and paths: for the log only
}

// Error implements error; it does not carry the child's output.
func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("%s: ended by signal %d (%s)", e.Name, int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("%s: exit status %d", e.Name, e.Code)
}

// Process is a running child.
type Process struct {
	cmd    *exec.Cmd
	name   string
	stderr *ring
	ended  atomic.Bool
}

// Start starts a child. When ctx ends, the child's process group gets TERM
// and, after Grace, KILL. Wait must be called.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	defer closeAll(spec.Files)
	p := &Process{name: spec.Name, stderr: &ring{}}
	cmd := exec.CommandContext(ctx, spec.Path, spec.Args...)
	cmd.Env = spec.Env
	if cmd.Env == nil {
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=/nonexistent", "LC_ALL=C.UTF-8"}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = spec.Stdin, spec.Stdout, p.stderr
	cmd.ExtraFiles = spec.Files
	// Pdeathsig: the child dies with us, even when we get KILL.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error {
		pid := cmd.Process.Pid
		time.AfterFunc(graceOf(ctx), func() {
			if !p.ended.Load() {
				_ = syscall.Kill(-pid, syscall.SIGKILL)
			}
		})
		return ignoreGone(syscall.Kill(-pid, syscall.SIGTERM))
	}
	// A grandchild that holds stderr must not hang Wait.
	cmd.WaitDelay = Grace + time.Second
	p.cmd = cmd
	if err := startOnOneThread(cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	if spec.Nice > 0 {
		_ = syscall.Setpriority(syscall.PRIO_PROCESS, cmd.Process.Pid, spec.Nice) // best effort
	}
	return p, nil
}

// Kill ends the whole process group at once.
func (p *Process) Kill() {
	if !p.ended.Load() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// Pid returns the child's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Wait waits until the child has ended and was reaped. The error is an
// *ExitError unless the child exited with 0.
func (p *Process) Wait() (Result, error) {
	err := p.cmd.Wait()
	p.ended.Store(true)
	// What is left of the group has lost its leader.
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	res := Result{Stderr: p.stderr.String()}
	state := p.cmd.ProcessState
	if state == nil {
		return res, fmt.Errorf("wait for %s: %w", p.name, err)
	}
	res.CPU = state.UserTime() + state.SystemTime()
	if ru, ok := state.SysUsage().(*syscall.Rusage); ok {
		res.MaxRSS, res.BytesWritten = ru.Maxrss<<10, ru.Oublock<<9
	}
	ws, _ := state.Sys().(syscall.WaitStatus)
	switch {
	case ws.Signaled():
		return res, &ExitError{Name: p.name, Code: -1, Signal: ws.Signal(), Stderr: res.Stderr}
	case state.ExitCode() != 0:
		return res, &ExitError{Name: p.name, Code: state.ExitCode(), Stderr: res.Stderr}
	case errors.Is(err, exec.ErrWaitDelay):
		// It exited with 0, but something held its output open.
		return res, fmt.Errorf("%s: %w", p.name, err)
	case err != nil && !isContext(err):
		return res, fmt.Errorf("%s: %w", p.name, err)
	}
	return res, nil
}

// Run starts a child and waits for it.
func Run(ctx context.Context, spec Spec) (Result, error) {
	p, err := Start(ctx, spec)
	if err != nil {
		return Result{}, err
	}
	return p.Wait()
}

// NoCoreDumps forbids core files for this process and its children: a dump
// would hold keys.
func NoCoreDumps() error {
	return syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{})
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

func ignoreGone(err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// ring keeps the last stderrTail bytes.
type ring struct{ buf bytes.Buffer }

func (r *ring) Write(p []byte) (int, error) {
	r.buf.Write(p[max(0, len(p)-stderrTail):])
	if over := r.buf.Len() - stderrTail; over > 0 {
		r.buf.Next(over)
	}
	return len(p), nil
}

func (r *ring) String() string { return r.buf.String() }
