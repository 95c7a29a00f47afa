package browsertest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Cell is one output in one player of the browser.
type Cell struct {
	ID      string    `json:"id"`
	Engine  string    `json:"engine"` // "hls.js", "Shaka Player", "dash.js", "video.js", "native"
	URL     string    `json:"url"`
	Token   string    `json:"token"`
	Fresh   string    `json:"fresh"`  // replaces Token, which is then revoked, once it has played
	Wrong   string    `json:"wrong"`  // must be refused; empty: the output is clear
	InPath  bool      `json:"inPath"` // the token stands in URL, Licence and Probe, and is sent in no header
	Probe   string    `json:"probe"`  // answers 401 or 403 when the token has ended
	Scheme  string    `json:"scheme"`
	Licence string    `json:"licence"` // of the Clear Key server
	Codec   string    `json:"codec"`   // the beginning of the one to play; empty: what the player takes
	Past    float64   `json:"past"`    // seconds to play
	Times   []float64 `json:"times"`   // to seek to, in seconds
	Tones   []float64 `json:"tones"`   // of the audio tracks, in hertz
	Cues    []Cue     `json:"cues"`    // of the first text track; none: it is not shown
	Only    bool      `json:"only"`    // just try to play: it is known not to
	Slow    string    `json:"slow"`    // URL behind NewThrottle, for a player that chooses renditions by itself; or empty
}

// Cue is the text that must be on the picture at a time; it may be empty.
type Cue struct {
	At   float64 `json:"at"`
	Text string  `json:"text"`
}

// CellResult is what became of a cell.
type CellResult struct {
	ID          string            `json:"id"`
	Browser     string            `json:"browser"`
	Engine      string            `json:"engine"`
	Steps       map[string]string `json:"steps"` // play, sound, codec, switch, seek, text, refuse: what went wrong, or empty
	Shots       []CellShot        `json:"shots"`
	Texts       []CellShot        `json:"texts"` // one for each of Cell.Cues
	KeyRequests int               `json:"keyRequests"`
	// FreshRequests are those after Cell.Token was refused.
	FreshRequests int      `json:"freshRequests"`
	Authorized    []string `json:"authorized"` // what got a token
	Refusal       string   `json:"refusal"`    // the player's error for the wrong token
}

// Steps are what a cell does, in order.
var Steps = []string{"driver", "play", "sound", "codec", "switch", "seek", "text", "refuse"}

// CellShot is the picture at a time.
type CellShot struct {
	At   float64 `json:"at"`
	File string  `json:"file"`
}

// libraries are the players that npm brings, by the name that the page asks for.
var libraries = map[string]string{
	"/lib/hls.js":         "node_modules/hls.js/dist/hls.min.js",
	"/lib/shaka.js":       "node_modules/shaka-player/dist/shaka-player.compiled.js",
	"/lib/dash.js":        "node_modules/dashjs/dist/modern/umd/dash.all.min.js",
	"/lib/video.js":       "node_modules/video.js/dist/video.min.js",
	"/lib/video-js.css":   "node_modules/video.js/dist/video-js.min.css",
	"/lib/videojs-eme.js": "node_modules/videojs-contrib-eme/dist/videojs-contrib-eme.min.js",
	"/hls-clearkey.js":    "page/hls-clearkey.js",
	"/matrix.html":        "browser/matrix.html",
	"/matrix-page.js":     "browser/matrix-page.js",
}

// MatrixPage serves the page of the matrix and its players.
func MatrixPage() (http.Handler, error) {
	path, err := script()
	if err != nil {
		return nil, err
	}
	root := filepath.Dir(filepath.Dir(path))
	mux := http.NewServeMux()
	for name, file := range libraries {
		mux.HandleFunc("GET "+name, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, filepath.Join(root, file)) })
	}
	return mux, nil
}

// Site is where cells are played.
type Site struct {
	Page        string `json:"page"`        // of MatrixPage
	Revocations string `json:"revocations"` // the API's route
	APIKey      string `json:"apiKey"`
}

// PlayCells plays cells in one browser, lanes of them at a time, and gives each
// result to done as soon as it is there. Pictures go to dir.
func PlayCells(ctx context.Context, site Site, dir string, lanes int, cells []Cell, done func(CellResult)) error {
	path, err := script()
	if err != nil {
		return err
	}
	plan, err := json.Marshal(map[string]any{"site": site, "dir": dir, "lanes": lanes, "cells": cells})
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "node", filepath.Join(filepath.Dir(path), "matrix.mjs"))
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(plan), &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start node: %w", err)
	}
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	n := 0
	var bad error
	for lines.Scan() {
		var r CellResult
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			bad = fmt.Errorf("line %q: %w", lines.Bytes(), err)
			continue
		}
		n++
		done(r)
	}
	err = errors.Join(bad, lines.Err(), cmd.Wait())
	if err == nil && n != len(cells) {
		err = fmt.Errorf("%d of %d cells were played", n, len(cells))
	}
	if err != nil {
		return fmt.Errorf("matrix.mjs: %w\n%s", err, stderr.Bytes())
	}
	return nil
}
