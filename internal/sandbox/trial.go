package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sealcast/sealcast/internal/proc"
)

// trialOrder is what a trial child shall try.
type trialOrder struct {
	Endpoint int      // the port that it may connect to
	Other    int      // a port of ours that it may not connect to
	Canaries []string // files that we can read
	Write    string   // a file to make
}

// findings are a trial child's errors by what it tried; empty: it could.
type findings struct {
	Endpoint, Random, Other, Read, Write, Datagram, Fork string
}

// trial tries everything and tells on stdout.
func trial(args []string) {
	var order trialOrder
	if len(args) != 1 || json.Unmarshal([]byte(args[0]), &order) != nil {
		fmt.Fprintln(os.Stderr, "sandbox: no order for the trial")
		os.Exit(1)
	}
	var f findings
	f.Endpoint, f.Other = text(connect(order.Endpoint)), text(connect(order.Other))
	f.Random = text(readByte(random))
	for _, path := range order.Canaries {
		if f.Read = text(readByte(path)); f.Read == "" {
			break
		}
	}
	file, err := os.Create(order.Write)
	if err == nil {
		_ = file.Close()
		_ = os.Remove(order.Write)
	}
	f.Write = text(err)
	_, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	f.Datagram = text(err)
	// Not os/exec, which opens files first.
	_, err = syscall.ForkExec(self, []string{self, idleArg}, nil)
	f.Fork = text(err)
	_ = json.NewEncoder(os.Stdout).Encode(f)
}

func readByte(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	_, err = file.Read(make([]byte, 1))
	return err
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func connect(port int) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
}

// promised returns what the level promises and the findings deny.
func (l Level) promised(f findings) error {
	var broken []string
	want := func(there bool, what string) {
		if !there {
			broken = append(broken, what)
		}
	}
	want(f.Endpoint == "", "it cannot reach its own endpoint ("+f.Endpoint+")")
	want(f.Random == "", "it has no random numbers ("+f.Random+")")
	want(f.Datagram != "", "it can make a datagram socket")
	want(f.Fork != "", "it can start processes")
	if l.landlocked() {
		want(f.Read != "", "it can read files")
		want(f.Write != "", "it can make files")
	}
	if l == Full {
		want(f.Other != "", "it can connect to other ports")
	}
	if len(broken) > 0 {
		return errors.New(strings.Join(broken, ", "))
	}
	return nil
}

// try starts a trial child and every tool in the sandbox.
func (s *Sandbox) try(ctx context.Context, tools []string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var lc net.ListenConfig
	endpoint, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the trial: %w", err)
	}
	defer func() { _ = endpoint.Close() }()
	other, err := lc.Listen(ctx, "tcp4", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for the trial: %w", err)
	}
	defer func() { _ = other.Close() }()
	order := trialOrder{
		Endpoint: port(endpoint), Other: port(other),
		Canaries: []string{"/etc/passwd", "/proc/" + strconv.Itoa(os.Getpid()) + "/status"},
		Write:    filepath.Join(os.TempDir(), "sealcast-trial-"+strconv.Itoa(os.Getpid())),
	}
	f, err := s.findings(ctx, order)
	if err != nil {
		return err
	}
	if err := s.Level.promised(f); err != nil {
		return err
	}
	for _, tool := range tools {
		spec := proc.Spec{Name: filepath.Base(tool), Path: tool, Args: []string{"-version"}}
		if spec.Name == "packager" {
			spec.Args = []string{"--version"}
		}
		if res, err := proc.Run(ctx, s.Confine(spec, Allowance{})); err != nil {
			return fmt.Errorf("%w: %s", err, lastLine(res.Stderr))
		}
	}
	return nil
}

func (s *Sandbox) findings(ctx context.Context, order trialOrder) (f findings, err error) {
	for _, path := range order.Canaries {
		if _, err := os.ReadFile(path); err != nil {
			return f, fmt.Errorf("read the canary ourselves: %w", err)
		}
	}
	arg, _ := json.Marshal(order) // plain fields: cannot fail
	var out bytes.Buffer
	res, err := proc.Run(ctx, s.Confine(
		proc.Spec{Name: "trial", Path: self, Args: []string{trialArg, string(arg)}, Stdout: &out},
		Allowance{Port: order.Endpoint}))
	if err != nil {
		return f, fmt.Errorf("%w: %s", err, lastLine(res.Stderr))
	}
	if err := json.Unmarshal(out.Bytes(), &f); err != nil {
		return f, fmt.Errorf("read what the trial found: %w", err)
	}
	return f, nil
}

func port(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
