package pipeline

import (
	"bytes"
	"context"
	"slices"

	"github.com/Eyevinn/mp4ff/mp4"
)

// lastRow is the row of segments that is due to be the last one. They come when
// the encoder has ended, so each output's is checked at once, while its packager
// still writes playlists and manifest. Sound may last a little longer than the
// pictures: what comes behind the row is checked by itself.
type lastRow struct {
	number  int
	waiting map[string][]*segment // by output
	with    []segmentInit         // what fMP4 was opened with
}

type segmentInit struct {
	seg  *segment
	init []byte
}

// durableLast is told of each durable segment of the last row's number, or a
// higher one. Its caller holds no lock.
func (g *gate) durableLast(ctx context.Context, seg *segment) {
	if seg.Number > g.last.number+1 {
		return // this is not how it was planned; verify knows which is the last
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	row := []*segment{seg}
	if seg.Number == g.last.number {
		g.last.waiting[seg.Output] = append(g.last.waiting[seg.Output], seg)
		if row = g.last.waiting[seg.Output]; len(row) < len(carried(seg.Output, g.rs)) {
			return
		}
	}
	if formats[seg.Output].container == containerMP4 {
		var with []segmentInit
		for _, s := range row {
			init, ok := g.a.sink.doc(trackDir(s.Output, s.Track) + "/init.mp4")
			if !ok {
				return // the film has one segment; verify picks it
			}
			with = append(with, segmentInit{s, init})
		}
		g.last.with = append(g.last.with, with...)
	}
	for _, s := range row {
		g.picked[s.Object.Name] = true
	}
	g.checks.Go(func() {
		if err := g.a.checkSegments(ctx, row, 0); err != nil {
			g.abort(err)
		}
	})
}

// forgetOtherInits has the last segments checked again whose init segment has
// become another one. The packager writes init segments twice: the second ones
// know the duration and a later time of day, which decoders do not need.
func (g *gate) forgetOtherInits() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.last.with {
		final, _ := g.a.sink.doc(trackDir(w.seg.Output, w.seg.Track) + "/init.mp4")
		same, err := sameButTimes(w.init, final)
		if err != nil {
			return err
		}
		if !same {
			delete(g.picked, w.seg.Object.Name)
		}
	}
	return nil
}

// sameButTimes reports whether two init segments say the same, but for how long
// everything lasts and when it was written (ISO/IEC 14496-12, 8.2.2, 8.3.2,
// 8.4.2, 8.8.2).
func sameButTimes(a, b []byte) (bool, error) {
	var plain [2]bytes.Buffer
	for i, init := range [][]byte{a, b} {
		moov, err := parseInit(init)
		if err != nil {
			return false, err
		}
		movie, track, media := moov.Mvhd, moov.Trak.Tkhd, moov.Trak.Mdia.Mdhd
		movie.Duration, track.Duration, media.Duration = 0, 0, 0
		movie.CreationTime, track.CreationTime, media.CreationTime = 0, 0, 0
		movie.ModificationTime, track.ModificationTime, media.ModificationTime = 0, 0, 0
		if mvex := moov.Mvex; mvex != nil {
			mvex.Children = slices.DeleteFunc(mvex.Children, func(b mp4.Box) bool { return b.Type() == "mehd" })
		}
		if err := moov.Encode(&plain[i]); err != nil {
			return false, err
		}
	}
	return bytes.Equal(plain[0].Bytes(), plain[1].Bytes()), nil
}
