package pipeline

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
)

// mediaPlaylist is what we read of a media playlist (RFC 8216, 4.3).
type mediaPlaylist struct {
	TargetDuration float64
	Segments       []playlistSegment
	Ended          bool
}

type playlistSegment struct {
	URI     string
	Seconds float64
}

func parseMediaPlaylist(doc []byte) (mediaPlaylist, error) {
	var p mediaPlaylist
	lines := bufio.NewScanner(bytes.NewReader(doc))
	seconds := -1.0
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		var err error
		switch {
		case n == 1 && line != "#EXTM3U":
			return p, fmt.Errorf("playlist does not begin with #EXTM3U")
		case strings.HasPrefix(line, "#EXT-X-TARGETDURATION:"):
			p.TargetDuration, err = strconv.ParseFloat(line[len("#EXT-X-TARGETDURATION:"):], 64)
		case strings.HasPrefix(line, "#EXTINF:"):
			value, _, _ := strings.Cut(line[len("#EXTINF:"):], ",")
			seconds, err = strconv.ParseFloat(value, 64)
			if err == nil && (seconds < 0 || math.IsNaN(seconds) || math.IsInf(seconds, 0)) {
				err = fmt.Errorf("duration %v", seconds)
			}
		case line == "#EXT-X-ENDLIST":
			p.Ended = true
		case line != "" && !strings.HasPrefix(line, "#"):
			if seconds < 0 {
				return p, fmt.Errorf("playlist line %d: segment without EXTINF", n)
			}
			p.Segments = append(p.Segments, playlistSegment{URI: line, Seconds: seconds})
			seconds = -1
		}
		if err != nil {
			return p, fmt.Errorf("playlist line %d: %w", n, err)
		}
	}
	return p, lines.Err()
}

// seconds returns the sum of the segments' durations.
func (p mediaPlaylist) seconds() float64 {
	var sum float64
	for _, s := range p.Segments {
		sum += s.Seconds
	}
	return sum
}

// addSegmentKeys writes an EXT-X-KEY with an explicit IV before each segment
// (RFC 8216, 4.3.2.4). key tells the key URI and the IV of a segment by its URI.
func addSegmentKeys(doc []byte, key func(uri string) (keyURI string, iv [16]byte, ok bool)) ([]byte, error) {
	var out bytes.Buffer
	var pending []string // EXTINF and what follows it, until the URI is known
	lines := bufio.NewScanner(bytes.NewReader(doc))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		switch {
		case strings.HasPrefix(line, "#EXT-X-KEY"):
			return nil, fmt.Errorf("playlist has a key already")
		case strings.HasPrefix(line, "#EXTINF:"), len(pending) > 0 && strings.HasPrefix(line, "#") && line != "#EXT-X-ENDLIST":
			pending = append(pending, line)
		case line != "" && !strings.HasPrefix(line, "#"):
			keyURI, iv, ok := key(line)
			if !ok {
				return nil, fmt.Errorf("playlist names %s, which was not made", line)
			}
			out.WriteString(segmentKey(keyURI, iv))
			for _, p := range pending {
				out.WriteString(p + "\n")
			}
			pending = nil
			out.WriteString(line + "\n")
		default:
			out.WriteString(line + "\n")
		}
	}
	return out.Bytes(), lines.Err()
}

// segmentKey is the EXT-X-KEY of a segment that is encrypted whole.
func segmentKey(uri string, iv [16]byte) string {
	return fmt.Sprintf("#EXT-X-KEY:METHOD=AES-128,URI=%q,IV=0x%x\n", uri, iv)
}

// trackBits are the measured bit rates of a rendition in an output.
type trackBits struct {
	Peak, Average int64 // bit/s
	Bytes         int64
	Seconds       float64
}

// measure returns bit rates as RFC 8216, 4.3.4.2 defines them: the largest
// rate of any contiguous set of segments whose duration is between 0.5 and
// 1.5 times the target duration, and the average over all segments.
func measure(p mediaPlaylist, size func(uri string) int64) trackBits {
	var b trackBits
	sizes := make([]int64, len(p.Segments))
	for i, s := range p.Segments {
		sizes[i] = size(s.URI)
		b.Bytes += sizes[i]
	}
	b.Seconds = p.seconds()
	if b.Seconds > 0 {
		b.Average = int64(math.Ceil(8 * float64(b.Bytes) / b.Seconds))
	}
	for i := range p.Segments {
		var bytes int64
		var seconds float64
		for j := i; j < len(p.Segments); j++ {
			bytes += sizes[j]
			seconds += p.Segments[j].Seconds
			if seconds > 1.5*p.TargetDuration {
				break
			}
			if seconds >= 0.5*p.TargetDuration {
				b.Peak = max(b.Peak, int64(math.Ceil(8*float64(bytes)/seconds)))
			}
		}
	}
	b.Peak = max(b.Peak, b.Average) // one short segment: nothing else to go by
	return b
}

