package pipeline

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"github.com/Eyevinn/mp4ff/mp4"
)

// lastRow is the row of segments that is due to be the last one. They come when
// the encoder has ended, so each output's is checked at once, while its packager
// still writes playlists and manifest, and by a decoder that was loaded before.
// Sound may last a little longer than the pictures: what comes behind the row is
// checked by itself.
type lastRow struct {
	number int
	rows   map[string]*outputRow
	with   []segmentInit // what fMP4 was opened with
}

// outputRow is the last row of one output.
type outputRow struct {
	tracks  []track            // in the order of the decoder's inputs
	waiting map[track]*segment // durable, but the row is not all there yet
	load    sync.Once
	decoder *decoder // loaded and not used yet
}

type segmentInit struct {
	seg  *segment
	init []byte
}

func newLastRow(number int, outputs []string, rs []*rendition) lastRow {
	last := lastRow{number: number, rows: map[string]*outputRow{}}
	for _, output := range outputs {
		row := &outputRow{waiting: map[track]*segment{}}
		for _, r := range carried(output, rs) {
			row.tracks = append(row.tracks, track{output, r.Name})
		}
		last.rows[output] = row
	}
	return last
}

// complete takes a segment of the row, and returns the row when that was all.
func (r *outputRow) complete(seg *segment) (row []*segment) {
	r.waiting[track{seg.Output, seg.Track}] = seg
	if len(r.waiting) < len(r.tracks) {
		return nil
	}
	for _, t := range r.tracks {
		row = append(row, r.waiting[t])
	}
	return row
}

// loadBefore is how many segments before the last one the decoders of the last
// row are loaded: what an encoder has looked ahead at, but not written, may be
// longer than a segment.
const loadBefore = 2

// durableLast is told of each durable segment. Its caller holds no lock.
func (g *gate) durableLast(ctx context.Context, seg *segment) {
	n := g.last.number
	if n < 2 || seg.Number < n-loadBefore || seg.Number > n+1 {
		return // too early, or without init segments yet, or not as planned: verify picks it
	}
	row := g.last.rows[seg.Output]
	if row == nil || !slices.Contains(row.tracks, track{seg.Output, seg.Track}) {
		return // nobody asked for it: verify refuses it
	}
	if seg.Number <= n {
		row.load.Do(func() { g.loadLast(ctx, row) })
	}
	if seg.Number >= n {
		g.checkLast(ctx, row, seg)
	}
}

// loadLast starts the decoder of an output's last row before there is something
// to decode.
func (g *gate) loadLast(ctx context.Context, row *outputRow) {
	d, err := g.a.startDecoder(ctx, row.tracks, 0)
	if err != nil {
		g.abort(err)
		return
	}
	g.mu.Lock()
	row.decoder = d
	g.mu.Unlock()
}

// checkLast checks the last row of an output when it is all there, or what
// comes behind it.
func (g *gate) checkLast(ctx context.Context, row *outputRow, seg *segment) {
	g.mu.Lock()
	defer g.mu.Unlock()
	segs := []*segment{seg}
	if seg.Number == g.last.number {
		if segs = row.complete(seg); segs == nil {
			return
		}
	}
	with, ok := g.initsOf(segs)
	if !ok {
		return
	}
	g.last.with = append(g.last.with, with...)
	for _, s := range segs {
		g.picked[s.Object.Name] = true
	}
	check := func() error { return g.a.checkSegments(ctx, segs, 0) }
	if d := row.decoder; d != nil && seg.Number == g.last.number {
		row.decoder = nil
		check = func() error { return g.a.checkWith(ctx, d, segs) }
	}
	g.checks.Go(func() {
		if err := check(); err != nil {
			g.abort(err)
		}
	})
}

// initsOf returns what the segments in fMP4 are opened with; it is not ok when
// one has no init segment yet.
func (g *gate) initsOf(segs []*segment) (with []segmentInit, ok bool) {
	for _, s := range segs {
		if formats[s.Output].container != containerMP4 {
			continue
		}
		init, ok := g.a.sink.doc(trackDir(s.Output, s.Track) + "/init.mp4")
		if !ok {
			return nil, false
		}
		with = append(with, segmentInit{s, init})
	}
	return with, true
}

// leaveLast ends decoders that were loaded for a last row which did not come.
func (g *gate) leaveLast() {
	for _, row := range g.last.rows {
		g.mu.Lock()
		d := row.decoder
		row.decoder = nil
		g.mu.Unlock()
		if d != nil {
			d.abandon()
		}
	}
}

// forgetOtherInits has the last segments checked again whose init segment has
// become another one. The packager writes init segments twice: the second ones
// know durations and a later time of day, which decoders do not need.
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
// 8.4.2, 8.8.2; 8.8.3 for a sample where its fragment does not say).
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
			for _, trex := range mvex.Trexs {
				trex.DefaultSampleDuration = 0
			}
			mvex.Children = slices.DeleteFunc(mvex.Children, func(b mp4.Box) bool { return b.Type() == "mehd" })
		}
		if err := moov.Encode(&plain[i]); err != nil {
			return false, err
		}
	}
	return bytes.Equal(plain[0].Bytes(), plain[1].Bytes()), nil
}
