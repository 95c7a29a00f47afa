package verify

import (
	"bytes"
	"context"
	"fmt"
	"strings"
)

// play is the way of one rendition's segments into a decoder.
type play struct {
	g       *gatherer
	r       *rendition
	opened  map[*initSegment]*opened
	decoder *decoder
	last    *initSegment
	near    float64 // time of the segment before, to unwrap MPEG-TS clocks
	any     bool
}

// rendition fetches every segment, in order, and keeps what it measured.
func (g *gatherer) rendition(ctx context.Context, r *rendition) error {
	p := &play{g: g, r: r, opened: map[*initSegment]*opened{}}
	defer p.stop()
	for _, s := range r.Segments {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if !s.Gap {
			if err := p.segment(ctx, s); err != nil {
				return err
			}
		}
		g.step()
	}
	return nil
}

func (g *gatherer) step() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.done++
	g.cfg.Progress(100 * float64(g.done) / float64(g.total))
}

// stop ends the decoder and takes what it found.
func (p *play) stop() {
	if p.decoder != nil {
		p.decoder.end(&p.r.Decoded)
		p.decoder = nil
	}
}

func (p *play) segment(ctx context.Context, s *segment) error {
	var o *opened
	if s.Init != nil {
		o = p.init(ctx, s.Init)
	}
	body, a := p.g.client.get(ctx, s.Resource, maxSegment)
	s.Answer = a
	if !a.ok() {
		return ctx.Err()
	}
	var key []byte
	if s.Key != nil {
		var ready bool
		if key, ready = p.key(ctx, s); !ready {
			if s.Key.URI == "" {
				p.r.Unknown = "its keys are for a DRM system only"
			}
			p.measure(s, body, o)
			return nil
		}
		if s.Key.Method == "AES-128" {
			s.Clear = looksClear(body)
			if body, s.Decrypt = undo(body, key, s); s.Decrypt != "" {
				return nil
			}
			key = nil
		}
	}
	if p.r.Kind == iframe && s.Init == nil && len(body) > 0 && body[0] == 0x47 {
		body = append(p.tables(ctx, s.Resource), body...)
	}
	clear := p.open(s, body, o, key)
	if clear == nil || p.r.Kind == iframe || p.r.Kind == text || p.r.Kind == other {
		return nil
	}
	return p.feed(ctx, s, o, clear)
}

func undo(body, key []byte, s *segment) ([]byte, string) {
	clear, err := undoAES128(body, key, s.Key.IV)
	if err != nil {
		return nil, err.Error()
	}
	return clear, ""
}

// key fetches the content key of a segment; false when there is none to have.
func (p *play) key(ctx context.Context, s *segment) ([]byte, bool) {
	if s.Key.URI == "" {
		return nil, false
	}
	var k *contentKey
	if s.Key.Licence {
		k = p.g.keys.licence(ctx, s.Key.URI, first(s.Key.KID, s.boxKID()))
	} else {
		k = p.g.keys.identity(ctx, s.Key.URI)
	}
	return k.value, k.value != nil
}

// boxKID is the key id of the init segment, for playlists that name none.
func (s *segment) boxKID() string {
	for _, t := range s.initTracks() {
		if t.KID != "" {
			return t.KID
		}
	}
	return ""
}

// measure takes the facts of a segment that cannot be decrypted, as far as its
// boxes tell them.
func (p *play) measure(s *segment, body []byte, o *opened) {
	var err error
	switch {
	case o == nil || s.Key.Method == "AES-128":
	case p.r.Kind == iframe:
		err = readPartial(s, body, o)
	default:
		_, err = clearMP4(s, body, o, nil)
	}
	if err != nil {
		s.Container = err.Error()
	}
}

// init fetches an init segment once.
func (p *play) init(ctx context.Context, s *initSegment) *opened {
	if o, ok := p.opened[s]; ok {
		return o
	}
	p.opened[s] = nil
	body, a := p.g.client.get(ctx, s.Resource, maxDocument)
	s.Answer = a
	if !a.ok() {
		return nil
	}
	o, err := openInit(body)
	if err != nil {
		s.Fault = err.Error()
		return nil
	}
	s.Tracks, p.opened[s] = o.tracks, o
	return o
}

// open reads the container of a segment and returns it in the clear.
func (p *play) open(s *segment, body []byte, o *opened, key []byte) []byte {
	if o == nil && s.Init != nil {
		return nil // told at the init segment
	}
	var err error
	switch {
	case o != nil && p.r.Kind == iframe:
		err = readPartial(s, body, o)
	case o != nil:
		body, err = clearMP4(s, body, o, key)
	case p.r.Kind == text:
		s.Text = readWebVTT(body)
	case len(body) > 0 && body[0] == 0x47:
		s.Tracks, err = readTS(body)
		p.unwrap(s)
	case packedAudio(body):
	default:
		err = fmt.Errorf("neither MPEG-TS nor packed audio, and there is no init segment for fragmented MP4")
	}
	if err != nil {
		s.Container = err.Error()
		return nil
	}
	return body
}