// variant is one line of a multivariant playlist with its facts.
type variant struct {
	URI           string
	Codec         string
	Width, Height int
	FrameRate     float64
	Bits          trackBits
	IFrames       trackBits // of its I-frame playlist; zero: there is none
}

type alternative struct {
	URI, Name, Language, Codec string
	Default                    bool
	Channels                   int
	Rate                       int // kbit/s that it was encoded at
	Bits                       trackBits
}

func (v *VideoPlan) variant(uri, codec string, bits trackBits) variant {
	return variant{URI: uri, Codec: codec, Width: v.Width, Height: v.Height, FrameRate: v.Rate.Float(), Bits: bits}
}

func (t *AudioPlan) alternative(uri, codec string, channels int, bits trackBits) alternative {
	return alternative{
		URI: uri, Name: t.Name, Language: t.Language, Codec: codec, Default: t.Default,
		Channels: channels, Rate: t.rate(), Bits: bits,
	}
}

// multivariant writes the playlist of what was asked for.
func (o Options) multivariant(variants []variant, audio []alternative) []byte {
	if o.SoundOnly() {
		return soundPlaylist(audio)
	}
	return multivariantPlaylist(variants, audio, o.Audio != nil && o.Audio.AudioOnly)
}

// multivariantPlaylist writes the playlist that a player opens first
// (RFC 8216bis, 4.4.6). A variant's bandwidth counts the audio that plays
// with it. With soundAlone a last variant has no pictures.
func multivariantPlaylist(variants []variant, audio []alternative, soundAlone bool) []byte {
	var out bytes.Buffer
	out.WriteString("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n")
	groups := []audioGroup{{}} // variants without sound
	if len(audio) > 0 {
		groups = audioGroups(audio)
	}
	for _, g := range groups {
		for _, a := range g.Members {
			writeAlternative(&out, g.ID, a)
		}
	}
	for _, g := range groups {
		peak, average := g.rates()
		codecs, group := "", ""
		if len(g.Members) > 0 {
			codecs, group = ","+g.codecs(), fmt.Sprintf(",AUDIO=%q", g.ID)
		}
		for _, v := range variants {
			fmt.Fprintf(&out, "#EXT-X-STREAM-INF:%s,CODECS=\"%s%s\",RESOLUTION=%dx%d,FRAME-RATE=%.3f,VIDEO-RANGE=SDR%s,CLOSED-CAPTIONS=NONE\n%s\n",
				bandwidth(v.Bits.Peak+peak, v.Bits.Average+average), v.Codec, codecs, v.Width, v.Height, v.FrameRate, group, v.URI)
		}
	}
	if g := groups[0]; soundAlone && len(g.Members) > 0 {
		writeSoundVariant(&out, g)
	}
	for _, v := range variants {
		if v.IFrames.Bytes > 0 {
			fmt.Fprintf(&out, "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=%d,AVERAGE-BANDWIDTH=%d,CODECS=\"%s\",RESOLUTION=%dx%d,VIDEO-RANGE=SDR,URI=\"%s\"\n",
				v.IFrames.Peak, v.IFrames.Average, v.Codec, v.Width, v.Height, path.Join(path.Dir(v.URI), playlistIFrames))
		}
	}
	return out.Bytes()
}

// bandwidth are the attributes of a variant's bit rates. An average that is not
// known, 0, is left out.
func bandwidth(peak, average int64) string {
	if average == 0 {
		return fmt.Sprintf("BANDWIDTH=%d", peak)
	}
	return fmt.Sprintf("BANDWIDTH=%d,AVERAGE-BANDWIDTH=%d", peak, average)
}

func writeAlternative(out *bytes.Buffer, group string, a alternative) {
	language := ""
	if a.Language != "" && a.Language != "und" {
		language = fmt.Sprintf(",LANGUAGE=%q", a.Language)
	}
	def := "NO"
	if a.Default {
		def = "YES"
	}
	fmt.Fprintf(out, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=%q,NAME=\"%s\"%s,DEFAULT=%s,AUTOSELECT=YES,CHANNELS=\"%d\",URI=\"%s\"\n",
		group, a.Name, language, def, a.Channels, a.URI)
}

// relativeTo returns name as a URI relative to the folder of doc, for names
// below that folder.
func relativeTo(doc, name string) string {
	if dir := path.Dir(doc); dir != "." {
		return strings.TrimPrefix(name, dir+"/")
	}
	return name
}
