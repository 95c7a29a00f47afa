//go:build matrix

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sealcast/sealcast/internal/player/browsertest"
)

// ends are the best and the least rendition of an output, by its HLS playlist.
func (m *matrix) ends(o matrixOutput) browsertest.Ends {
	list := strings.Replace(o.path, "manifest.mpd", "master.m3u8", 1)
	a := m.rig.do("GET", "/stream/"+m.hashes[o.title]+"/"+list, "")
	ends := browsertest.Ends{Best: best, Least: least, Segments: 4}
	for _, x := range regexp.MustCompile(`(?m)^#EXT-X-STREAM-INF:BANDWIDTH=(\d+),.*RESOLUTION=\d+x(\d+)`).FindAllStringSubmatch(string(a.body), -1) {
		if x[2] == strconv.Itoa(best) && ends.Bits == 0 {
			ends.Bits, _ = strconv.Atoi(x[1])
		}
	}
	if ends.Bits == 0 {
		m.t.Errorf("%s: no rendition of %d lines: %d %s", o.name, best, a.status, a.body)
	}
	return ends
}

// watch wants a tool to go to another rendition and back, and on with a fresh
// token after the end of the first one. To one that cannot seek both are closed.
func (m *matrix) watch(ctx context.Context, o matrixOutput, p matrixPlayer, tool browsertest.Tool, dir string) error {
	tok := m.token(o)
	var renew browsertest.Renew
	if o.needsToken(p) {
		renew = func(ctx context.Context) (browsertest.Media, error) {
			if err := m.end(ctx, o, p, tok); err != nil {
				return browsertest.Media{}, err
			}
			return m.media(o, p, m.token(o)), nil
		}
	}
	views, err := tool.Watch(ctx, m.media(o, p, tok), renew, dir)
	if err == nil {
		m.t.Logf("%s: seen %s", cellName(o, p.name), browsertest.Phases(views))
		err = m.judgeViews(o, tool, views, renew != nil)
	}
	if why := p.but(o); why != "" {
		if err == nil || !errors.Is(err, browsertest.ErrChange) {
			return fmt.Errorf("other renditions: %w, but the table says: %s", cmp.Or(err, errors.New("it goes there")), why)
		}
		m.t.Logf("%s: %v, as it is known: %s", cellName(o, p.name), err, why)
		return nil
	}
	return err
}

// end revokes a token and waits until it is refused.
func (m *matrix) end(ctx context.Context, o matrixOutput, p matrixPlayer, tok string) error {
	if a := m.rig.do("POST", "/api/revocations", fmt.Sprintf(`{"kind":"token","value":%q}`, tok), "Content-Type: application/json", "X-API-Key: "+m.rig.env["API_KEY"]); a.status/100 != 2 {
		return fmt.Errorf("revoke: %d %s", a.status, a.code())
	}
	path, header := "/api/key/"+m.hashes[o.title], "Authorization: Bearer "+tok
	if o.inPath(p) {
		path, header = "/v1/p/pk-"+o.title+"/t/"+tok+"/key", "Accept: */*"
	}
	for ctx.Err() == nil {
		switch a := m.rig.do("GET", path, "", header); a.status {
		case http.StatusUnauthorized, http.StatusForbidden:
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return errors.New("a revoked token is still good")
}

// judgeViews wants the source's pictures as time goes by, in two sizes, one after
// the other and back, and more of them with the fresh token.
func (m *matrix) judgeViews(o matrixOutput, tool browsertest.Tool, views []browsertest.View, renewed bool) error {
	const slack = 1500 * time.Millisecond // a viewer may wait for that long
	var faults []error
	var heights []int
	var last browsertest.View // At is the time of its picture
	fresh := 0
	for i, v := range views {
		if h := v.Image.Bounds().Dy(); i == 0 || h != heights[len(heights)-1] && !v.Fresh {
			heights = append(heights, h)
		}
		if v.Fresh {
			fresh++
		}
		at, err := m.sought(m.files[o.title], v.Image, v.At-tool.Early, v.At+tool.Late)
		switch {
		case err != nil || i == 0 || v.Fresh != last.Fresh:
		case at < last.At:
			err = fmt.Errorf("the picture of %s comes after that of %s", at, last.At)
		case v.Wall.IsZero():
		case (at - last.At - v.Wall.Sub(last.Wall)).Abs() > slack:
			err = fmt.Errorf("from %s to %s within %s", last.At, at, v.Wall.Sub(last.Wall))
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("view %d, height %d, at %s: %w", i, v.Image.Bounds().Dy(), v.At, err))
		}
		last, last.At = v, at
	}
	if len(heights) != 3 || heights[0] != heights[2] || min(heights[0], heights[1]) != least || max(heights[0], heights[1]) != best {
		faults = append(faults, fmt.Errorf("seen %s", browsertest.Phases(views)))
	}
	if renewed && fresh < browsertest.GoOnViews {
		faults = append(faults, fmt.Errorf("%d pictures with a fresh token", fresh))
	}
	return errors.Join(faults...)
}
