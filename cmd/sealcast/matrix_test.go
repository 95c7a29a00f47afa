//go:build matrix

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

	pictures pictures
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
		pictures: pictures{t: t},
	}
	for _, dir := range []string{m.dir, filepath.Dir(m.dir)} { // VLC runs as another user
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	m.makeTitles()
	t.Run("players", func(t *testing.T) {
		t.Run("browser", func(t *testing.T) { t.Parallel(); m.browserCells() })
		for _, tool := range browsertest.Tools() {
			t.Run(tool.Name, func(t *testing.T) { t.Parallel(); m.toolCells(t, tool) })
		}
	})
	if os.Getenv("MATRIX_ONLY") == "" {
		m.writeDocs("../../docs/players.md")
	}
}

// wanted reports whether a cell is part of this run, and whether it is only
// tried, with the reason why it is known not to play.
func wanted(o matrixOutput, p matrixPlayer) (run, only bool) {
	why, try := p.cannot(o)
	if !regexp.MustCompile(os.Getenv("MATRIX_ONLY")).MatchString(cellName(o, p.name)) {
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
		file := m.film(title)
		hash, source := m.rig.upload(file)
		m.files[title.name], m.hashes[title.name] = file, hash
		m.expired[title.name] = m.rig.token(strings.Repeat("0", 64), time.Hour)
		options := fmt.Sprintf(`{"transcode":%s,"cover":false,"preview":false,"storyboard":false,"text":%t}`, title.options, title.text)
		jobs[title.name] = m.rig.accepted(m.rig.submit("video:full", hash, source, options))
	}
	for name, id := range jobs {
		m.rig.succeeded(id)
		if name == "text" {
			m.rig.partsReady(id)
		}
	}
}

// tones are those of the film's two sounds, cues its subtitles.
var (
	tones = []float64{440, 660}
	cues  = []browsertest.Cue{{At: 1.02, Text: "first words"}, {At: 9.22, Text: "last words"}, {At: 3.5}}
)

const subtitles = "1\n00:00:00,500 --> 00:00:02,000\nfirst words\n\n2\n00:00:09,000 --> 00:00:10,000\nlast words\n"

