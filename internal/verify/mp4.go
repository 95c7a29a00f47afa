package verify

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"strings"

	"github.com/Eyevinn/mp4ff/avc"
	"github.com/Eyevinn/mp4ff/hevc"
	"github.com/Eyevinn/mp4ff/mp4"
)

// opened is an init segment that was read: what decrypting segments needs.
type opened struct {
	tracks  []trackInit
	times   map[uint32]trackTime
	trex    map[uint32]*mp4.TrexBox
	decrypt mp4.DecryptInfo
	clear   []byte // the init segment of clear media
}

type trackTime struct {
	scale float64 // ticks per second
	shift float64 // seconds that the edit list cuts off
}

// noPanic turns a panic of the parser over foreign bytes into an error.
func noPanic(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the boxes cannot be read: %v", r)
	}
}

// openInit reads an init segment.
func openInit(body []byte) (o *opened, err error) {
	defer noPanic(&err)
	if err := boundBoxes(body); err != nil {
		return nil, err
	}
	f, err := mp4.DecodeFile(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("read the boxes: %w", err)
	}
	if f.Init == nil || f.Init.Moov == nil || f.Init.Moov.Mvex == nil || len(f.Init.Moov.Traks) == 0 {
		return nil, fmt.Errorf("no moov box with tracks and mvex: no init segment")
	}
	o = &opened{times: map[uint32]trackTime{}, trex: map[uint32]*mp4.TrexBox{}}
	for _, t := range f.Init.Moov.Mvex.Trexs {
		o.trex[t.TrackID] = t
	}
	for _, trak := range f.Init.Moov.Traks {
		t, err := describeTrack(trak)
		if err != nil {
			return nil, err
		}
		o.tracks = append(o.tracks, t)
		o.times[t.ID] = timeOf(trak, f.Init.Moov.Mvhd)
	}
	if o.decrypt, err = mp4.DecryptInit(f.Init); err != nil {
		return nil, fmt.Errorf("read the protection: %w", err)
	}
	var out bytes.Buffer
	if err := f.Init.Encode(&out); err != nil {
		return nil, fmt.Errorf("write the clear init segment: %w", err)
	}
	o.clear = out.Bytes()
	return o, nil
}

func timeOf(trak *mp4.TrakBox, mvhd *mp4.MvhdBox) trackTime {
	t := trackTime{scale: math.Max(1, float64(trak.Mdia.Mdhd.Timescale))}
	if trak.Edts == nil || len(trak.Edts.Elst) == 0 {
		return t
	}
	for _, e := range trak.Edts.Elst[0].Entries {
		if e.MediaTime >= 0 {
			t.shift += float64(e.MediaTime) / t.scale
			break
		}
		if mvhd != nil && mvhd.Timescale > 0 { // an empty edit delays
			t.shift -= float64(e.SegmentDuration) / float64(mvhd.Timescale)
		}
	}
	return t
}

func describeTrack(trak *mp4.TrakBox) (trackInit, error) {
	t := trackInit{Kind: other}
	if trak.Tkhd == nil || trak.Mdia == nil || trak.Mdia.Mdhd == nil || trak.Mdia.Minf == nil ||
		trak.Mdia.Minf.Stbl == nil || trak.Mdia.Minf.Stbl.Stsd == nil || len(trak.Mdia.Minf.Stbl.Stsd.Children) == 0 {
		return t, fmt.Errorf("a track without a sample description")
	}
	t.ID = trak.Tkhd.TrackID
	var sinf *mp4.SinfBox
	switch e := trak.Mdia.Minf.Stbl.Stsd.Children[0].(type) {
	case *mp4.VisualSampleEntryBox:
		t.Kind, t.Width, t.Height = video, int(e.Width), int(e.Height)
		sinf = e.Sinf
		t.Codec = videoCodec(format(e.Type(), sinf), e)
	case *mp4.AudioSampleEntryBox:
		t.Kind = audio
		sinf = e.Sinf
		t.Codec = audioCodec(format(e.Type(), sinf), e)
	default:
		t.Codec = e.Type()
		if t.Codec == "wvtt" || t.Codec == "stpp" {
			t.Kind = text
		}
	}
	if sinf != nil && sinf.Schm != nil && sinf.Schi != nil && sinf.Schi.Tenc != nil {
		tenc := sinf.Schi.Tenc
		t.Scheme, t.KID = sinf.Schm.SchemeType, hex.EncodeToString(tenc.DefaultKID)
		t.IVSize, t.Protected = int(tenc.DefaultPerSampleIVSize), tenc.DefaultIsProtected == 1
	}
	return t, nil
}

// format is the sample entry's name before it was encrypted (frma).
func format(name string, sinf *mp4.SinfBox) string {
	if sinf != nil && sinf.Frma != nil {
		return sinf.Frma.DataFormat
	}
	return name
}

