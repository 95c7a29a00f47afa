package verify

import (
	"bytes"
	"fmt"
	"math"

	"github.com/Eyevinn/mp4ff/avc"
	"github.com/Eyevinn/mp4ff/hevc"
)

// Of MPEG-TS (ISO/IEC 13818-1).
const (
	tsPacket  = 188
	tsNoPID   = -1
	tsClock   = 90000.0
	tsWrap    = 1 << 33
	tsMaxHead = 64 << 10 // bytes of a stream that are kept to read its codec
)

// tsStream is one elementary stream of a segment.
type tsStream struct {
	kind     kind
	coding   byte // stream_type, Table 2-34
	times    []int64
	head     []byte
	first    []byte // the first access unit
	pictures int
	adts     int // AAC frames
	rate     float64
}

// tsReader takes a segment apart.
type tsReader struct {
	pmt     int
	streams map[int]*tsStream
	order   []int
}

// readTS gathers the facts of a clear MPEG-TS segment. Each segment must carry
// its PAT and PMT before its media (RFC 8216bis, 3.1.1).
func readTS(body []byte) ([]trackFacts, error) {
	if len(body) == 0 || len(body)%tsPacket != 0 {
		return nil, fmt.Errorf("%d bytes are no whole number of MPEG-TS packets", len(body))
	}
	r := tsReader{pmt: tsNoPID, streams: map[int]*tsStream{}}
	for p := body; len(p) > 0; p = p[tsPacket:] {
		if err := r.packet(p[:tsPacket]); err != nil {
			return nil, err
		}
	}
	if len(r.order) == 0 {
		return nil, fmt.Errorf("no PAT and PMT before the media, or no streams in them")
	}
	var out []trackFacts
	for _, pid := range r.order {
		s := r.streams[pid]
		if s.kind == other {
			continue
		}
		if len(s.times) == 0 {
			return nil, fmt.Errorf("stream %d has no packet with a time", pid)
		}
		out = append(out, s.facts())
	}
	return out, nil
}

func (r *tsReader) packet(p []byte) error {
	if p[0] != 0x47 {
		return fmt.Errorf("MPEG-TS out of sync")
	}
	pid, starts := int(p[1]&0x1f)<<8|int(p[2]), p[1]&0x40 != 0
	payload := p[4:]
	switch control := p[3] >> 4 & 3; {
	case control&1 == 0:
		return nil
	case control&2 != 0:
		n := int(p[4]) + 1
		if n > len(payload) {
			return fmt.Errorf("an adaptation field of %d bytes", p[4])
		}
		payload = payload[n:]
	}
	switch {
	case pid == 0 && starts:
		r.pat(payload)
	case pid == r.pmt && starts:
		r.programme(payload)
	default:
		if s := r.streams[pid]; s != nil {
			return s.add(payload, starts)
		}
	}
	return nil
}

// section returns a table's body after its header of 8 bytes, without the CRC.
func section(p []byte) []byte {
	if len(p) < 1 || len(p) < 1+int(p[0])+8 {
		return nil
	}
	p = p[1+int(p[0]):]
	n := 3 + int(p[1]&0x0f)<<8 + int(p[2]) - 4
	if n < 8 || n > len(p) {
		return nil
	}
	return p[8:n]
}

func (r *tsReader) pat(p []byte) {
	for s := section(p); len(s) >= 4; s = s[4:] {
		if s[0] != 0 || s[1] != 0 { // programme 0 is the network's
			r.pmt = int(s[2]&0x1f)<<8 | int(s[3])
			return
		}
	}
}

func (r *tsReader) programme(p []byte) {
	s := section(p)
	if len(s) < 4 {
		return
	}
	skip := 4 + int(s[2]&0x0f)<<8 + int(s[3])
	if skip > len(s) {
		return
	}
	for s = s[skip:]; len(s) >= 5; {
		pid := int(s[1]&0x1f)<<8 | int(s[2])
		if r.streams[pid] == nil && len(r.order) < 64 {
			r.streams[pid] = &tsStream{kind: tsKind(s[0]), coding: s[0]}
			r.order = append(r.order, pid)
		}
		n := 5 + int(s[3]&0x0f)<<8 + int(s[4])
		if n > len(s) {
			return
		}
		s = s[n:]
	}
}

func tsKind(coding byte) kind {
	switch coding {
	case 0x01, 0x02, 0x10, 0x1b, 0x24, 0x33, 0xdb:
		return video
	case 0x03, 0x04, 0x0f, 0x11, 0x81, 0x87, 0xc1, 0xc2, 0xcf:
		return audio
	}
	return other
}