// film is the moving picture of clip with two sounds, of 12 s.
func (m *matrix) film(title matrixTitle) string {
	m.t.Helper()
	picture, dir := clip(m.t, "640x360", 12), m.t.TempDir()
	args := []string{"-v", "error", "-nostdin", "-i", picture, "-f", "lavfi", "-i", fmt.Sprintf("sine=%f:d=12", tones[1])}
	maps := []string{
		"-map", "0:v", "-map", "0:a", "-metadata:s:a:0", "language=eng", "-map", "1:a", "-metadata:s:a:1", "language=deu",
		"-c:v", "copy", "-c:a", "aac", "-metadata", "comment=" + randomHex(8),
	}
	if title.text {
		srt := filepath.Join(dir, "film.srt")
		if err := os.WriteFile(srt, []byte(subtitles), 0o600); err != nil {
			m.t.Fatal(err)
		}
		args = append(args, "-i", srt)
		maps = append(maps, "-map", "2:s", "-c:s", "mov_text", "-metadata:s:s:0", "language=eng")
	}
	file := filepath.Join(dir, "film.mp4")
	if out, err := exec.Command("ffmpeg", append(append(args, maps...), file)...).CombinedOutput(); err != nil {
		m.t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	return file
}

func (m *matrix) url(o matrixOutput) string {
	return m.rig.env["BASE_URL"] + "/stream/" + m.hashes[o.title] + "/" + o.path
}

// matrixTimes are where pictures are looked at: not in order, in all parts.
var matrixTimes = []time.Duration{1020 * time.Millisecond, 9220 * time.Millisecond, 3500 * time.Millisecond}

// browserCells plays the cells of the browser's players, three at a time: much
// of it is waiting for real time to go by.
func (m *matrix) browserCells() {
	handler, err := browsertest.MatrixPage()
	if err != nil {
		m.t.Error(err)
		return
	}
	page := httptest.NewServer(handler)
	defer page.Close()
	var cells []browsertest.Cell
	of := map[string]int{} // row by cell
	n := 0
	for row, o := range matrixOutputs {
		for _, p := range matrixPlayers {
			run, only := wanted(o, p)
			if n++; !run || !p.browser {
				continue
			}
			c := browsertest.Cell{ID: fmt.Sprintf("cell-%d", n), Engine: p.name, URL: m.url(o), Scheme: o.scheme, Codec: o.codec, Past: 6.2, Tones: tones, Only: only}
			if o.text {
				c.Cues = cues
			}
			for _, at := range matrixTimes {
				c.Times = append(c.Times, at.Seconds())
			}
			if o.scheme != "" {
				c.Token, c.Fresh, c.Wrong = m.rig.token(m.hashes[o.title], 2*time.Hour), m.rig.token(m.hashes[o.title], 3*time.Hour), m.expired[o.title]
				c.Licence = m.rig.env["BASE_URL"] + "/api/license/clearkey/" + m.hashes[o.title]
			}
			cells = append(cells, c)
			of[c.ID] = row
		}
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 40*time.Minute)
	defer cancel()
	err = browsertest.PlayCells(ctx, page.URL, m.dir, 3, cells, func(res browsertest.CellResult) {
		o := matrixOutputs[of[res.ID]]
		c := cells[slices.IndexFunc(cells, func(c browsertest.Cell) bool { return c.ID == res.ID })]
		player := c.Engine
		switch {
		case player == "native":
			m.version(player, "Chromium "+res.Browser)
		case res.Engine != "":
			m.version(player, strings.TrimSpace(strings.TrimPrefix(res.Engine, player)))
		}
		fault := m.pictures.judge(c, m.files[o.title], res)
		if fault == nil && o.periods && res.FreshRequests == 0 {
			fault = errors.New("no key was asked for with the fresh token")
		}
		m.result(o, player, fault)
	})
	if err != nil {
		m.t.Error(err)
	}
}

// toolCells plays the cells of a tool from a Debian package.
func (m *matrix) toolCells(t *testing.T, tool browsertest.Tool) {
	p := matrixPlayers[slices.IndexFunc(matrixPlayers, func(p matrixPlayer) bool { return p.name == tool.Name })]
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
		patience, times := 90*time.Second, matrixTimes[1:] // HLS of libavformat never seeks into a clip's first segment
		if only {
			patience = 25 * time.Second
		}
		if only || p.but(o) != "" {
			times = nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		played, err := tool.Play(ctx, m.media(o), filepath.Join(m.dir, fmt.Sprintf("%s-%d", tool.Name, i)), times)
		cancel()
		if err == nil {
			err = m.judgeTool(o, played)
		}
		m.result(o, p.name, err)
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
	for i, s := range p.Sounds {
		if s.Length < 6*time.Second || math.Abs(s.Hertz-tones[i]) > 10 {
			faults = append(faults, fmt.Errorf("audio track %d: %s of %.0f Hz", i+1, s.Length, s.Hertz))
		}
	}
	if len(p.Sounds) == 0 {
		faults = append(faults, errors.New("no sound"))
	}
	if len(p.Pictures) < 6 {
		faults = append(faults, fmt.Errorf("%d pictures, want one for each of 6 s", len(p.Pictures)))
	}
	source := m.files[o.title]
	for at, img := range p.Sought {
		same := browsertest.Similar(img, m.pictures.at(source, at))
		near := browsertest.Similar(img, m.pictures.at(source, at+40*time.Millisecond)) // -ss takes the next one
		other := browsertest.Similar(img, m.pictures.at(source, at-time.Second))
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
		if browsertest.Similar(img, m.pictures.at(source, t)) < 0.04 {
			return true
		}
	}
	return false
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
