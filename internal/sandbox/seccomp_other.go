//go:build !amd64 && !arm64

package sandbox

const (
	auditArch    = 0
	foreignCalls = 1 << 31
)

var forkCalls []uintptr
