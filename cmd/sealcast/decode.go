package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// decoded is what ffmpeg found in a stream.
type decoded struct {
	frames   int64 // video only
	duration time.Duration
}

// decode gives a clear stream to ffmpeg's decoder and counts what comes out.
// The stream comes by stdin, so no key, token or URL is in ffmpeg's arguments.
// Anything that ffmpeg complains about is an error.
func decode(ctx context.Context, format string, feed func(io.Writer) error) (decoded, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ffmpeg", "-nostdin", "-hide_banner", "-v", "error", "-xerror", //nolint:gosec // format is one of two constants
		"-f", format, "-i", "pipe:0", "-map", "0", "-fps_mode", "passthrough", "-f", "null",
		"-nostats", "-progress", "pipe:1", "-")
	cmd.Env = closedEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 3 * time.Second
	var complaints tail
	var report bytes.Buffer
	cmd.Stderr, cmd.Stdout = &complaints, &report
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return decoded{}, fmt.Errorf("ffmpeg: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return decoded{}, fmt.Errorf("ffmpeg: %w", err)
	}
	feedErr := feed(stdin)
	_ = stdin.Close()
	if feedErr != nil && !errors.Is(feedErr, syscall.EPIPE) {
		cancel() // ffmpeg would take the end of a broken stream for its end
	}
	waitErr := cmd.Wait()
	switch {
	case feedErr != nil && !errors.Is(feedErr, syscall.EPIPE):
		return decoded{}, feedErr
	case complaints.String() != "":
		return decoded{}, fmt.Errorf("ffmpeg cannot decode it: %s", complaints.String())
	case waitErr != nil:
		return decoded{}, fmt.Errorf("ffmpeg: %w", waitErr)
	}
	return parseReport(&report)
}

// closedEnv is the environment of a child: ours may hold secrets.
func closedEnv() []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "LC_ALL=C"}
}

// parseReport reads the last values of ffmpeg's -progress.
func parseReport(r io.Reader) (decoded, error) {
	var d decoded
	ended := false
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		name, value, _ := strings.Cut(sc.Text(), "=")
		n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		switch {
		case name == "frame" && err == nil:
			d.frames = n
		case name == "out_time_us" && err == nil:
			d.duration = time.Duration(n) * time.Microsecond
		case name == "progress":
			ended = value == "end"
		}
	}
	if !ended {
		return d, errors.New("ffmpeg did not come to the end")
	}
	return d, nil
}

// tail keeps the last lines that a child wrote.
type tail struct{ b []byte }

const tailSize = 2000 // bytes

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if len(t.b) > tailSize {
		t.b = append(t.b[:0], t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(t.b)) }
