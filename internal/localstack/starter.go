package localstack

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// starter starts children that the kernel signals when this process dies.
//
// Pdeathsig belongs to the thread that forked, not to the process: were a child
// started from any goroutine, it would get the signal as soon as the Go runtime
// ended that thread. So one goroutine, locked to its thread, starts them all,
// and stays until they have ended.
type starter struct {
	lock     *os.File // inherited by every child, see folder
	requests chan func()
	closing  sync.Once
}

func newStarter(lock *os.File) *starter {
	st := &starter{lock: lock, requests: make(chan func())}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for f := range st.requests {
			f()
		}
	}()
	return st
}

// close ends the thread. The children must have ended.
func (st *starter) close() { st.closing.Do(func() { close(st.requests) }) }

// start starts cmd in a process group of its own. onDeath is what it gets from
// the kernel when this process dies. cmd.Env must be set: children inherit no
// environment.
func (st *starter) start(cmd *exec.Cmd, onDeath syscall.Signal) error {
	if cmd.Env == nil {
		return errors.New("start a child without a closed environment")
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = onDeath
	cmd.ExtraFiles = append(cmd.ExtraFiles, st.lock)
	result := make(chan error)
	st.requests <- func() { result <- cmd.Start() }
	return <-result
}

// environment is all that a child inherits from ours, and more where a server
// needs it.
func environment(home string, more ...string) []string {
	path := os.Getenv("PATH")
	if strings.TrimSpace(path) == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return append([]string{"PATH=" + path, "HOME=" + home, "LC_ALL=C"}, more...)
}
