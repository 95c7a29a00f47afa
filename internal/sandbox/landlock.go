package sandbox

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a file or folder of libraries allows.
const (
	readFile   = unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_READ_FILE
	readFolder = readFile | unix.LANDLOCK_ACCESS_FS_READ_DIR
)

// handledFiles is every right that landlock's ABI knows: what is handled and
// not allowed by a rule is forbidden.
func handledFiles(abi int) uint64 {
	rights := uint64(unix.LANDLOCK_ACCESS_FS_MAKE_SYM)<<1 - 1
	if abi >= 2 {
		rights |= unix.LANDLOCK_ACCESS_FS_REFER
	}
	if abi >= 3 {
		rights |= unix.LANDLOCK_ACCESS_FS_TRUNCATE
	}
	if abi >= 5 {
		rights |= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	return rights
}

// landlock confines this thread to the policy's files and port, as far as its
// level says so.
func (p policy) landlock() error {
	if !p.Level.landlocked() {
		return nil
	}
	abi, err := landlockABI()
	if err != nil {
		return fmt.Errorf("this kernel has no landlock: %w", err)
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: handledFiles(abi)}
	if p.Level == Full {
		if abi < 4 {
			return fmt.Errorf("landlock has ABI %d here, rules for ports need 4", abi)
		}
		attr.Handled_access_net = unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP
	}
	if abi >= 6 {
		attr.Scoped = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	}
	ruleset, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), attrSize(abi), 0)
	if errno != 0 {
		return fmt.Errorf("make rules: %w", errno)
	}
	defer func() { _ = unix.Close(int(ruleset)) }()
	for _, path := range p.Read {
		if err := allowReading(ruleset, path); err != nil {
			return fmt.Errorf("allow %s: %w", path, err)
		}
	}
	if p.Level == Full && p.Port != 0 {
		if err := allowPort(ruleset, p.Port); err != nil {
			return fmt.Errorf("allow port %d: %w", p.Port, err)
		}
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0, 0); errno != 0 {
		return fmt.Errorf("apply the rules: %w", errno)
	}
	return nil
}

func landlockABI() (int, error) {
	abi, _, errno := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0, errno
	}
	return int(abi), nil
}

// attrSize is how much of the structure an old kernel takes: it refuses what
// it does not know.
func attrSize(abi int) uintptr {
	switch {
	case abi < 4:
		return 8
	case abi < 6:
		return 16
	}
	return 24
}

// allowReading lets a file or folder be read and executed. One that is not
// there needs no rule.
func allowReading(ruleset uintptr, path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: readFile, Parent_fd: int32(fd)}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		rule.Allowed_access = readFolder
	}
	return addRule(ruleset, unix.LANDLOCK_RULE_PATH_BENEATH, unsafe.Pointer(&rule))
}

func allowPort(ruleset uintptr, port int) error {
	rule := struct{ access, port uint64 }{unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, uint64(port)}
	const rulePort = 2 // LANDLOCK_RULE_NET_PORT
	return addRule(ruleset, rulePort, unsafe.Pointer(&rule))
}

func addRule(ruleset, kind uintptr, rule unsafe.Pointer) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_LANDLOCK_ADD_RULE, ruleset, kind, uintptr(rule), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
