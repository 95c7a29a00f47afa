package sandbox

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/sealcast/sealcast/internal/proc"
)

// Level names what a child is kept from; see the package.
type Level string

// The levels.
const (
	Full   Level = "full"
	Files  Level = "files"
	Limits Level = "limits"
	Off    Level = "off"
)

// Levels lists every level, best first.
var Levels = []Level{Full, Files, Limits, Off}

// landlocked reports whether the level keeps files away.
func (l Level) landlocked() bool { return l == Full || l == Files }

// Mode says what Choose may choose.
type Mode string

// The modes.
const (
	Auto    Mode = "auto"    // the best level that works here, never Off
	Disable Mode = "off"     // Off
	Require Mode = "require" // Full or an error
)

// nobody is the user that children run as when we are root.
const nobody = 65534

// Sandbox confines children at one level. Choose makes it.
type Sandbox struct {
	Level Level
	// User is whom children run as; 0: as whom we run.
	User int
	// Refused tells why each better level was not taken.
	Refused []error
}

// Allowance is what one child may use.
type Allowance struct {
	Port   int           // of 127.0.0.1 that it may connect to; 0: none
	CPU    time.Duration // user and system; 0: no limit
	Memory int64         // bytes of writable memory of its own; 0: no limit
}

// policy is what the child is told by its second argument.
type policy struct {
	Level  Level    `json:"level"`
	Tool   string   `json:"tool"`
	Read   []string `json:"read"` // files and folders that it may read and execute
	User   int      `json:"user"`
	Parent int      `json:"parent"` // process id
	Nice   int      `json:"nice"`
	Allowance
}

// Confine returns a spec that starts the same tool in the sandbox.
func (s *Sandbox) Confine(spec proc.Spec, allow Allowance) proc.Spec {
	if s.Level == Off {
		return spec
	}
	p, _ := json.Marshal(policy{ // plain fields: cannot fail
		Level: s.Level, Tool: spec.Path, Read: readable(spec.Path), User: s.User,
		Parent: os.Getpid(), Nice: spec.Nice, Allowance: allow,
	})
	spec.Args = append([]string{childArg, string(p)}, spec.Args...)
	spec.Path, spec.Nice = self, 0
	return spec
}

// random is where the packager gets its initialisation vectors.
const random = "/dev/urandom"

// readable lists what a tool needs: itself, random numbers, the dynamic
// linker's cache, and the folders of libraries, also the one beside its own.
func readable(tool string) []string {
	paths := []string{tool, random, "/etc/ld.so.cache", "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib"}
	if file, err := filepath.EvalSymlinks(tool); err == nil {
		paths = append(paths, filepath.Join(filepath.Dir(file), "../lib"))
	}
	return paths
}

var errNoHook = errors.New("sandbox: MaybeChild must be the first call of main and of TestMain")
