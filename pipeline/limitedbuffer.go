package pipeline

import "bytes"

// limitedBuffer keeps the first bytes of a child's output and drops the rest.
type limitedBuffer struct {
	*bytes.Buffer
	left    int
	dropped bool // there was a rest
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.left -= n
	b.dropped = b.dropped || n < len(p)
	b.Buffer.Write(p[:n])
	return len(p), nil
}
