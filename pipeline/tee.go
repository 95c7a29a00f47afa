package pipeline

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// pipeSize is what a pipe between children may hold.
const pipeSize = 1 << 20

// tee copies one encoded stream to every packager's pipe and to the observer
// until the encoder closes it; then it closes the pipes. The death of any side
// ends the others: a reader sees the end, a writer gets EPIPE. It calls moved
// whenever bytes have moved.
func tee(from *os.File, observer io.Writer, to []*os.File, moved func()) error {
	defer func() { _ = from.Close() }()
	defer closeFiles(to)
	buf := make([]byte, 256<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			moved()
			if _, err := observer.Write(buf[:n]); err != nil {
				return fmt.Errorf("read the encoder's stream: %w", err)
			}
			for _, w := range to {
				if _, err := w.Write(buf[:n]); err != nil {
					return fmt.Errorf("write to the packager: %w", err)
				}
			}
			moved()
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read from the encoder: %w", err)
		}
	}
}

// pipe returns a pipe with a large buffer, where the system allows it.
func pipe() (r, w *os.File, err error) {
	r, w, err = os.Pipe()
	if err != nil {
		return nil, nil, fmt.Errorf("make a pipe: %w", err)
	}
	if conn, err := w.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) {
			_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) // best effort
		})
	}
	return r, w, nil
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