// videoCodec returns the RFC 6381 name, as ISO/IEC 14496-15 and the AV1 and
// VP9 bindings define it.
func videoCodec(name string, e *mp4.VisualSampleEntryBox) string {
	switch {
	case e.AvcC != nil && len(e.AvcC.SPSnalus) > 0:
		if sps, err := avc.ParseSPSNALUnit(e.AvcC.SPSnalus[0], false); err == nil {
			return avc.CodecString(name, sps)
		}
	case e.HvcC != nil:
		if nalus := e.HvcC.GetNalusForType(hevc.NALU_SPS); len(nalus) > 0 {
			if sps, err := hevc.ParseSPSNALUnit(nalus[0]); err == nil {
				return hevc.CodecString(name, sps)
			}
		}
	case e.Av1C != nil:
		tier, depth := "M", 8
		if e.Av1C.SeqTier0 == 1 {
			tier = "H"
		}
		if e.Av1C.HighBitdepth == 1 {
			depth = 10 + 2*int(e.Av1C.TwelveBit)
		}
		return fmt.Sprintf("%s.%d.%02d%s.%02d", name, e.Av1C.SeqProfile, e.Av1C.SeqLevelIdx0, tier, depth)
	case e.VppC != nil:
		return fmt.Sprintf("%s.%02d.%02d.%02d", name, e.VppC.Profile, e.VppC.Level, e.VppC.BitDepth)
	}
	return name
}

// audioCodec names MPEG-4 audio by its object type (ISO/IEC 14496-3, 1.6.2.1).
func audioCodec(name string, e *mp4.AudioSampleEntryBox) string {
	if name != "mp4a" || e.Esds == nil || e.Esds.DecConfigDescriptor == nil {
		if name == "Opus" {
			return "opus"
		}
		return name
	}
	c := e.Esds.DecConfigDescriptor
	if c.ObjectType != mp4.ObjectTypeAAC || c.DecSpecificInfo == nil || len(c.DecSpecificInfo.DecConfig) < 2 {
		return fmt.Sprintf("mp4a.%02x", c.ObjectType)
	}
	config := binary.BigEndian.Uint16(c.DecSpecificInfo.DecConfig)
	object := config >> 11
	if object == 31 {
		object = 32 + config>>5&63
	}
	return fmt.Sprintf("mp4a.40.%d", object)
}

// clearMP4 reads a segment, gathers its facts, and returns it decrypted by key
// (nil when it is not encrypted, or has no key that we may have).
func clearMP4(seg *segment, body []byte, o *opened, key []byte) (clear []byte, err error) {
	defer noPanic(&err)
	if err := boundBoxes(body); err != nil {
		return nil, err
	}
	f, err := mp4.DecodeFile(bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("read the boxes: %w", err)
	}
	if len(f.Segments) == 0 || len(f.Segments[0].Fragments) == 0 {
		return nil, fmt.Errorf("no moof box: no media segment")
	}
	tracks := map[uint32]*boxFacts{}
	var order []uint32
	for _, s := range f.Segments {
		for _, frag := range s.Fragments {
			if frag.Moof == nil || frag.Mdat == nil {
				return nil, fmt.Errorf("a fragment without moof or mdat")
			}
			for _, traf := range frag.Moof.Trafs {
				id := traf.Tfhd.TrackID
				if tracks[id] == nil {
					tracks[id] = &boxFacts{init: o.track(id)}
					order = append(order, id)
				}
				if err := tracks[id].add(traf, frag.Moof, o); err != nil {
					return nil, err
				}
			}
		}
	}
	for _, id := range order {
		b := tracks[id]
		seg.Tracks = append(seg.Tracks, b.facts(o.times[id]))
		seg.IVs = append(seg.IVs, b.ivs...)
		if b.init != nil && b.init.Scheme != "" && b.open != "" && seg.Clear == "" {
			seg.Clear = b.open
		}
	}
	var out bytes.Buffer
	for _, s := range f.Segments {
		if key != nil {
			if err := mp4.DecryptSegment(s, o.decrypt, key); err != nil {
				seg.Decrypt = err.Error()
				return nil, nil
			}
		}
		if err := s.Encode(&out); err != nil {
			return nil, fmt.Errorf("write the clear segment: %w", err)
		}
	}
	return out.Bytes(), nil
}

func (o *opened) track(id uint32) *trackInit {
	for i := range o.tracks {
		if o.tracks[i].ID == id {
			return &o.tracks[i]
		}
	}
	return nil
}

// boxFacts gathers what the fragments of one track say.
type boxFacts struct {
	init    *trackInit
	samples int
	ticks   uint64
	first   int64 // earliest presentation time
	any     bool
	sync    bool
	longest uint32
	ivs     []ivRun
	open    string // how it was seen that samples are clear
}