// tables fetches the PAT and PMT of an I-frame: its bytes do not include them;
// they stand between the beginning of the resource and its first I-frame
// (RFC 8216bis, 4.4.3.6).
func (p *play) tables(ctx context.Context, ref resource) []byte {
	const most = 16 * tsPacket
	if ref.Length == 0 || ref.Offset <= 0 {
		return nil
	}
	head, a := p.g.client.get(ctx, resource{URL: ref.URL, Length: min(ref.Offset, most)}, most)
	if !a.ok() {
		return nil // whoever reads the segment misses them
	}
	for at := 0; at+tsPacket <= len(head); at += tsPacket {
		pid, starts := int(head[at+1]&0x1f)<<8|int(head[at+2]), head[at+1]&0x40 != 0
		if pes := bytes.Contains(head[at+4:at+tsPacket], []byte{0, 0, 1, 0xe0}); head[at] != 0x47 || pid != 0 && starts && pes {
			return head[:at]
		}
	}
	return head[:len(head)/tsPacket*tsPacket]
}

// packedAudio tells AAC and MP3 without a container (RFC 8216bis, 3.1.3).
func packedAudio(b []byte) bool {
	return bytes.HasPrefix(b, []byte("ID3")) || len(b) > 2 && b[0] == 0xff && b[1]&0xe0 == 0xe0
}

// unwrap puts MPEG-TS times on one line with those of the segment before.
func (p *play) unwrap(s *segment) {
	for i := range s.Tracks {
		if p.any {
			s.Tracks[i].Start = unwrap(s.Tracks[i].Start, p.near)
		}
	}
	if len(s.Tracks) > 0 {
		p.any, p.near = true, s.Tracks[0].Start
	}
}

// feed gives a clear segment to the decoder; a discontinuity or another init
// segment needs a new one.
func (p *play) feed(ctx context.Context, s *segment, o *opened, clear []byte) error {
	if p.decoder != nil && (s.Discontinuity || s.Init != p.last) {
		p.stop()
	}
	if p.decoder == nil {
		d, err := p.g.tool.start(ctx, formatOf(o, clear), p.g.cfg.Budget)
		if err != nil {
			return err
		}
		p.decoder, p.last = d, s.Init
		if o != nil {
			d.write(o.clear)
		}
	}
	p.decoder.write(clear)
	return nil
}

// formatOf names ffmpeg's demuxer, so that it does not guess.
func formatOf(o *opened, body []byte) string {
	switch {
	case o != nil:
		return "mov"
	case body[0] == 0x47:
		return "mpegts"
	case len(body) > 1 && body[1]&0xf6 == 0xf0 || bytes.HasPrefix(body, []byte("ID3")):
		return "aac"
	}
	return "mp3"
}

// readWebVTT says what is wrong with a WebVTT segment (RFC 8216bis, 3.1.4;
// WebVTT, 4.1).
func readWebVTT(body []byte) string {
	s := strings.TrimPrefix(string(body), "\ufeff")
	header, _, _ := strings.Cut(s, "\n")
	rest, ok := strings.CutPrefix(strings.TrimRight(header, "\r"), "WEBVTT")
	if !ok || rest != "" && rest[0] != ' ' && rest[0] != '\t' {
		return "it does not begin with WEBVTT"
	}
	for line := range strings.Lines(s) {
		if !strings.Contains(line, "-->") {
			continue
		}
		from, to, _ := strings.Cut(line, "-->")
		fields := strings.Fields(to)
		a, okA := cueTime(strings.TrimSpace(from))
		b, okB := 0.0, false
		if len(fields) > 0 {
			b, okB = cueTime(fields[0])
		}
		if !okA || !okB || b < a {
			return fmt.Sprintf("a cue with the times %q", clip(strings.TrimSpace(line)))
		}
	}
	return ""
}

// cueTime reads [hh:]mm:ss.ttt.
func cueTime(s string) (float64, bool) {
	parts := strings.Split(s, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return 0, false
	}
	sum := 0.0
	for i, part := range parts {
		whole, frac, dot := strings.Cut(part, ".")
		last := i == len(parts)-1
		if dot != last || last && len(frac) != 3 || len(whole) < 2 || i > 0 && len(whole) != 2 {
			return 0, false
		}
		n := 0
		for _, c := range whole + frac {
			if c < '0' || c > '9' || n > 1e9 {
				return 0, false
			}
			n = n*10 + int(c-'0')
		}
		if last {
			sum = sum*60 + float64(n)/1000
		} else {
			sum = sum*60 + float64(n)
		}
	}
	return sum, true
}
