package pipeline

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/Eyevinn/mp4ff/bits"
	"github.com/Eyevinn/mp4ff/mp4"
)

// Trick play: an I-frame playlist (RFC 8216bis, 4.4.3.6) names the bytes of the
// first key picture of each segment, so that a player can wind through a film
// with little data. Outputs whose segments are encrypted whole have none: a part
// of such a segment cannot be decrypted for itself, and pictures in objects of
// their own would be as many objects again as there are segments.

const (
	playlistIFrames    = "iframes.m3u8"
	playlistIFramesEME = "eme-iframes.m3u8"
)

// hasIFrames says whether a rendition in an output has an I-frame playlist.
func (o Options) hasIFrames(output string, r *rendition) bool {
	return r.Video != nil && (!o.Encrypt || !formats[output].sealed)
}

// byteRange is a part of an object.
type byteRange struct{ off, n int64 }

// firstKeyPicture finds the first picture of a segment that begins with a key
// picture: of fMP4 with its moof box, of MPEG-TS without the tables before it.
func firstKeyPicture(output string, segment []byte) (byteRange, error) {
	if formats[output].container == containerTS {
		return firstPES(segment)
	}
	return firstSample(segment)
}

// firstSample gives the first moof box (ISO/IEC 14496-12, 8.8.4) to the end of
// its first sample.
func firstSample(segment []byte) (byteRange, error) {
	for off := 0; off+8 <= len(segment); {
		size := int(binary.BigEndian.Uint32(segment[off:]))
		if size < 8 || size > len(segment)-off {
			break
		}
		if string(segment[off+4:off+8]) != "moof" {
			off += size
			continue
		}
		box, err := mp4.DecodeBoxSR(0, bits.NewFixedSliceReader(segment[off:off+size]))
		if err != nil {
			return byteRange{}, fmt.Errorf("find the first sample: %w", err)
		}
		moof, ok := box.(*mp4.MoofBox)
		if !ok || moof.Traf == nil || moof.Traf.Tfhd == nil || moof.Traf.Trun == nil || len(moof.Traf.Trun.Samples) == 0 {
			break
		}
		trun := moof.Traf.Trun
		first := int64(trun.Samples[0].Size)
		if !trun.HasSampleSize() {
			first = int64(moof.Traf.Tfhd.DefaultSampleSize)
		}
		r := byteRange{int64(off), int64(trun.DataOffset) + first} // the offset counts from moof
		if first == 0 || trun.DataOffset < int32(size) || r.off+r.n > int64(len(segment)) {
			break
		}
		return r, nil
	}
	return byteRange{}, fmt.Errorf("no first sample in a segment of %d bytes", len(segment))
}

// firstPES gives the packets of the first PES packet of pictures
// (ISO/IEC 13818-1, 2.4.3.6), up to the next one.
func firstPES(segment []byte) (byteRange, error) {
	const packet = 188
	start, pid := -1, -1
	for off := 0; off+packet <= len(segment); off += packet {
		p := segment[off : off+packet]
		if p[1]&0x40 == 0 || start >= 0 && pidOf(p) != pid {
			continue
		}
		if start >= 0 {
			return byteRange{int64(start), int64(off - start)}, nil
		}
		payload := 4
		if p[3]&0x20 != 0 {
			payload += 1 + int(p[4])
		}
		if payload+4 <= packet && bytes.HasPrefix(p[payload:], []byte{0, 0, 1}) && p[payload+3]&0xf0 == 0xe0 {
			start, pid = off, pidOf(p)
		}
	}
	if start < 0 {
		return byteRange{}, fmt.Errorf("no picture in a segment of %d bytes", len(segment))
	}
	return byteRange{int64(start), int64(len(segment) - start)}, nil
}

func pidOf(packet []byte) int { return int(packet[1]&0x1f)<<8 | int(packet[2]) }

// iframePlaylist makes an I-frame playlist of a media playlist; key tells the
// first key picture of a segment by its URI.
func iframePlaylist(doc []byte, key func(uri string) (byteRange, bool)) ([]byte, error) {
	var out strings.Builder
	for line := range strings.Lines(string(doc)) {
		uri := strings.TrimSpace(line)
		if uri != "" && !strings.HasPrefix(uri, "#") {
			r, ok := key(uri)
			if !ok || r.n <= 0 {
				return nil, fmt.Errorf("no key picture of %s is known", uri)
			}
			fmt.Fprintf(&out, "#EXT-X-BYTERANGE:%d@%d\n", r.n, r.off)
		}
		out.WriteString(line)
		if uri == "#EXT-X-PLAYLIST-TYPE:VOD" {
			out.WriteString("#EXT-X-I-FRAMES-ONLY\n")
		}
	}
	if !strings.Contains(out.String(), "#EXT-X-I-FRAMES-ONLY") {
		return nil, fmt.Errorf("the playlist is not one of a film")
	}
	return []byte(out.String()), nil
}

// addIFrames makes the I-frame playlists of a rendition out of its media
// playlists, and measures them.
func (g *gate) addIFrames(dir string, list mediaPlaylist, p *packed) error {
	segments := g.a.sink.all()
	key := func(uri string) (byteRange, bool) {
		seg := segments[dir+"/"+uri]
		if seg == nil {
			return byteRange{}, false
		}
		return seg.KeyPicture, true
	}
	for from, to := range map[string]string{"index.m3u8": playlistIFrames, playlistEME: playlistIFramesEME} {
		doc, ok := p.playlists[dir+"/"+from]
		if !ok {
			continue // nothing for EME players
		}
		iframes, err := iframePlaylist(doc, key)
		if err != nil {
			return fmt.Errorf("%s: %w", dir, err)
		}
		p.playlists[dir+"/"+to] = iframes
	}
	p.iframes[dir] = measure(list, func(uri string) int64 { return segments[dir+"/"+uri].KeyPicture.n })
	return nil
}
