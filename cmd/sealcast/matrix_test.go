//go:build matrix

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	another map[string]string // another title's token, for each title
	expired map[string]string // one that has ended
	minted  atomic.Int64

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
		rig: r, t: t, files: map[string]string{}, hashes: map[string]string{}, another: map[string]string{}, expired: map[string]string{},
		cells: map[string]string{}, tried: map[string]bool{}, versions: map[string]string{}, dir: t.TempDir(),
		pictures: pictures{t: t, limit: 0.06}, // there is noise in the films
	}
	for _, dir := range []string{m.dir, filepath.Dir(m.dir)} { // VLC runs as another user
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	m.makeTitles()
	tools := browsertest.Tools()
	t.Run("players", func(t *testing.T) {
		t.Run("browser", func(t *testing.T) { t.Parallel(); m.browserCells() })
		for _, tool := range tools {
			if !tool.Alone {
				t.Run(tool.Name, func(t *testing.T) { t.Parallel(); m.toolCells(t, tool) })
			}
		}
	})
	for _, tool := range tools {
		if tool.Alone {
			t.Run(tool.Name, func(t *testing.T) { m.toolCells(t, tool) })
		}
	}
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
		m.rig.playbackKey("pk-"+title.name, hash, true)
		m.another[title.name], m.expired[title.name] = m.rig.token(strings.Repeat("0", 64), time.Hour), m.rig.token(hash, time.Second)
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

const filmLength = 26 * time.Second

// best and least are the heights of the renditions.
const best, least = 360, 240

// tones are those of the film's two sounds, cues its subtitles.
var (
	tones = []float64{440, 660}
	cues  = []browsertest.Cue{{At: 1.02, Text: "first words"}, {At: 9.22, Text: "last words"}, {At: 3.5}}
)

const subtitles = "1\n00:00:00,500 --> 00:00:02,000\nfirst words\n\n2\n00:00:09,100 --> 00:00:11,500\nlast words\n"

// film is the moving picture of clip with two sounds. There is noise in it, so
// that a better rendition has more bits than a lesser one, and it is as long as
// VLC needs to go up and down.
func (m *matrix) film(title matrixTitle) string {
	m.t.Helper()
	length := int(filmLength.Seconds())
	picture, dir := clip(m.t, "640x360", length), m.t.TempDir()
	args := []string{"-v", "error", "-nostdin", "-i", picture, "-f", "lavfi", "-i", fmt.Sprintf("sine=%f:d=%d", tones[1], length)}
	maps := []string{
		"-map", "0:v", "-map", "0:a", "-metadata:s:a:0", "language=eng", "-map", "1:a", "-metadata:s:a:1", "language=deu",
		"-vf", "noise=alls=16:allf=t", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac", "-metadata", "comment=" + randomHex(8),
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

// token is one of its own, so that its end is no other's.
func (m *matrix) token(o matrixOutput) string {
	return m.rig.token(m.hashes[o.title], 2*time.Hour+time.Duration(m.minted.Add(1))*time.Second)
}

// url is where a player finds the output; with a token it stands in the path.
func (m *matrix) url(o matrixOutput, tok string) string {
	if tok == "" {
		return m.rig.env["BASE_URL"] + "/stream/" + m.hashes[o.title] + "/" + o.path
	}
	path := o.path
	if path == "master.m3u8" { // there the name is that of the output for every player
		path = "cmaf/master.m3u8"
	}
	return m.rig.env["BASE_URL"] + "/v1/p/pk-" + o.title + "/t/" + tok + "/" + path
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
	rows, engines := map[string]matrixOutput{}, map[string]matrixPlayer{} // by cell
	for row, o := range matrixOutputs {
		for column, p := range matrixPlayers {
			if run, _ := wanted(o, p); run && p.browser {
				id := fmt.Sprintf("cell-%d-%d", row, column)
				rows[id], engines[id] = o, p
			}
		}
	}
	ctx, cancel := context.WithTimeout(m.t.Context(), 40*time.Minute)
	defer cancel()
	site := browsertest.Site{Page: page.URL, Revocations: m.rig.env["BASE_URL"] + "/api/revocations", APIKey: m.rig.env["API_KEY"]}
	faults := map[string]error{}
	play := func(lanes int, ids []string) {
		if len(ids) == 0 {
			return
		}
		var cells []browsertest.Cell
		for _, id := range ids {
			c := m.cell(id, rows[id], engines[id])
			if c.Engine == "native" && !c.Only {
				ends := m.ends(rows[id])
				ends.Segments = 3 // with the init segment
				server, behind, err := browsertest.NewThrottle(c.URL, ends)
				if err != nil {
					m.t.Error(err)
					return
				}
				defer server.Close()
				c.Slow = behind(c.URL)
			}
			cells = append(cells, c)
		}
		if err := browsertest.PlayCells(ctx, site, m.dir, lanes, cells, func(res browsertest.CellResult) {
			i := slices.IndexFunc(cells, func(c browsertest.Cell) bool { return c.ID == res.ID })
			faults[res.ID] = m.judgeCell(rows[res.ID], cells[i], res)
		}); err != nil {
			m.t.Error(err)
		}
	}
	play(3, slices.Sorted(maps.Keys(rows)))
	var again []string
	for id, fault := range faults {
		if why, _ := engines[id].cannot(rows[id]); why == "" && fault != nil {
			m.t.Logf("%s, beside others: %v", cellName(rows[id], engines[id].name), fault)
			again = append(again, id)
		}
	}
	play(1, again)
	for id, fault := range faults {
		m.result(rows[id], engines[id].name, fault)
	}
}

// judgeCell returns what was wrong with a cell of the browser.
func (m *matrix) judgeCell(o matrixOutput, c browsertest.Cell, res browsertest.CellResult) error {
	switch {
	case c.Engine == "native":
		m.version(c.Engine, "Chromium "+res.Browser)
	case res.Engine != "":
		m.version(c.Engine, strings.TrimSpace(strings.TrimPrefix(res.Engine, c.Engine)))
	}
	fault := m.pictures.judge(c, m.files[o.title], res)
	if fault == nil && o.periods && res.FreshRequests == 0 {
		fault = errors.New("no key was asked for with the fresh token, after the end of the first one")
	}
	return fault
}

// cell is one of the browser.
func (m *matrix) cell(id string, o matrixOutput, p matrixPlayer) browsertest.Cell {
	_, only := wanted(o, p)
	c := browsertest.Cell{ID: id, Engine: p.name, URL: m.url(o, ""), Scheme: o.scheme, Codec: o.codec, Past: 6.2, Tones: tones, Only: only}
	if o.text {
		c.Cues = cues
	}
	for _, at := range matrixTimes {
		c.Times = append(c.Times, at.Seconds())
	}
	if o.scheme == "" {
		return c
	}
	base, hash := m.rig.env["BASE_URL"], m.hashes[o.title]
	c.Token, c.Fresh, c.Wrong = m.token(o), m.token(o), m.another[o.title]
	c.Licence, c.Probe = base+"/api/license/clearkey/"+hash, base+"/api/key/"+hash
	if o.inPath(p) {
		c.InPath, c.Wrong, c.URL = true, m.expired[o.title], m.url(o, c.Token)
		folder, _, _ := strings.Cut(c.URL, c.Token)
		c.Licence, c.Probe = folder+c.Token+"/license", folder+c.Token+"/key"
	}
	return c
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
		dir := filepath.Join(m.dir, fmt.Sprintf("%s-%d", tool.Name, i))
		fault := m.toolCell(t.Context(), o, p, tool, only, dir)
		if !only && fault != nil {
			m.t.Logf("%s, for the first time: %v", cellName(o, p.name), fault)
			fault = m.toolCell(t.Context(), o, p, tool, only, dir+"-again")
		}
		m.result(o, p.name, fault)
	}
}

func (m *matrix) toolCell(ctx context.Context, o matrixOutput, p matrixPlayer, tool browsertest.Tool, only bool, dir string) error {
	patience, times := 3*time.Minute, tool.Seeks
	if only {
		patience = 25 * time.Second
	}
	if only && !o.text || p.but(o) != "" {
		times = nil
	}
	playing, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	played, err := tool.Play(playing, m.media(o, p, m.token(o)), dir, times)
	if err == nil {
		err = m.judgeTool(o, tool, played)
	}
	if err == nil && !only {
		err = m.watch(playing, o, p, tool, dir+"-watched")
	}
	if err != nil || only || !o.needsToken(p) {
		return err
	}
	asking, stop := context.WithTimeout(ctx, time.Minute) // what is decoded with a wrong key costs time
	defer stop()
	shown, err := tool.Refused(asking, m.refused(o, p), dir+"-refused")
	for _, img := range shown {
		if !p.garbles || !o.samples() || m.somewhere(m.files[o.title], img, 0, true) {
			return fmt.Errorf("%d pictures with a wrong token", len(shown))
		}
	}
	return err
}

// media is what a tool is given: the token, and for DASH the key itself, which
// ffmpeg cannot fetch.
func (m *matrix) media(o matrixOutput, p matrixPlayer, tok string) browsertest.Media {
	x := browsertest.Media{URL: m.url(o, ""), Text: o.text, Ends: m.ends(o)}
	if o.scheme == "" {
		return x
	}
	header := "Authorization: Bearer " + tok
	if o.inPath(p) {
		x.URL = m.url(o, tok)
	} else {
		x.Header = header
	}
	if o.dash() {
		a := m.rig.do("GET", "/api/key/"+m.hashes[o.title], "", header)
		if a.status != 200 || len(a.body) != 16 {
			m.t.Fatalf("key: %d %s", a.status, a.code())
		}
		x.Key = fmt.Sprintf("%x", a.body)
	}
	return x
}

// refused is the same with a token that must be refused.
func (m *matrix) refused(o matrixOutput, p matrixPlayer) browsertest.Media {
	if o.inPath(p) {
		return browsertest.Media{URL: m.url(o, m.expired[o.title])}
	}
	return browsertest.Media{URL: m.url(o, ""), Header: "Authorization: Bearer " + m.another[o.title]}
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
	case why != "" && why != unsteady && fault == nil:
		m.t.Errorf("%s plays, but the table says: %s", name, why)
	}
	if why != "" {
		m.t.Logf("%s: %v, as it is known: %s", name, fault, why)
		return
	}
	m.t.Logf("%s: played for %v", name, fault == nil)
}
