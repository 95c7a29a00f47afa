package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"

	"github.com/Eyevinn/mp4ff/mp4"
)

// A progressive MP4 has one index, and it stands before the media
// (ISO/IEC 14496-12): a player begins with the first bytes. Its size is known
// once every sample has been seen, so the media are read twice; what is held
// meanwhile is the index, 4 bytes a sound frame and some 16 a picture: 15 MB
// for two hours.

// sampleTable is one track of it, in the order of decoding.
type sampleTable struct {
	track *mp4.TrakBox // of the init segment, in the clear
	scale uint32       // of that segment's movie header
	stts  mp4.SttsBox
	ctts  mp4.CttsBox
	stsz  mp4.StszBox
	stss  mp4.StssBox

	chunks      []chunk
	first, last uint64 // decode times
	ticks       uint64 // of all samples
	end         int64  // of the last one that is shown, from the first decode time on
	lastTicks   uint32
	shift       int64 // what of the track is shown first, in its time scale; negative: after a pause
}

// chunk is a run of samples that lie together.
type chunk struct {
	samples uint32
	bytes   uint64
}

// newSampleTable takes the track out of an init segment, in the clear.
func newSampleTable(init *mp4.InitSegment) (*sampleTable, error) {
	if init.Moov == nil || init.Moov.Mvhd == nil || init.Moov.Trak == nil || init.Moov.Trak.Mdia.Mdhd.Timescale == 0 {
		return nil, fmt.Errorf("init segment without a track")
	}
	return &sampleTable{track: init.Moov.Trak, scale: init.Moov.Mvhd.Timescale}, nil
}

func (t *sampleTable) timescale() uint64 { return uint64(t.track.Mdia.Mdhd.Timescale) }

func (t *sampleTable) pictures() bool { return t.track.Mdia.Hdlr.HandlerType == "vide" }

// add takes the samples of the next segment, which become a chunk.
func (t *sampleTable) add(samples []mp4.FullSample) error {
	var c chunk
	for i := range samples {
		s := &samples[i]
		n := uint32(len(t.stsz.SampleSize))
		switch {
		case n == 0:
			t.first = s.DecodeTime
		case s.DecodeTime <= t.last || s.DecodeTime-t.last > math.MaxUint32:
			return fmt.Errorf("sample %d is decoded at %d, the one before at %d", n+1, s.DecodeTime, t.last)
		default:
			t.tick(uint32(s.DecodeTime - t.last))
		}
		t.last, t.lastTicks = s.DecodeTime, s.Dur
		t.end = max(t.end, int64(s.DecodeTime-t.first)+int64(s.CompositionTimeOffset)+int64(s.Dur))
		t.stsz.SampleSize = append(t.stsz.SampleSize, s.Size)
		if !mp4.DecodeSampleFlags(s.Flags).SampleIsNonSync {
			t.stss.SampleNumber = append(t.stss.SampleNumber, n+1)
		}
		t.offset(s.CompositionTimeOffset)
		c.samples++
		c.bytes += uint64(s.Size)
	}
	if c.samples > 0 {
		t.chunks = append(t.chunks, c)
	}
	return nil
}

// tick counts one more sample of a duration.
func (t *sampleTable) tick(ticks uint32) {
	t.ticks += uint64(ticks)
	if n := len(t.stts.SampleCount); n > 0 && t.stts.SampleTimeDelta[n-1] == ticks {
		t.stts.SampleCount[n-1]++
		return
	}
	t.stts.SampleCount = append(t.stts.SampleCount, 1)
	t.stts.SampleTimeDelta = append(t.stts.SampleTimeDelta, ticks)
}

// offset counts one more sample that is shown so long after it is decoded.
func (t *sampleTable) offset(by int32) {
	if t.ctts.EndSampleNr == nil {
		t.ctts.Version, t.ctts.EndSampleNr = 1, []uint32{0}
	}
	if n := len(t.ctts.SampleOffset); n > 0 && t.ctts.SampleOffset[n-1] == by {
		t.ctts.EndSampleNr[n]++
		return
	}
	t.ctts.SampleOffset = append(t.ctts.SampleOffset, by)
	t.ctts.EndSampleNr = append(t.ctts.EndSampleNr, t.ctts.EndSampleNr[len(t.ctts.EndSampleNr)-1]+1)
}

