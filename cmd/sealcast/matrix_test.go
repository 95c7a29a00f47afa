//go:build matrix

package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/player/browsertest"
)

// matrix plays every output in every player.
type matrix struct {
	rig     *rig
	dir     string
	t       *testing.T
	files   map[string]string // source by title
	hashes  map[string]string
	expired map[string]string // a wrong token for each title

	mu       sync.Mutex        // guards what follows
	cells    map[string]string // "" or why not, by output and player
	tried    map[string]bool
	versions map[string]string
	frames   map[string]browsertest.Image
}

func cellName(o matrixOutput, p string) string { return o.name + " in " + p }

// TestMatrix plays what the product makes in real players and writes
// docs/players.md: make matrix.
func TestMatrix(t *testing.T) {
	r := newRig(t)
	// Players that are slow at a refusal ask often.
	r.env["KEY_LIMIT_TOKEN_PER_MINUTE"], r.env["KEY_LIMIT_CLIENT_PER_MINUTE"] = "10000", "10000"
	r.serve()
	m := &matrix{
		rig: r, t: t, files: map[string]string{}, hashes: map[string]string{}, expired: map[string]string{},
		cells: map[string]string{}, tried: map[string]bool{}, versions: map[string]string{}, dir: t.TempDir(),
		frames: map[string]browsertest.Image{},
	}
	for _, dir := range []string{m.dir, filepath.Dir(m.dir)} { // VLC runs as another user
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	m.makeTitles()
	t.Run("players", func(t *testing.T) {
		t.Run("browser, even cells", func(t *testing.T) { t.Parallel(); m.browserCells(0) })
		t.Run("browser, odd cells", func(t *testing.T) { t.Parallel(); m.browserCells(1) })
		t.Run("tools", func(t *testing.T) { t.Parallel(); m.toolCells(t) })
	})
	if os.Getenv("MATRIX_ONLY") == "" {
		m.writeDocs("../../docs/players.md")
	}
}

// wanted reports whether a cell is part of this run, and whether it is only
// tried, with the reason why it is known not to play.
func wanted(o matrixOutput, p matrixPlayer) (run, only bool) {
	why, try := p.cannot(o)
	if only := os.Getenv("MATRIX_ONLY"); only != "" && !strings.Contains(cellName(o, p.name), only) {
		return false, false
	}
	return why == "" || try, why != ""
}

func (m *matrix) makeTitles() {
	jobs := map[string]string{}
	for _, title := range matrixTitles {
		used := slices.ContainsFunc(matrixOutputs, func(o matrixOutput) bool {
			return o.title == title.name && slices.ContainsFunc(matrixPlayers, func(p matrixPlayer) bool { run, _ := wanted(o, p); return run })
		})
		if !used {
			continue
		}
		file := soundClip(m.t, title.sounds)
		hash, source := m.rig.upload(file)
		m.files[title.name], m.hashes[title.name] = file, hash
		m.expired[title.name] = m.rig.token(strings.Repeat("0", 64), time.Hour)
		jobs[title.name] = m.rig.accepted(m.rig.submit("video:transcode", hash, source, title.options))
	}
	for _, id := range jobs {
		m.rig.succeeded(id)
	}
}

// soundClip is the moving picture of clip with several sounds, of 12 s.
func soundClip(t *testing.T, sounds int) string {
	t.Helper()
	picture := clip(t, "640x360", 12)
	file := filepath.Join(t.TempDir(), "sounds.mp4")
	args := []string{"-v", "error", "-nostdin", "-i", picture}
	maps := []string{"-map", "0:v", "-map", "0:a", "-metadata:s:a:0", "language=eng"}
	for i := 1; i < sounds; i++ {
		args = append(args, "-f", "lavfi", "-i", fmt.Sprintf("sine=%d:d=12", 440+220*i))
		maps = append(maps, "-map", fmt.Sprintf("%d:a", i), fmt.Sprintf("-metadata:s:a:%d", i), "language=deu")
	}
	args = append(append(args, maps...), "-c:v", "copy", "-c:a", "aac", "-metadata", "comment="+randomHex(8), file)
	if out, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	return file
}

func (m *matrix) url(o matrixOutput) string {
	return m.rig.env["BASE_URL"] + "/stream/" + m.hashes[o.title] + "/" + o.path
}

// matrixTimes are where pictures are looked at: not in order, in all parts.
var matrixTimes = []time.Duration{1020 * time.Millisecond, 9220 * time.Millisecond, 3500 * time.Millisecond}

// browserCells plays one half of the cells of the browser's players in one
// browser: much of it is waiting for real time to go by.
func (m *matrix) browserCells(half int) {
	handler, err := browsertest.MatrixPage()
	if err != nil {
		m.t.Error(err)
		return
	}
	page := httptest.NewServer(handler)
	defer page.Close()
	var cells []browsertest.Cell
	of := map[string]matrixOutput{}
	n := 0
	for _, o := range matrixOutputs {
		for _, p := range matrixPlayers {
			run, only := wanted(o, p)
			if n++; !run || !p.browser || n%2 != half {
				continue
			}
			c := browsertest.Cell{ID: fmt.Sprintf("cell-%d", n), Engine: p.name, URL: m.url(o), Scheme: o.scheme, Past: 6.2, Only: only}
			for _, at := range matrixTimes {
				c.Times = append(c.Times, at.Seconds())
			}
			if o.scheme != "" {
				c.Token, c.Fresh, c.Wrong = m.rig.token(m.hashes[o.title], 2*time.Hour), m.rig.token(m.hashes[o.title], 3*time.Hour), m.expired[o.title]
				c.Licence = m.rig.env["BASE_URL"] + "/api/license/clearkey/" + m.hashes[o.title]
			}
			cells = append(cells, c)
			of[c.ID] = o
		}
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 40*time.Minute)
	defer cancel()
	err = browsertest.PlayCells(ctx, page.URL, m.dir, cells, func(res browsertest.CellResult) {
		o := of[res.ID]
		player := cells[slices.IndexFunc(cells, func(c browsertest.Cell) bool { return c.ID == res.ID })].Engine
		switch {
		case player == "native":
			m.version(player, "Chromium "+res.Browser)
		case res.Engine != "":
			m.version(player, strings.TrimSpace(strings.TrimPrefix(res.Engine, player)))
		}
		m.result(o, player, m.judgeCell(o, res))
	})
	if err != nil {
		m.t.Error(err)
	}
}

// judgeCell returns what was wrong with a cell, or nothing.
func (m *matrix) judgeCell(o matrixOutput, res browsertest.CellResult) error {
	var faults []error
	for _, step := range []string{"driver", "play", "sound", "switch", "seek", "refuse"} {
		if text := res.Steps[step]; text != "" {
			faults = append(faults, fmt.Errorf("%s: %s", step, text))
		}
	}
	for _, s := range res.Shots {
		faults = append(faults, m.rightPicture(o, s.File, time.Duration(s.At*float64(time.Second))))
	}
	if len(faults) == 0 && o.scheme != "" && res.KeyRequests == 0 {
		faults = append(faults, errors.New("no key request was seen"))
	}
	return errors.Join(faults...)
}

func (m *matrix) rightPicture(o matrixOutput, file string, at time.Duration) error {
	img, err := browsertest.ReadImage(file)
	if err != nil {
		return err
	}
	source := m.files[o.title]
	same := browsertest.Similar(img, m.frame(source, at))
	other := browsertest.Similar(img, m.frame(source, at-time.Second))
	if same > 0.03 || other < 0.1 {
		return fmt.Errorf("the picture at %s is %.3f from the source's, %.3f from the one a second before", at, same, other)
	}
	return nil
}

// toolCells plays all cells of the tools from Debian packages.
func (m *matrix) toolCells(t *testing.T) {
	for _, tool := range browsertest.Tools() {
		column := slices.IndexFunc(matrixPlayers, func(p matrixPlayer) bool { return p.name == tool.Name })
		p := matrixPlayers[column]
		for i, o := range matrixOutputs {
			run, only := wanted(o, p)
			if !run {
				continue
			}
			version, err := tool.Version(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m.version(p.name, version)
			times := matrixTimes
			if only {
				times = nil
			}
			played, err := tool.Play(t.Context(), m.media(o), filepath.Join(m.dir, fmt.Sprintf("%s-%d", tool.Name, i)), times)
			if err == nil {
				err = m.judgeTool(o, played)
			}
			m.result(o, p.name, err)
		}
	}
}

// media is what a tool is given: the header, and for DASH the key itself,
// which ffmpeg cannot fetch.
func (m *matrix) media(o matrixOutput) browsertest.Media {
	x := browsertest.Media{URL: m.url(o)}
	if o.scheme == "" {
		return x
	}
	hash := m.hashes[o.title]
	x.Header = "Authorization: Bearer " + m.rig.token(hash, time.Hour)
	if o.dash() {
		a := m.rig.do("GET", "/api/key/"+hash, "", x.Header)
		if a.status != 200 || len(a.body) != 16 {
			m.t.Fatalf("key: %d %s", a.status, a.code())
		}
		x.Key = fmt.Sprintf("%x", a.body)
	}
	return x
}

// judgeTool wants sound and pictures of the start that are the source's.
func (m *matrix) judgeTool(o matrixOutput, p browsertest.Played) error {
	var faults []error
	const second = 48000 * 2 // bytes of mono sound, at least
	if p.Sound < 6*second {
		faults = append(faults, fmt.Errorf("%d bytes of sound", p.Sound))
	}
	if len(p.Pictures) < 6 {
		faults = append(faults, fmt.Errorf("%d pictures, want one for each of 6 s", len(p.Pictures)))
	}
	source := m.files[o.title]
	for at, img := range p.Sought {
		same := browsertest.Similar(img, m.frame(source, at))
		near := browsertest.Similar(img, m.frame(source, at+40*time.Millisecond)) // -ss takes the next one
		other := browsertest.Similar(img, m.frame(source, at-time.Second))
		if min(same, near) > 0.03 || other < 0.1 {
			faults = append(faults, fmt.Errorf("the picture at %s is %.3f from the source's, %.3f from the one a second before", at, same, other))
		}
	}
	for i, img := range p.Pictures {
		if !m.somewhere(source, img, time.Duration(i)*p.Every, p.Every == 0) {
			faults = append(faults, fmt.Errorf("picture %d is none of the source's at its time", i))
		}
	}
	return errors.Join(faults...)
}

// somewhere looks for a picture near a time, or anywhere: tools round times.
func (m *matrix) somewhere(source string, img browsertest.Image, at time.Duration, anywhere bool) bool {
	from, to := max(0, at-time.Second), at+time.Second
	if anywhere {
		from, to = 0, 11*time.Second
	}
	for t := from; t <= to; t += 200 * time.Millisecond {
		if browsertest.Similar(img, m.frame(source, t)) < 0.04 {
			return true
		}
	}
	return false
}

// frame is the source's picture at a time; each is decoded once.
func (m *matrix) frame(source string, at time.Duration) browsertest.Image {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := fmt.Sprint(source, at)
	if m.frames[name] == nil {
		m.frames[name] = browsertest.Frame(m.t, source, at)
	}
	return m.frames[name]
}

func (m *matrix) version(player, version string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.versions[player] = version
}

// result notes a cell. One that must play and does not, or must not and does,
// fails the test.
func (m *matrix) result(o matrixOutput, player string, fault error) {
	p := matrixPlayers[slices.IndexFunc(matrixPlayers, func(p matrixPlayer) bool { return p.name == player })]
	name := cellName(o, player)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.tried[name] = true
	why, _ := p.cannot(o)
	switch {
	case why == "" && fault != nil:
		m.t.Errorf("%s: %v", name, fault)
		m.cells[name] = strings.ReplaceAll(fault.Error(), "\n", "; ")
	case why != "" && fault == nil:
		m.t.Errorf("%s plays, but the table says: %s", name, why)
	}
	if why != "" {
		m.t.Logf("%s: %v, as it is known: %s", name, fault, why)
		return
	}
	m.t.Logf("%s: played for %v", name, fault == nil)
}
