package proc

import (
	"os/exec"
	"runtime"
	"sync"
)

// Pdeathsig fires when the thread that started the child ends, not when the
// process does (prctl(2), PR_SET_PDEATHSIG). So every child is started from
// one thread that lives as long as the process.
var (
	starterOnce sync.Once
	starter     chan func()
)

func startOnOneThread(cmd *exec.Cmd) error {
	starterOnce.Do(func() {
		starter = make(chan func())
		go func() {
			runtime.LockOSThread()
			for f := range starter {
				f()
			}
		}()
	})
	done := make(chan error, 1)
	starter <- func() { done <- cmd.Start() }
	return <-done
}