// finish counts the last sample and finds out what the edit list of the init
// segment means on a clock that begins with the first sample.
func (t *sampleTable) finish() error {
	if len(t.stsz.SampleSize) == 0 {
		return fmt.Errorf("a track without samples")
	}
	t.tick(max(1, t.lastTicks))
	t.stsz.SampleNumber = uint32(len(t.stsz.SampleSize))
	t.shift = -int64(t.first)
	if t.track.Edts == nil {
		return nil
	}
	for _, list := range t.track.Edts.Elst {
		for _, e := range list.Entries {
			if e.MediaTime >= 0 {
				t.shift += e.MediaTime
				return nil
			}
			if t.scale > 0 {
				t.shift -= int64(e.SegmentDuration * t.timescale() / uint64(t.scale))
			}
		}
	}
	return nil
}

// fileScale is the time scale of a file as a whole.
const fileScale = 1000

// inFile turns ticks of the track into those of the file, rounded up: an edit
// that ends early cuts the last picture.
func (t *sampleTable) inFile(ticks uint64) uint64 {
	return (ticks*fileScale + t.timescale() - 1) / t.timescale()
}

// shown is how long the track is shown, on the file's clock.
func (t *sampleTable) shown() (pause, length uint64) {
	if t.shift < 0 {
		return t.inFile(uint64(-t.shift)), t.inFile(uint64(t.end))
	}
	return 0, t.inFile(uint64(max(0, t.end-t.shift)))
}

// progressiveFile is the front of a file: everything up to the first sample.
type progressiveFile struct {
	head   []byte
	size   int64 // of the whole
	tables []*sampleTable
}

// newProgressive makes the index. Chunks of one number lie together, those of
// the first table first.
func newProgressive(brand string, tables []*sampleTable) (*progressiveFile, error) {
	media, index := uint64(0), uint64(1<<20) // index: at most
	for _, t := range tables {
		index += 24*uint64(len(t.stsz.SampleSize)) + 20*uint64(len(t.chunks))
		for _, c := range t.chunks {
			media += c.bytes
		}
	}
	large := media+index > math.MaxUint32
	ftyp := mp4.NewFtyp(brand, 0x200, []string{brand, "isom", "iso2", "mp41"})
	moov := mp4.NewMoovBox()
	mvhd := mp4.CreateMvhd()
	mvhd.Timescale, mvhd.NextTrackID = fileScale, uint32(len(tables)+1)
	moov.AddChild(mvhd)
	var offsets []func(chunk int, at uint64)
	for i, t := range tables {
		pause, length := t.shown()
		mvhd.Duration = max(mvhd.Duration, pause+length)
		trak, put := t.box(uint32(i+1), large)
		moov.AddChild(trak)
		offsets = append(offsets, put)
	}
	mdat := uint64(8)
	if large {
		mdat = 16
	}
	at := ftyp.Size() + moov.Size() + mdat
	if moov.Size() > math.MaxInt32 {
		return nil, fmt.Errorf("an index of %d bytes", moov.Size())
	}
	size := at + media
	eachChunk(tables, func(table, n int) {
		offsets[table](n, at)
		at += tables[table].chunks[n].bytes
	})
	var head bytes.Buffer
	for _, b := range []mp4.Box{ftyp, moov} {
		if err := b.Encode(&head); err != nil {
			return nil, fmt.Errorf("write the index: %w", err)
		}
	}
	if large {
		head.Write(binary.BigEndian.AppendUint32(nil, 1))
		head.WriteString("mdat")
		head.Write(binary.BigEndian.AppendUint64(nil, media+mdat))
	} else {
		head.Write(binary.BigEndian.AppendUint32(nil, uint32(media+mdat)))
		head.WriteString("mdat")
	}
	if uint64(head.Len())+media != size {
		return nil, fmt.Errorf("the index has %d bytes, %d were reckoned", head.Len(), size-media)
	}
	return &progressiveFile{head: head.Bytes(), size: int64(size), tables: tables}, nil
}

// eachChunk visits chunks in the order in which they lie in the file.
func eachChunk(tables []*sampleTable, visit func(table, chunk int)) {
	for n, left := 0, true; left; n++ {
		left = false
		for i, t := range tables {
			if n < len(t.chunks) {
				visit(i, n)
				left = true
			}
		}
	}
}

