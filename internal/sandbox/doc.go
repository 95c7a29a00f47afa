// Package sandbox confines the children that read hostile bytes: ffmpeg,
// ffprobe and the packager. A child begins as this program again
// (/proc/self/exe), confines itself and then becomes the tool (execve), so
// that process group, inherited descriptors and the signal on the parent's
// death stay what package proc made them.
//
// The levels, best first; each has what stands below it:
//
//	full    TCP to one port of ours and to no other (landlock, ABI 4)
//	files   reads and executes the tool and the system's libraries, nothing
//	        else, and writes nothing (landlock, ABI 1)
//	limits  no process beside it, no signal to others, no socket but TCP, no
//	        core file, no file that grows, bounded descriptors, CPU time and
//	        memory (seccomp, rlimits, no_new_privs)
//	off     nothing of this
//
// A program that runs as root starts its children as an unprivileged user
// where they work so, and without capabilities otherwise. Choose tries the
// levels out and takes the best that keeps its promise on this host.
package sandbox
