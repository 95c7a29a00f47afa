package localstack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// Stop asks, then insists, then kills: all within 10 s.
	askFor    = 5 * time.Second
	insistFor = 3 * time.Second

	pollEvery    = 20 * time.Millisecond
	probeTimeout = 2 * time.Second
	portAttempts = 4
	logTailBytes = 2000
)

// recipe is how to run one kind of server.
type recipe struct {
	name    string
	command func(port int) *exec.Cmd
	// ready asks the server something that only a working server of this very
	// stack answers.
	ready func(ctx context.Context, port int) error
	ask   syscall.Signal // ends the server in good order
	quick syscall.Signal // ends it at once, sent by the kernel when we die
}

// server is one running server.
type server struct {
	recipe
	cmd     *exec.Cmd
	log     string // path of its log file
	done    chan struct{}
	waitErr error // after done
	dropped bool  // guarded by Stack.mu
}

// run starts a server and returns when it answers. The port of the last run is
// taken where it is free. Between finding a port and listening on it somebody
// else may take it: then another is tried.
func (s *Stack) run(ctx context.Context, r recipe) (port int, err error) {
	log, err := s.folder.openLog(r.name)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	port = s.folder.port(r.name)
	for range portAttempts {
		if !Free(port) {
			if port, err = FreePort(); err != nil {
				return 0, err
			}
		}
		var taken bool
		if taken, err = s.runOn(ctx, r, port, log); err == nil {
			s.folder.setPort(r.name, port)
			return port, nil
		}
		if !taken {
			break
		}
		port = 0
	}
	return 0, fmt.Errorf("start %s: %w", r.name, err)
}

// runOn is one attempt. taken says that the server ended because somebody else
// has the port.
func (s *Stack) runOn(ctx context.Context, r recipe, port int, log *os.File) (taken bool, err error) {
	began := time.Now()
	start, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return false, err
	}
	cmd := r.command(port)
	cmd.Stdout, cmd.Stderr = log, log
	if err := s.starter.start(cmd, r.quick); err != nil {
		return false, err
	}
	srv := &server{recipe: r, cmd: cmd, log: log.Name(), done: make(chan struct{})}
	go func() {
		srv.waitErr = cmd.Wait()
		close(srv.done)
	}()
	s.adopt(srv)
	if err := srv.await(ctx, port); err != nil {
		s.drop(srv)
		stopErr := srv.stop(s.log)
		tail := logTail(log.Name(), start)
		err = errors.Join(err, stopErr)
		if tail != "" {
			err = fmt.Errorf("%w; the end of its log:\n%s", err, tail)
		}
		return strings.Contains(strings.ToLower(tail), "already in use"), err
	}
	s.log.Info("server started", "server", r.name, "port", port, "pid", cmd.Process.Pid,
		"seconds", time.Since(began).Seconds())
	return false, nil
}

// await returns nil once the server answers, or the reason why it will not.
func (s *server) await(ctx context.Context, port int) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	last := errors.New("not asked yet")
	for {
		select {
		case <-s.done:
			return fmt.Errorf("ended before it answered: %w", s.exit())
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w (last: %w)", context.Cause(ctx), last)
		case <-tick.C:
		}
		pctx, cancel := context.WithTimeout(ctx, probeTimeout)
		err := s.ready(pctx, port)
		cancel()
		if err == nil {
			return nil
		}
		last = err
	}
}

// stop ends the server and its process group.
func (s *server) stop(log *slog.Logger) error {
	began := time.Now()
	for _, next := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{s.ask, askFor}, {s.quick, insistFor}, {syscall.SIGKILL, time.Second}} {
		select {
		case <-s.done:
		default:
			// The leader alone gets the polite signals: it knows how to end its
			// children. SIGKILL goes to all.
			pid := s.cmd.Process.Pid
			if next.signal == syscall.SIGKILL {
				pid = -pid
			}
			_ = syscall.Kill(pid, next.signal)
		}
		select {
		case <-s.done:
			log.Debug("server stopped", "server", s.name, "seconds", time.Since(began).Seconds())
			return nil
		case <-time.After(next.wait):
		}
	}
	return fmt.Errorf("stop %s: process %d did not end", s.name, s.cmd.Process.Pid)
}

// exit is how the server ended; valid after done.
func (s *server) exit() error {
	if s.waitErr != nil {
		return s.waitErr
	}
	return errors.New("exit status 0")
}

// failure is exit with the end of the log.
func (s *server) failure() error {
	if tail := logTail(s.log, 0); tail != "" {
		return fmt.Errorf("%w; the end of its log:\n%s", s.exit(), tail)
	}
	return s.exit()
}

// logTail returns the last lines that were written to a log behind from.
func logTail(path string, from int64) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return ""
	}
	cut := end-from > logTailBytes
	if cut {
		from = end - logTailBytes
	}
	text, err := io.ReadAll(io.NewSectionReader(f, from, end-from))
	if err != nil {
		return ""
	}
	if cut {
		if _, rest, ok := bytes.Cut(text, []byte("\n")); ok {
			text = rest
		}
	}
	return strings.TrimSpace(string(text))
}

// Free says whether a server could listen on the port of 127.0.0.1 now.
func Free(port int) bool {
	if port == 0 {
		return false
	}
	l, err := net.Listen("tcp4", loopback(port))
	if err != nil {
		return false
	}
	return l.Close() == nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
