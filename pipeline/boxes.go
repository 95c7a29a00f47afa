package pipeline

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/Eyevinn/mp4ff/avc"
	"github.com/Eyevinn/mp4ff/bits"
	"github.com/Eyevinn/mp4ff/hevc"
	"github.com/Eyevinn/mp4ff/mp4"
)

// What a box may claim: metadata, and the media of one fragment.
const (
	maxMetaBox  = 16 << 20
	maxMediaBox = maxObject
)

// boxScanner finds `moov` and `moof` boxes (ISO/IEC 14496-12) in a stream of
// fragmented MP4 and passes the rest by without keeping it. With withMedia it
// gives the content of `mdat` boxes, too, without their headers.
type boxScanner struct {
	withMedia bool
	onBox     func(kind string, box []byte) error
	header    []byte
	keep      []byte // the box being gathered
	kind      string
	left      uint64 // bytes of the current box still to come
}

// Write implements io.Writer.
func (s *boxScanner) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		if s.left == 0 {
			var err error
			if p, err = s.readHeader(p); err != nil {
				return 0, err
			}
			continue
		}
		take := p[:min(uint64(len(p)), s.left)]
		p = p[len(take):]
		s.left -= uint64(len(take))
		if s.keep != nil {
			s.keep = append(s.keep, take...)
		}
		if s.left == 0 && s.keep != nil {
			if err := s.onBox(s.kind, s.keep); err != nil {
				return 0, err
			}
			s.keep = nil
		}
	}
	return n, nil
}

// readHeader gathers 8 bytes, or 16 for a 64-bit size.
func (s *boxScanner) readHeader(p []byte) ([]byte, error) {
	want := 8
	if len(s.header) >= 8 {
		want = 16
	}
	take := p[:min(len(p), want-len(s.header))]
	s.header = append(s.header, take...)
	p = p[len(take):]
	if len(s.header) < want {
		return p, nil
	}
	size := uint64(binary.BigEndian.Uint32(s.header))
	if size == 1 {
		if len(s.header) < 16 {
			return p, nil // come back for the 64-bit size
		}
		size = binary.BigEndian.Uint64(s.header[8:])
	}
	if size < uint64(len(s.header)) {
		return nil, fmt.Errorf("mp4 box %q has size %d", s.header[4:8], size)
	}
	s.kind = string(s.header[4:8])
	s.left = size - uint64(len(s.header))
	switch {
	case s.kind == "moov" || s.kind == "moof":
		if size > maxMetaBox {
			return nil, fmt.Errorf("mp4 box %s has %d bytes", s.kind, size)
		}
		s.keep = append(make([]byte, 0, size), s.header...)
	case s.kind == "mdat" && s.withMedia:
		if size > maxMediaBox {
			return nil, fmt.Errorf("mp4 box %s has %d bytes", s.kind, size)
		}
		if s.left > 0 {
			s.keep = make([]byte, 0, s.left)
		}
	}
	s.header = s.header[:0]
	return p, nil
}

// trackFacts are what the encoder's stream says of a rendition.
type trackFacts struct {
	Codec      string // RFC 6381
	Width      int
	Height     int
	SampleRate int
	Channels   int
	Frames     int64 // samples: pictures, or AAC frames
	Pictures   gopDigests
	Most       float64 // seconds: a stream that goes on for longer ends the attempt; 0: no limit
	ticks      uint64
	timescale  uint32
	trex       *mp4.TrexBox
}

// seconds returns the sum of the samples' durations.
func (f *trackFacts) seconds() float64 {
	if f.timescale == 0 {
		return 0
	}
	return float64(f.ticks) / float64(f.timescale)
}

