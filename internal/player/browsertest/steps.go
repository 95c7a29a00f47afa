package browsertest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Step is one step of a walk through pages; see internal/player/browser/steps.mjs.
type Step struct {
	Name   string    `json:"name"`
	Fresh  bool      `json:"fresh,omitempty"` // in a tab of its own: no storage, no cookies
	Init   string    `json:"init,omitempty"`  // of that tab: a script that runs before the page's own
	Goto   string    `json:"goto,omitempty"`
	Fill   [2]string `json:"-"` // selector, text
	Select [2]string `json:"-"` // selector, value
	Click  string    `json:"click,omitempty"`
	Hover  string    `json:"-"` // selector
	At     float64   `json:"-"` // of its width, 0 to 1
	Until  string    `json:"until,omitempty"`
	Value  string    `json:"value,omitempty"`
	Shot   bool      `json:"shot,omitempty"`
}

// MarshalJSON writes the step as the script takes it.
func (s Step) MarshalJSON() ([]byte, error) {
	type plain Step
	out := struct {
		plain
		Fill   []string `json:"fill,omitempty"`
		Select []string `json:"select,omitempty"`
		Hover  []any    `json:"hover,omitempty"`
	}{plain: plain(s)}
	if s.Fill[0] != "" {
		out.Fill = s.Fill[:]
	}
	if s.Select[0] != "" {
		out.Select = s.Select[:]
	}
	if s.Hover != "" {
		out.Hover = []any{s.Hover, s.At}
	}
	return json.Marshal(out)
}

// Walked is what a walk has seen.
type Walked struct {
	Values   map[string]json.RawMessage // by step
	Console  map[string][]string        // errors and warnings, by step
	Requests []Request                  // Case is the step
	Dir      string                     // of the pictures
}

// Walk goes through pages in a real Chromium and fails the test if a step does
// not come to its end. Pictures are left in dir; empty: a folder that ends with
// the test.
func Walk(t testing.TB, dir string, within time.Duration, steps []Step) Walked {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	path, err := script()
	if err != nil {
		t.Fatal(err)
	}
	plan, err := json.Marshal(map[string]any{"dir": dir, "seconds": within.Seconds(), "steps": steps})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), within+15*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", filepath.Join(filepath.Dir(path), "steps.mjs"))
	cmd.Stdin = bytes.NewReader(plan)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	runErr := cmd.Run()
	w := Walked{Values: map[string]json.RawMessage{}, Console: map[string][]string{}, Dir: dir}
	if err := w.read(&stdout); err != nil || runErr != nil {
		t.Fatalf("walk: %v, %v\nconsole: %q\nstderr: %s", err, runErr, w.Console, stderr.Bytes())
	}
	return w
}

func (w *Walked) read(out *bytes.Buffer) error {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	done := false
	for lines.Scan() {
		var e struct {
			Event, Name, Text, URL, Method, Referer string
			Authorized                              bool
			Value                                   json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return fmt.Errorf("event %q: %w", lines.Bytes(), err)
		}
		switch e.Event {
		case "value":
			w.Values[e.Name] = e.Value
		case "console":
			w.Console[e.Name] = append(w.Console[e.Name], e.Text)
		case "request":
			w.Requests = append(w.Requests, Request{e.Name, e.URL, e.Method, e.Authorized, e.Referer})
		case "fail":
			return fmt.Errorf("step %s: %s", e.Name, e.Text)
		case "done":
			done = true
		}
	}
	if !done {
		return errors.New("steps.mjs ended too early")
	}
	return lines.Err()
}
