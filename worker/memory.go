package worker

import (
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// Memory is what this machine or container has, in bytes.
type Memory struct {
	Capacity  int64 // altogether
	Available int64 // now, without making anything slow
}

// HostMemory reads the machine's memory and the limits of the control groups
// that this process is in (versions 1 and 2).
func HostMemory() (Memory, error) { return readMemory(os.DirFS("/")) }

func readMemory(root fs.FS) (Memory, error) {
	info, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return Memory{}, fmt.Errorf("read the machine's memory: %w", err)
	}
	m := Memory{Capacity: 1024 * field(info, "MemTotal:"), Available: 1024 * field(info, "MemAvailable:")}
	if m.Capacity <= 0 || m.Available <= 0 {
		return Memory{}, fmt.Errorf("/proc/meminfo does not tell MemTotal and MemAvailable")
	}
	groups, _ := fs.ReadFile(root, "proc/self/cgroup") // none: no limit
	for line := range strings.Lines(string(groups)) {
		// hierarchy:controllers:path
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		switch {
		case len(parts) != 3:
		case parts[1] == "":
			m.narrow(root, "sys/fs/cgroup", parts[2], "memory.max", "memory.current", "inactive_file")
		case strings.Contains(","+parts[1]+",", ",memory,"):
			m.narrow(root, "sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
		}
	}
	return m, nil
}

// narrow applies the limits of a group and of those around it. In a container
// the group's path may be one that is not there; the mount's own files count.
func (m *Memory) narrow(root fs.FS, mount, group, limitFile, usageFile, inactive string) {
	for dir := path.Join(mount, path.Clean("/"+group)); ; dir = path.Dir(dir) {
		limit, ok := number(root, path.Join(dir, limitFile))
		if usage, known := number(root, path.Join(dir, usageFile)); ok && known {
			stat, _ := fs.ReadFile(root, path.Join(dir, "memory.stat"))
			m.Capacity = min(m.Capacity, limit)
			// The cache of files that are not in use gives way.
			m.Available = min(m.Available, max(0, limit-usage+field(stat, inactive)))
		}
		if dir == mount || !strings.HasPrefix(dir, mount) {
			return
		}
	}
}

// number reads a file with one number; "max" is none.
func number(root fs.FS, name string) (int64, bool) {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return int64(min(n, math.MaxInt64)), err == nil
}

// field finds "name number" in lines; 0 when it is not there.
func field(doc []byte, name string) int64 {
	for line := range strings.Lines(string(doc)) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}