// add takes the payload of one packet.
func (s *tsStream) add(p []byte, starts bool) error {
	if starts {
		if len(p) < 9 || p[0] != 0 || p[1] != 0 || p[2] != 1 {
			return fmt.Errorf("a PES packet without its start code")
		}
		head := 9 + int(p[8])
		if head > len(p) {
			return fmt.Errorf("a PES header of %d bytes", head)
		}
		if p[7]&0x80 != 0 && len(p) >= 14 {
			s.times = append(s.times, timestamp(p[9:14]))
		}
		if s.pictures == 1 {
			s.first = s.head[:len(s.head):len(s.head)]
		}
		s.pictures++
		p = p[head:]
	}
	if len(s.head) < tsMaxHead {
		s.head = append(s.head, p...)
	}
	if s.coding == 0x0f || s.coding == 0xcf {
		s.countADTS(p, starts)
	}
	return nil
}

// countADTS counts AAC frames where they begin a PES packet or follow in the
// kept head; a PES packet of the packager's carries one or more whole frames.
func (s *tsStream) countADTS(p []byte, starts bool) {
	if starts && len(p) >= 7 && p[0] == 0xff && p[1]&0xf0 == 0xf0 {
		rates := []float64{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}
		if i := int(p[2] >> 2 & 15); i < len(rates) {
			s.rate = rates[i]
		}
		s.adts++
	}
}

// timestamp reads a PTS of 33 bits (2.4.3.7).
func timestamp(p []byte) int64 {
	return int64(p[0]>>1&7)<<30 | int64(p[1])<<22 | int64(p[2]>>1)<<15 | int64(p[3])<<7 | int64(p[4]>>1)
}

// facts orders the times, which go over 2^33 back to 0.
func (s *tsStream) facts() trackFacts {
	base := s.times[0]
	low, high := int64(0), int64(0)
	for _, t := range s.times {
		d := (t - base + tsWrap) % tsWrap
		if d > tsWrap/2 {
			d -= tsWrap
		}
		low, high = min(low, d), max(high, d)
	}
	f := trackFacts{Kind: s.kind, Start: float64(base+low) / tsClock, Samples: len(s.times)}
	step := 0.0
	if n := len(s.times); n > 1 {
		step = float64(high-low) / tsClock / float64(n-1)
	} else if s.rate > 0 {
		step = 1024 / s.rate
	}
	f.Duration, f.Longest = float64(high-low)/tsClock+step, step
	s.describe(&f)
	if s.kind == audio {
		f.StartsWithKey, f.KeyKnown = true, true
		f.Longest = 2 * step // a packet may hold several frames, the last one fewer
	}
	return f
}

// describe reads the codec, and whether the first picture is a key picture.
func (s *tsStream) describe(f *trackFacts) {
	unit := s.first
	if s.pictures == 1 {
		unit = s.head
	}
	switch s.coding {
	case 0x1b, 0xdb:
		for _, nal := range nalUnits(unit) {
			switch avc.GetNaluType(nal[0]) {
			case avc.NALU_SPS:
				if sps, err := avc.ParseSPSNALUnit(nal, false); err == nil {
					f.Codec, f.Width, f.Height = avc.CodecString("avc1", sps), int(sps.Width), int(sps.Height)
				}
			case avc.NALU_IDR:
				f.StartsWithKey = true
			}
		}
		f.KeyKnown = true
	case 0x24:
		for _, nal := range nalUnits(unit) {
			switch t := hevc.GetNaluType(nal[0]); {
			case t == hevc.NALU_SPS:
				if sps, err := hevc.ParseSPSNALUnit(nal); err == nil {
					f.Codec = hevc.CodecString("hvc1", sps)
					w, h := sps.ImageSize()
					f.Width, f.Height = int(w), int(h)
				}
			case t >= hevc.NALU_BLA_W_LP && t <= hevc.NALU_CRA:
				f.StartsWithKey = true
			}
		}
		f.KeyKnown = true
	case 0x0f, 0xcf:
		if len(s.head) > 2 && s.head[0] == 0xff {
			f.Codec = fmt.Sprintf("mp4a.40.%d", s.head[2]>>6+1)
		}
	case 0x03, 0x04:
		f.Codec = "mp4a.40.34"
	case 0x81, 0xc1:
		f.Codec = "ac-3"
	case 0x87, 0xc2:
		f.Codec = "ec-3"
	}
}

// nalUnits splits a byte stream (ITU-T H.264, Annex B) into NAL units that are
// not empty.
func nalUnits(b []byte) (out [][]byte) {
	start := []byte{0, 0, 1}
	for {
		i := bytes.Index(b, start)
		if i < 0 {
			return out
		}
		b = b[i+3:]
		end := bytes.Index(b, start)
		if end < 0 {
			end = len(b)
		}
		if nal := bytes.TrimRight(b[:end], "\x00"); len(nal) > 1 {
			out = append(out, nal)
		}
	}
}

// unwrap moves a time of 33 bits next to another one.
func unwrap(t, near float64) float64 {
	const span = tsWrap / tsClock
	return t + math.Round((near-t)/span)*span
}