func (b *boxFacts) add(traf *mp4.TrafBox, moof *mp4.MoofBox, o *opened) error {
	if traf.Tfdt == nil {
		return fmt.Errorf("a fragment without tfdt (ISO/IEC 23000-19, 7.5.16)")
	}
	if b.init == nil {
		return fmt.Errorf("track %d is not in the init segment", traf.Tfhd.TrackID)
	}
	at := int64(traf.Tfdt.BaseMediaDecodeTime())
	var sizes []uint32
	for _, trun := range traf.Truns {
		total := trun.AddSampleDefaultValues(traf.Tfhd, o.trex[traf.Tfhd.TrackID])
		t := at
		for i := range trun.Samples {
			s := &trun.Samples[i]
			shown := t + int64(s.CompositionTimeOffset)
			if !b.any {
				b.first, b.any, b.sync = shown, true, s.Flags&mp4.NonSyncSampleFlags == 0
			}
			b.first = min(b.first, shown)
			b.longest = max(b.longest, s.Dur)
			t += int64(s.Dur)
			sizes = append(sizes, s.Size)
		}
		at += int64(total)
		b.ticks += total
		b.samples += len(trun.Samples)
	}
	if b.init.Scheme == "" {
		return nil
	}
	return b.protection(traf, moof, sizes)
}

// largeSample is the size in bytes from which most of a picture must be
// protected: below it headers and SEI, which stay clear, may be all there is.
const largeSample = 4096

// protection looks at the sample encryption of a fragment (ISO/IEC 23001-7, 7).
func (b *boxFacts) protection(traf *mp4.TrafBox, moof *mp4.MoofBox, sizes []uint32) error {
	if traf.Sbgp != nil && traf.Sbgp.GroupingType == "seig" {
		return nil // another protection by sample groups: not judged here
	}
	if !b.init.Protected {
		b.note("tenc says that samples are clear")
		return nil
	}
	if traf.Senc == nil {
		if b.init.Kind == video || b.init.IVSize > 0 {
			b.note("a fragment has no senc box")
		}
		return nil
	}
	if traf.Senc.ReadButNotParsed() {
		if err := traf.ParseReadSenc(byte(b.init.IVSize), moof.StartPos); err != nil {
			return fmt.Errorf("read senc: %w", err)
		}
	}
	for i, size := range sizes {
		protected := int64(size)
		if i < len(traf.Senc.SubSamples) {
			protected = 0
			for _, r := range traf.Senc.SubSamples[i] {
				protected += int64(r.BytesOfProtectedData)
			}
		}
		if size >= largeSample && protected < int64(size)/2 {
			b.note(fmt.Sprintf("of a sample of %d bytes %d are protected", size, protected))
		}
		if i < len(traf.Senc.IVs) {
			b.iv(traf.Senc.IVs[i], protected)
		}
	}
	return nil
}

func (b *boxFacts) note(how string) {
	if b.open == "" {
		b.open = how
	}
}

func (b *boxFacts) facts(t trackTime) trackFacts {
	if t.scale == 0 {
		t.scale = 1
	}
	f := trackFacts{
		Start: float64(b.first)/t.scale - t.shift, Duration: float64(b.ticks) / t.scale, Samples: b.samples,
		Longest: float64(b.longest) / t.scale, StartsWithKey: b.sync, KeyKnown: true,
	}
	if b.init != nil {
		f.Kind, f.Codec = b.init.Kind, b.init.Codec
	}
	return f
}

// looksClear tells whether bytes begin as clear media does: MPEG-TS packets,
// or a box of fragmented MP4. Ciphertext does so once in 2^32 times.
func looksClear(body []byte) string {
	const packet = 188
	if len(body) > 2*packet && body[0] == 0x47 && body[packet] == 0x47 && body[2*packet] == 0x47 {
		return "it begins with clear MPEG-TS packets"
	}
	if len(body) >= 8 {
		switch name := string(body[4:8]); name {
		case "styp", "moof", "sidx", "ftyp", "emsg", "prft":
			return "it begins with a clear " + name + " box"
		}
	}
	if bytes.HasPrefix(body, []byte("WEBVTT")) || bytes.HasPrefix(body, []byte("ID3")) {
		return "it begins with clear " + strings.ToLower(string(body[:3]))
	}
	return ""
}

// readPartial reads an entry of an I-frame playlist: a range that may end
// within mdat, behind its first picture.
func readPartial(seg *segment, body []byte, o *opened) (err error) {
	defer noPanic(&err)
	for at := 0; ; {
		if len(body)-at < 8 {
			return fmt.Errorf("no moof box before its end")
		}
		size := int64(binary.BigEndian.Uint32(body[at:]))
		if string(body[at+4:at+8]) != "moof" {
			if size < 8 || size > int64(len(body)-at) {
				return fmt.Errorf("no moof box before its end")
			}
			at += int(size)
			continue
		}
		if size < 8 || size > int64(len(body)-at) {
			return fmt.Errorf("it ends within its moof box")
		}
		if err := boundBoxes(body[at : at+int(size)]); err != nil {
			return err
		}
		box, err := mp4.DecodeBox(uint64(at), bytes.NewReader(body[at:at+int(size)]))
		if err != nil {
			return fmt.Errorf("read the boxes: %w", err)
		}
		moof, ok := box.(*mp4.MoofBox)
		if !ok || moof.Traf == nil {
			return fmt.Errorf("a moof box without a track")
		}
		b := boxFacts{init: o.track(moof.Traf.Tfhd.TrackID)}
		if err := b.add(moof.Traf, moof, o); err != nil {
			return err
		}
		seg.Tracks = append(seg.Tracks, b.facts(o.times[moof.Traf.Tfhd.TrackID]))
		return nil
	}
}
