package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// self is this program, also when its file was replaced meanwhile.
const self = "/proc/self/exe"

// The first argument of this program when it is a child.
const (
	childArg = "__child" // confine yourself, become the tool
	trialArg = "__trial" // say what the confinement lets you do
	idleArg  = "__idle"  // end at once
)

var hooked atomic.Bool

// MaybeChild makes this process the tool when it was started as a child, and
// then does not return. It must be the first call of main and of TestMain.
func MaybeChild() {
	hooked.Store(true)
	if len(os.Args) < 2 {
		return
	}
	switch os.Args[1] {
	case childArg:
		// The parent would take an exit status for the tool's own.
		fmt.Fprintln(os.Stderr, "sandbox:", becomeTool(os.Args[2:]))
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case trialArg:
		trial(os.Args[2:])
		os.Exit(0)
	case idleArg:
		os.Exit(0)
	}
}

// becomeTool confines this thread and replaces the process by the tool. What
// execve keeps is the calling thread's, so no other thread matters.
func becomeTool(args []string) error {
	runtime.LockOSThread()
	var p policy
	if len(args) == 0 {
		return errors.New("no policy")
	}
	if err := json.Unmarshal([]byte(args[0]), &p); err != nil {
		return fmt.Errorf("read the policy: %w", err)
	}
	tool, err := unix.Open(p.Tool, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the tool: %w", err)
	}
	argv := append([]string{p.Tool}, args[1:]...)
	env := os.Environ()
	// The kernel's choice when memory runs out; anybody may offer himself.
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("800"), 0)
	if p.Nice > 0 {
		_ = unix.Setpriority(unix.PRIO_PROCESS, 0, p.Nice)
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"forbid new privileges", func() error { return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }},
		{"confine to files and ports", p.landlock},
		{"give privileges up", p.dropPrivileges},
		{"die with the parent", p.dieWithParent},
		{"limit resources", p.limit},
		{"filter system calls", filterCalls},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
	}
	err = syscall.Exec(p.Tool, argv, env)
	if errors.Is(err, syscall.EACCES) {
		// The user may not walk to the tool, but it may run it.
		err = syscall.Exec("/proc/self/fd/"+strconv.Itoa(tool), argv, env)
	}
	return fmt.Errorf("start %s: %w", p.Tool, err)
}

// dropPrivileges becomes the unprivileged user, or gives every capability up.
func (p policy) dropPrivileges() error {
	if p.User == 0 {
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		return unix.Capset(&header, &none[0])
	}
	if err := givePipes(p.User); err != nil {
		return err
	}
	id := uintptr(p.User)
	for _, call := range []struct{ nr, a, b, c uintptr }{
		{unix.SYS_SETGROUPS, 0, 0, 0}, {unix.SYS_SETRESGID, id, id, id}, {unix.SYS_SETRESUID, id, id, id},
	} {
		// The raw calls: they change this thread alone.
		if _, _, errno := unix.RawSyscall(call.nr, call.a, call.b, call.c); errno != 0 {
			return errno
		}
	}
	return nil
}

// givePipes lets the user open inherited pipes again by /dev/fd/N.
func givePipes(user int) error {
	entries, err := openDescriptors()
	if err != nil {
		return err
	}
	for _, fd := range entries {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFIFO {
			if err := unix.Fchown(fd, user, user); err != nil {
				return fmt.Errorf("hand over a pipe: %w", err)
			}
		}
	}
	return nil
}

// openDescriptors lists the inherited descriptors after stderr: they are
// numbered without a gap.
func openDescriptors() (fds []int, err error) {
	for fd := 3; ; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		switch {
		case errors.Is(err, unix.EBADF):
			return fds, nil
		case err != nil:
			return nil, err
		case flags&unix.FD_CLOEXEC == 0:
			fds = append(fds, fd)
		}
	}
}

// dieWithParent asks for the signal again, for a change of the user forgets it.
func (p policy) dieWithParent() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return err
	}
	if os.Getppid() != p.Parent {
		return errors.New("the parent has gone")
	}
	return nil
}

// limit sets the resource limits. Memory comes last: this program itself may
// have more than the tool is allowed.
func (p policy) limit() error {
	type limit struct {
		resource  int
		soft, max uint64
	}
	limits := []limit{
		{unix.RLIMIT_CORE, 0, 0},
		{unix.RLIMIT_FSIZE, 0, 0},
		{unix.RLIMIT_NOFILE, 1024, 1024},
		{unix.RLIMIT_MSGQUEUE, 0, 0},
	}
	if p.User != 0 { // that user's threads are all ours; another user's are not
		limits = append(limits, limit{unix.RLIMIT_NPROC, 8192, 8192})
	}
	if p.CPU > 0 {
		seconds := uint64(p.CPU.Seconds()) + 1
		limits = append(limits, limit{unix.RLIMIT_CPU, seconds, seconds + 1})
	}
	if p.Memory > 0 {
		limits = append(limits, limit{unix.RLIMIT_DATA, uint64(p.Memory), uint64(p.Memory)})
	}
	for _, l := range limits {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(l.resource, &now); err != nil {
			return err
		}
		// Never more than there is.
		want := syscall.Rlimit{Cur: min(l.soft, now.Max), Max: min(l.max, now.Max)}
		// syscall's, not unix's: execve would bring descriptors back otherwise.
		if err := syscall.Setrlimit(l.resource, &want); err != nil {
			return fmt.Errorf("limit %d: %w", l.resource, err)
		}
	}
	return nil
}