// write writes the file. samples gives the media of a chunk again.
func (p *progressiveFile) write(w io.Writer, samples func(table, chunk int) ([]mp4.FullSample, error)) error {
	if _, err := w.Write(p.head); err != nil {
		return err
	}
	var err error
	eachChunk(p.tables, func(table, n int) {
		if err != nil {
			return
		}
		var list []mp4.FullSample
		if list, err = samples(table, n); err != nil {
			return
		}
		var bytes uint64
		for _, s := range list {
			if _, err = w.Write(s.Data); err != nil {
				return
			}
			bytes += uint64(len(s.Data))
		}
		if want := p.tables[table].chunks[n].bytes; bytes != want {
			err = fmt.Errorf("chunk %d of track %d has %d bytes, it had %d", n+1, table+1, bytes, want)
		}
	})
	return err
}

// box makes the track. put sets where a chunk lies.
func (t *sampleTable) box(id uint32, large bool) (trak *mp4.TrakBox, put func(chunk int, at uint64)) {
	pause, length := t.shown()
	trak = mp4.NewTrakBox()
	tkhd := *t.track.Tkhd
	tkhd.TrackID, tkhd.Duration = id, pause+length
	trak.AddChild(&tkhd)
	trak.AddChild(t.edits(pause, length))
	mdia := mp4.NewMdiaBox()
	mdhd := *t.track.Mdia.Mdhd
	mdhd.Duration = t.ticks
	if t.ticks > math.MaxUint32 {
		mdhd.Version = 1
	}
	mdia.AddChild(&mdhd)
	mdia.AddChild(t.track.Mdia.Hdlr)
	minf := mp4.NewMinfBox()
	for _, b := range t.track.Mdia.Minf.Children {
		if b.Type() != "stbl" {
			minf.AddChild(b)
		}
	}
	stbl := mp4.NewStblBox()
	stbl.AddChild(t.track.Mdia.Minf.Stbl.Stsd)
	stbl.AddChild(&t.stts)
	if len(t.ctts.SampleOffset) > 1 || len(t.ctts.SampleOffset) == 1 && t.ctts.SampleOffset[0] != 0 {
		stbl.AddChild(&t.ctts)
	}
	stbl.AddChild(t.chunkRuns())
	stbl.AddChild(&t.stsz)
	if t.pictures() {
		stbl.AddChild(&t.stss)
	}
	put = t.offsets(stbl, large)
	minf.AddChild(stbl)
	mdia.AddChild(minf)
	trak.AddChild(mdia)
	return trak, put
}

// edits shows the track from its first picture or sound on, after its pause.
func (t *sampleTable) edits(pause, length uint64) *mp4.EdtsBox {
	elst := &mp4.ElstBox{Version: 1}
	if pause > 0 {
		elst.Entries = append(elst.Entries, mp4.ElstEntry{SegmentDuration: pause, MediaTime: -1, MediaRateInteger: 1})
	}
	elst.Entries = append(elst.Entries, mp4.ElstEntry{SegmentDuration: length, MediaTime: max(0, t.shift), MediaRateInteger: 1})
	edts := &mp4.EdtsBox{}
	edts.AddChild(elst)
	return edts
}

// chunkRuns says how many samples chunks have, by runs of alike ones.
func (t *sampleTable) chunkRuns() *mp4.StscBox {
	stsc := &mp4.StscBox{}
	stsc.SetSingleSampleDescriptionID(1)
	for i, c := range t.chunks {
		if i == 0 || c.samples != t.chunks[i-1].samples {
			stsc.Entries = append(stsc.Entries, mp4.StscEntry{FirstChunk: uint32(i + 1), SamplesPerChunk: c.samples})
		}
	}
	return stsc
}

func (t *sampleTable) offsets(stbl *mp4.StblBox, large bool) (put func(chunk int, at uint64)) {
	if large {
		co64 := &mp4.Co64Box{ChunkOffset: make([]uint64, len(t.chunks))}
		stbl.AddChild(co64)
		return func(n int, at uint64) { co64.ChunkOffset[n] = at }
	}
	stco := &mp4.StcoBox{ChunkOffset: make([]uint32, len(t.chunks))}
	stbl.AddChild(stco)
	return func(n int, at uint64) { stco.ChunkOffset[n] = uint32(at) }
}
