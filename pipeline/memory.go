package pipeline

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/sealcast/sealcast/internal/proc"
)

// oomMessage is the sentence of CodeOutOfMemory.
const oomMessage = "a child process ran out of memory"

// noMemory is how ffmpeg, x264, the packager and the C++ library say ENOMEM.
// The last one is a thread whose stack could not be had: glibc makes EAGAIN of it.
var noMemory = regexp.MustCompile(`(?i)cannot allocate memory|out of memory|std::bad_alloc|malloc of size \d+ failed|resource temporarily unavailable`)

// memoryGuard tells whether children died for want of memory.
type memoryGuard struct {
	files []string // where the kernel counts its kills
	kills int64    // when the attempt began
}

func newMemoryGuard(files []string) *memoryGuard {
	g := &memoryGuard{files: files}
	g.kills = g.count()
	return g
}

// oomCounters are the files in which the kernel counts the processes that it
// killed for want of memory: those of our own cgroup or, without one, of the
// whole machine.
func oomCounters() []string {
	if own, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		for line := range strings.Lines(string(own)) {
			path, unified := strings.CutPrefix(strings.TrimSpace(line), "0::")
			file := filepath.Join("/sys/fs/cgroup", path, "memory.events")
			if _, err := os.Stat(file); unified && err == nil {
				return []string{file}
			}
		}
	}
	return []string{"/proc/vmstat"}
}

// count sums the lines "oom_kill <n>".
func (g *memoryGuard) count() (kills int64) {
	for _, file := range g.files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
				v, _ := strconv.ParseInt(n, 10, 64)
				kills += v
			}
		}
	}
	return kills
}

// blames reports whether a child ended for want of memory: the kernel killed
// it, or it says so itself. A KILL without a count is somebody else's.
func (g *memoryGuard) blames(err error) bool {
	var exit *proc.ExitError
	if !errors.As(err, &exit) {
		return false
	}
	if exit.Signal == syscall.SIGKILL || exit.Code == 128+int(syscall.SIGKILL) {
		return g.count() > g.kills
	}
	return noMemory.MatchString(exit.Stderr)
}

// starvation gives CodeOutOfMemory when a child's death explains err, which may
// be what broke because of it. What is wrong with the source stays wrong.
func (a *attempt) starvation(err error) error {
	var known *Error
	if errors.As(err, &known) && known.Permanent {
		return nil
	}
	if a.starved.Load() || errors.Is(err, syscall.ENOMEM) {
		return transient(CodeOutOfMemory, oomMessage, err)
	}
	return nil
}
