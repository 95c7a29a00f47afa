package pipeline

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/Eyevinn/mp4ff/avc"
	"github.com/Eyevinn/mp4ff/bits"
	"github.com/Eyevinn/mp4ff/mp4"
)

// maxMetaBox bounds what a box other than mdat may claim.
const maxMetaBox = 16 << 20

// boxScanner finds `moov` and `moof` boxes (ISO/IEC 14496-12) in a stream of
// fragmented MP4 and passes the rest by without keeping it.
type boxScanner struct {
	onBox  func(kind string, box []byte) error
	header []byte
	keep   []byte // the box being gathered
	kind   string
	left   uint64 // bytes of the current box still to come
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
	if s.kind == "moov" || s.kind == "moof" {
		if size > maxMetaBox {
			return nil, fmt.Errorf("mp4 box %s has %d bytes", s.kind, size)
		}
		s.keep = append(make([]byte, 0, size), s.header...)
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

// observe takes a moov or moof box.
func (f *trackFacts) observe(kind string, data []byte) error {
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
	}
	return nil
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
	case stsd.Mp4a != nil:
		f.Codec = "mp4a.40.2" // AAC-LC, ISO/IEC 14496-3
		f.Channels, f.SampleRate = int(stsd.Mp4a.ChannelCount), int(stsd.Mp4a.SampleRate)
	default:
		return fmt.Errorf("encoded stream has neither H.264 nor AAC")
	}
	return nil
}

// segmentFrames counts the samples of a CMAF segment.
func segmentFrames(segment []byte) (int64, error) {
	var frames int64
	scan := boxScanner{onBox: func(_ string, data []byte) error {
		box, err := mp4.DecodeBoxSR(0, bits.NewFixedSliceReader(data))
		if err != nil {
			return err
		}
		if moof, ok := box.(*mp4.MoofBox); ok {
			for _, traf := range moof.Trafs {
				for _, trun := range traf.Truns {
					frames += int64(trun.SampleCount())
				}
			}
		}
		return nil
	}}
	_, err := scan.Write(segment)
	return frames, err
}

// tsVideoFrames counts the pictures of a clear MPEG-TS segment: the packager
// writes one PES packet per picture (ISO/IEC 13818-1, 2.4.3).
func tsVideoFrames(segment []byte) (int64, error) {
	const packet = 188
	if len(segment) == 0 || len(segment)%packet != 0 {
		return 0, fmt.Errorf("ts segment of %d bytes", len(segment))
	}
	var frames int64
	for p := segment; len(p) > 0; p = p[packet:] {
		if p[0] != 0x47 {
			return 0, fmt.Errorf("ts segment out of sync")
		}
		start, control := p[1]&0x40 != 0, p[3]>>4&3
		payload := 4
		if control&2 != 0 {
			payload += 1 + int(p[4])
		}
		if !start || control&1 == 0 || payload+4 > packet {
			continue
		}
		if q := p[payload:]; q[0] == 0 && q[1] == 0 && q[2] == 1 && q[3]&0xf0 == 0xe0 {
			frames++
		}
	}
	return frames, nil
}