// observe takes a moov or moof box, or the content of an mdat box of pictures.
func (f *trackFacts) observe(kind string, data []byte) error {
	if kind == "mdat" {
		return f.Pictures.samples(data)
	}
	box, err := mp4.DecodeBoxSR(0, bits.NewFixedSliceReader(data))
	if err != nil {
		return fmt.Errorf("decode %s: %w", kind, err)
	}
	switch b := box.(type) {
	case *mp4.MoovBox:
		return f.describe(b)
	case *mp4.MoofBox:
		frames, ticks := countSamples(b, f.trex)
		f.Frames += frames
		f.ticks += ticks
		if f.Most > 0 && f.seconds() > f.Most {
			return endless(f.Most)
		}
	}
	return nil
}

// endless is the verdict on a source whose timestamps run on behind its end.
func endless(most float64) *Error {
	return permanent(CodeSourceUnsupported, fmt.Sprintf(
		"the source goes on for longer than it says (more than %s); its timestamps may be damaged", roundSeconds(most)), nil)
}

func countSamples(moof *mp4.MoofBox, trex *mp4.TrexBox) (frames int64, ticks uint64) {
	for _, traf := range moof.Trafs {
		for _, trun := range traf.Truns {
			frames += int64(trun.SampleCount())
			ticks += trun.AddSampleDefaultValues(traf.Tfhd, trex)
		}
	}
	return frames, ticks
}

func (f *trackFacts) describe(moov *mp4.MoovBox) error {
	if moov.Trak == nil || moov.Mvex == nil || moov.Mvex.Trex == nil {
		return fmt.Errorf("encoded stream has no track or no defaults")
	}
	f.trex = moov.Mvex.Trex
	f.timescale = moov.Trak.Mdia.Mdhd.Timescale
	stsd := moov.Trak.Mdia.Minf.Stbl.Stsd
	switch {
	case stsd.AvcX != nil && stsd.AvcX.AvcC != nil && len(stsd.AvcX.AvcC.SPSnalus) > 0:
		sps, err := avc.ParseSPSNALUnit(stsd.AvcX.AvcC.SPSnalus[0], false)
		if err != nil {
			return fmt.Errorf("parse SPS: %w", err)
		}
		f.Codec = strings.ToLower(avc.CodecString("avc1", sps))
		f.Width, f.Height = int(stsd.AvcX.Width), int(stsd.AvcX.Height)
	case stsd.HvcX != nil && stsd.HvcX.HvcC != nil && len(stsd.HvcX.HvcC.GetNalusForType(hevc.NALU_SPS)) > 0:
		sps, err := hevc.ParseSPSNALUnit(stsd.HvcX.HvcC.GetNalusForType(hevc.NALU_SPS)[0])
		if err != nil {
			return fmt.Errorf("parse SPS: %w", err)
		}
		f.Codec, f.Pictures.codec = hevc.CodecString("hvc1", sps), CodecHEVC
		f.Width, f.Height = int(stsd.HvcX.Width), int(stsd.HvcX.Height)
	case stsd.Av01 != nil && stsd.Av01.Av1C != nil:
		f.Codec, f.Pictures.codec = stsd.Av01.Av1C.CodecString("av01"), CodecAV1
		f.Width, f.Height = int(stsd.Av01.Width), int(stsd.Av01.Height)
	case stsd.Mp4a != nil, stsd.EC3 != nil:
		return f.describeAudio(stsd)
	default:
		return fmt.Errorf("encoded stream has no codec of ours")
	}
	return nil
}

// segmentFrames counts the samples of a CMAF segment and shows each fragment's
// moof box to check.
func segmentFrames(segment []byte, check func(*mp4.MoofBox) error) (int64, error) {
	var frames int64
	scan := boxScanner{onBox: func(_ string, data []byte) error {
		box, err := mp4.DecodeBoxSR(0, bits.NewFixedSliceReader(data))
		if err != nil {
			return err
		}
		moof, ok := box.(*mp4.MoofBox)
		if !ok {
			return nil
		}
		for _, traf := range moof.Trafs {
			for _, trun := range traf.Truns {
				frames += int64(trun.SampleCount())
			}
		}
		return check(moof)
	}}
	_, err := scan.Write(segment)
	return frames, err
}
