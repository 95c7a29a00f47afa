// Package browsertest plays a title on the player page in a real headless
// Chromium and reports what was seen. For tests only. It needs node, a
// Chromium (CHROMIUM, or /usr/bin/chromium) and the npm packages of
// internal/player ("make deps"); what is missing fails the test.
package browsertest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	_ "image/png" // the browser's pictures
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Config says what to play and what must be refused.
type Config struct {
	PageURL string // origin of the player page, without a slash at the end
	APIURL  string // BASE_URL
	Hash    string
	Output  string // "ts" or "cmaf"
	Token   string // a good token

	// Refused are tokens that must not play, by the name of the case; "" sends none.
	Refused map[string]string
	// Past is how far to play from the start, in real time. Default 6 s.
	Past time.Duration
	// Times are where to seek to and take a picture.
	Times []time.Duration
	// Deadline of the whole run. Default 3 min.
	Deadline time.Duration
	// KeepDir receives the pictures; empty: a folder that ends with the test.
	KeepDir string
}

// Result is what the browser showed.
type Result struct {
	Browser string        // Chromium's version
	Engine  string        // "hls.js 1.7.4", "Shaka Player v5.2.12"
	Levels  []Level       // entries of the quality menu, best first
	Reached time.Duration // where playing from the start had got to
	Frames  int           // pictures shown until then
	// Qualities are the heights that came on screen after a choice in the menu.
	Qualities []int
	Shots     []Shot             // one for each of Config.Times
	Refusals  map[string]Refusal // one for each of Config.Refused
	Requests  []Request          // everything that the page asked for, in order
	Console   []string           // the console's errors and warnings while playing with the good token
}

// Level is one entry of the quality menu.
type Level struct {
	Label  string `json:"label"`
	Height int    `json:"height"`
}

// Shot is the picture at one time.
type Shot struct {
	At    time.Duration
	Image image.Image
}

// Refusal is what a bad token led to.
type Refusal struct {
	Code        string        // the problem's code
	Text        string        // the text that the page shows
	CurrentTime time.Duration // 0: nothing was played
	ReadyState  int           // of the video element; 0: it has nothing
	Frames      int           // pictures shown
	Image       image.Image   // the video element
}

// Request is one request of the page.
type Request struct {
	Case       string // "play", or the name of the refused token
	URL        string
	Method     string
	Authorized bool // it carried an Authorization header
	Referer    string
}

// Play runs the browser and fails the test if the good token does not play, if
// a refused one shows no error, or if the deadline passes.
func Play(t testing.TB, c Config) Result {
	t.Helper()
	if c.KeepDir == "" {
		c.KeepDir = t.TempDir()
	}
	if c.Past == 0 {
		c.Past = 6 * time.Second
	}
	if c.Deadline == 0 {
		c.Deadline = 3 * time.Minute
	}
	res, err := play(t.Context(), c)
	if err != nil {
		t.Fatalf("browser, output %s: %v", c.Output, err)
	}
	return res
}

// script finds drive.mjs from the folder of the running test upwards.
func script() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod above the working folder")
		}
		dir = up
	}
	root := filepath.Join(dir, "internal", "player")
	if _, err := os.Stat(filepath.Join(root, "node_modules", "playwright-core")); err != nil {
		return "", errors.New("playwright-core is not installed: run make deps")
	}
	return filepath.Join(root, "browser", "drive.mjs"), nil
}

func play(ctx context.Context, c Config) (Result, error) {
	path, err := script()
	if err != nil {
		return Result{}, err
	}
	plan, err := json.Marshal(newPlan(c))
	if err != nil {
		return Result{}, err
	}
	// The script keeps the deadline itself and closes the browser; this one is
	// for a script that hangs.
	ctx, cancel := context.WithTimeout(ctx, c.Deadline+15*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", path)
	cmd.Stdin = bytes.NewReader(plan)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return Result{}, err
	}
	if err := cmd.Start(); err != nil {
		return Result{}, fmt.Errorf("start node: %w", err)
	}
	res, eventErr := collect(bufio.NewScanner(stdout))
	waitErr := cmd.Wait()
	if eventErr != nil {
		return res, fmt.Errorf("%w\nconsole: %q\nstderr: %s", eventErr, res.Console, stderr.Bytes())
	}
	if waitErr != nil {
		return res, fmt.Errorf("drive.mjs: %w\nstderr: %s", waitErr, stderr.Bytes())
	}
	return res, nil
}
