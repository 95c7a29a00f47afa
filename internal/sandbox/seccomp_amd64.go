package sandbox

import "golang.org/x/sys/unix"

const (
	auditArch    = unix.AUDIT_ARCH_X86_64
	foreignCalls = 0x40000000 // from here on: the calls of x32
)

var forkCalls = []uintptr{unix.SYS_FORK, unix.SYS_VFORK}
