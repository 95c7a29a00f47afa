package sandbox

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// callRule refuses a system call; with values it does so unless the argument,
// under the mask, is one of them.
type callRule struct {
	call   uintptr
	errno  unix.Errno
	arg    int
	mask   uint32
	values []uint32
}

func refused(errno unix.Errno, calls ...uintptr) (rules []callRule) {
	for _, call := range calls {
		rules = append(rules, callRule{call: call, errno: errno})
	}
	return rules
}

// callRules are what a tool that decodes, encodes and speaks HTTP over
// loopback can do without: other processes, other kinds of sockets, other
// entrances to the kernel.
func callRules(pid int) []callRule {
	const all = ^uint32(0)
	rules := []callRule{
		{unix.SYS_SOCKET, unix.EPERM, 0, all, []uint32{unix.AF_INET}},
		{unix.SYS_SOCKET, unix.EPERM, 1, 0xf, []uint32{unix.SOCK_STREAM}},
		{unix.SYS_SOCKET, unix.EPERM, 2, all, []uint32{0, unix.IPPROTO_TCP}},
		// Threads, but no processes. glibc goes from clone3 to clone on ENOSYS.
		{unix.SYS_CLONE, unix.EPERM, 0, unix.CLONE_THREAD, []uint32{unix.CLONE_THREAD}},
		{unix.SYS_KILL, unix.EPERM, 0, all, []uint32{uint32(pid)}},
		{unix.SYS_TGKILL, unix.EPERM, 0, all, []uint32{uint32(pid)}},
		{unix.SYS_PRLIMIT64, unix.EPERM, 0, all, []uint32{0}},
	}
	rules = append(rules, refused(unix.ENOSYS, unix.SYS_CLONE3, unix.SYS_IO_URING_SETUP)...)
	rules = append(rules, refused(unix.EPERM,
		unix.SYS_TKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO,
		unix.SYS_PIDFD_OPEN, unix.SYS_PIDFD_GETFD, unix.SYS_PIDFD_SEND_SIGNAL,
		unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
		unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT,
		unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
		unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
		unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT,
	)...)
	return append(rules, refused(unix.EPERM, forkCalls...)...)
}

// Offsets in struct seccomp_data; the low half of an argument comes first on
// every machine that audit_arch names.
const (
	offsetCall = 0
	offsetArch = 4
	offsetArgs = 16
)

// program translates the rules for the kernel (classic BPF; seccomp(2)).
func program(arch, foreign uint32, rules []callRule) []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	answer := func(what uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: what} }
	jump := func(op uint16, k uint32, yes, no int) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, K: k, Jt: uint8(yes), Jf: uint8(no)}
	}
	out := []unix.SockFilter{
		load(offsetArch), jump(unix.BPF_JEQ, arch, 1, 0), answer(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetCall), jump(unix.BPF_JGE, foreign, 0, 1), answer(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)),
	}
	for _, r := range rules {
		var body []unix.SockFilter
		if len(r.values) > 0 {
			body = append(body, load(uint32(offsetArgs+8*r.arg)),
				unix.SockFilter{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: r.mask})
			for i, v := range r.values { // over the other values and the answer
				body = append(body, jump(unix.BPF_JEQ, v, len(r.values)-i, 0))
			}
		}
		body = append(body, answer(unix.SECCOMP_RET_ERRNO|uint32(r.errno)))
		out = append(out, load(offsetCall), jump(unix.BPF_JEQ, uint32(r.call), 0, len(body)))
		out = append(out, body...)
	}
	return append(out, answer(unix.SECCOMP_RET_ALLOW))
}

// filterCalls puts the filter on this thread, for good.
func filterCalls() error {
	if auditArch == 0 {
		return errors.New("no filter is written for this kind of machine")
	}
	filter := program(auditArch, foreignCalls, callRules(os.Getpid()))
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0)
}
