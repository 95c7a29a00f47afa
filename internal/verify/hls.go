package verify

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// tag is one line that begins with #EXT.
type tag struct {
	Name  string // "EXT-X-KEY"
	Value string
	Attrs attributes // nil for tags without an attribute list
	Line  int
}

// attributes is an attribute list (RFC 8216bis, 4.2) with strings unquoted.
type attributes map[string]string

// entry is one segment of a media playlist as it is listed.
type entry struct {
	URI           string
	Seconds       float64
	Sequence      uint64
	Offset        int64
	Length        int64
	Keys          []tag // EXT-X-KEY tags in force, one for each KEYFORMAT
	Map           *tag
	Discontinuity bool
	Gap           bool
	Line          int
}

// stream is one EXT-X-STREAM-INF with its URI.
type stream struct {
	Tag tag
	URI string
}

// playlist is a multivariant or media playlist (RFC 8216bis, 4).
type playlist struct {
	URL          string
	Name         string
	Multivariant bool
	Version      int // 1 without the tag
	Tags         []tag
	Faults       []string // of syntax
	Target       float64
	HasTarget    bool
	Type         string
	Ended        bool
	IFrames      bool
	Independent  bool
	Entries      []entry
	Streams      []stream
	Floating     int // line of the first EXTINF that is no integer
}

// attributeTags have an attribute list.
var attributeTags = map[string]bool{
	"EXT-X-START": true, "EXT-X-DEFINE": true, "EXT-X-PART-INF": true, "EXT-X-SERVER-CONTROL": true,
	"EXT-X-KEY": true, "EXT-X-MAP": true, "EXT-X-PART": true, "EXT-X-DATERANGE": true, "EXT-X-SKIP": true,
	"EXT-X-PRELOAD-HINT": true, "EXT-X-RENDITION-REPORT": true, "EXT-X-MEDIA": true, "EXT-X-STREAM-INF": true,
	"EXT-X-I-FRAME-STREAM-INF": true, "EXT-X-SESSION-DATA": true, "EXT-X-SESSION-KEY": true, "EXT-X-CONTENT-STEERING": true,
}

// onlyMultivariant and onlyMedia are tags that must not stand in the other
// kind of playlist (RFC 8216bis, 4.4.3 to 4.4.6).
var (
	onlyMultivariant = []string{"EXT-X-STREAM-INF", "EXT-X-MEDIA", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-SESSION-DATA", "EXT-X-SESSION-KEY", "EXT-X-CONTENT-STEERING"}
	onlyMedia        = []string{
		"EXTINF", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-ENDLIST", "EXT-X-PLAYLIST-TYPE", "EXT-X-KEY", "EXT-X-MAP",
		"EXT-X-BYTERANGE", "EXT-X-I-FRAMES-ONLY", "EXT-X-DISCONTINUITY", "EXT-X-DISCONTINUITY-SEQUENCE", "EXT-X-GAP", "EXT-X-BITRATE",
	}
	// once are tags that stand in a playlist at most once.
	once = []string{
		"EXT-X-VERSION", "EXT-X-TARGETDURATION", "EXT-X-MEDIA-SEQUENCE", "EXT-X-DISCONTINUITY-SEQUENCE", "EXT-X-PLAYLIST-TYPE",
		"EXT-X-I-FRAMES-ONLY", "EXT-X-INDEPENDENT-SEGMENTS", "EXT-X-ENDLIST", "EXT-X-START",
	}
)

// parsePlaylist reads a playlist. Faults of syntax are kept in the playlist;
// an error means that it is none.
func parsePlaylist(url string, doc []byte) (*playlist, error) {
	p := &playlist{URL: url, Version: 1}
	body := string(doc)
	if strings.HasPrefix(body, "\ufeff") {
		p.fault(1, "it begins with a byte order mark")
		body = strings.TrimPrefix(body, "\ufeff")
	}
	if !utf8.ValidString(body) {
		p.fault(1, "it is not UTF-8")
		body = strings.ToValidUTF8(body, "\ufffd")
	}
	first, _, _ := strings.Cut(body, "\n")
	if strings.TrimRight(first, "\r") != "#EXTM3U" {
		return nil, fmt.Errorf("it does not begin with #EXTM3U: no HLS playlist")
	}
	r := playlistReader{p: p}
	n := 0
	for line := range strings.Lines(body) {
		n++
		if err := r.line(n, strings.TrimRight(line, "\r\n")); err != nil {
			return nil, err
		}
	}
	r.end()
	return p, nil
}

func (p *playlist) fault(line int, format string, args ...any) {
	const most = 50
	if len(p.Faults) < most {
		p.Faults = append(p.Faults, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, args...))
	}
}

// playlistReader holds the state between lines.
type playlistReader struct {
	p        *playlist
	next     entry // what tags have said of the segment to come
	seconds  bool  // EXTINF was there
	keys     []tag
	keysMap  bool // the keys are those of the segment before
	init     *tag
	sequence uint64
	stream   *tag
	ranges   map[string]int64 // end of the last byte range by URI
	rangeTag string
}

func (r *playlistReader) line(n int, line string) error {
	switch {
	case line == "":
		return nil
	case strings.HasPrefix(line, "#EXT"):
		return r.tag(n, line[1:])
	case strings.HasPrefix(line, "#"):
		return nil
	}
	return r.uri(n, line)
}

func (r *playlistReader) tag(n int, line string) error {
	if len(r.p.Tags) > 4*maxSegments {
		return fmt.Errorf("it has more than %d tags", 4*maxSegments)
	}
	name, value, _ := strings.Cut(line, ":")
	t := tag{Name: name, Value: value, Line: n}
	if attributeTags[name] {
		var err error
		if t.Attrs, err = parseAttributes(value); err != nil {
			r.p.fault(n, "%s: %v", name, err)
		}
	}
	r.p.Tags = append(r.p.Tags, t)
	if !r.playlistTag(t) {
		r.segmentTag(t)
	}
	return nil
}

// playlistTag takes tags about the whole playlist.
func (r *playlistReader) playlistTag(t tag) bool {
	p := r.p
	switch t.Name {
	case "EXT-X-VERSION":
		v, err := strconv.Atoi(t.Value)
		if err != nil || v < 1 {
			p.fault(t.Line, "EXT-X-VERSION is %q", clip(t.Value))
			break
		}
		p.Version = v
	case "EXT-X-TARGETDURATION":
		v, err := strconv.ParseUint(t.Value, 10, 31)
		if err != nil {
			p.fault(t.Line, "EXT-X-TARGETDURATION is %q, not a decimal integer", clip(t.Value))
			break
		}
		p.Target, p.HasTarget = float64(v), true
	case "EXT-X-MEDIA-SEQUENCE":
		v, err := strconv.ParseUint(t.Value, 10, 64)
		if err != nil || len(p.Entries) > 0 {
			p.fault(t.Line, "EXT-X-MEDIA-SEQUENCE is no number or stands after the first segment")
			break
		}
		r.sequence = v
	case "EXT-X-PLAYLIST-TYPE":
		if p.Type = t.Value; p.Type != "VOD" && p.Type != "EVENT" {
			p.fault(t.Line, "EXT-X-PLAYLIST-TYPE is %q", clip(t.Value))
		}
	case "EXT-X-ENDLIST":
		p.Ended = true
	case "EXT-X-I-FRAMES-ONLY":
		p.IFrames = true
	case "EXT-X-INDEPENDENT-SEGMENTS":
		p.Independent = true
	case "EXT-X-STREAM-INF":
		p.Multivariant = true
		r.stream = &t
	case "EXT-X-MEDIA", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-SESSION-KEY", "EXT-X-SESSION-DATA", "EXT-X-CONTENT-STEERING":
		p.Multivariant = true
	default:
		return false
	}
	return true
}

// segmentTag takes tags about segments to come.
func (r *playlistReader) segmentTag(t tag) {
	switch t.Name {
	case "EXTINF":
		value, _, comma := strings.Cut(t.Value, ",")
		seconds, err := strconv.ParseFloat(value, 64)
		if err != nil || seconds < 0 || math.IsNaN(seconds) || seconds > 1e7 {
			r.p.fault(t.Line, "EXTINF is %q", clip(t.Value))
			break
		}
		if !comma {
			r.p.fault(t.Line, "EXTINF has no comma after the duration")
		}
		if strings.Contains(value, ".") && r.p.Floating == 0 {
			r.p.Floating = t.Line
		}
		r.next.Seconds, r.seconds = seconds, true
	case "EXT-X-BYTERANGE":
		r.rangeTag = t.Value
	case "EXT-X-DISCONTINUITY":
		r.next.Discontinuity = true
	case "EXT-X-GAP":
		r.next.Gap = true
	case "EXT-X-MAP":
		r.init = &t
	case "EXT-X-KEY":
		r.key(t)
	}
}

// key replaces the keys in force: tags that follow each other with different
// KEYFORMATs stand for the same key (RFC 8216bis, 4.4.4.4).
func (r *playlistReader) key(t tag) {
	if r.keysMap {
		r.keys, r.keysMap = nil, false
	}
	if t.Attrs["METHOD"] == "NONE" {
		r.keys = nil
		return
	}
	var kept []tag
	for _, k := range r.keys {
		if k.keyFormat() != t.keyFormat() {
			kept = append(kept, k)
		}
	}
	kept = append(kept, t)
	r.keys = kept
}

func (t tag) keyFormat() string {
	if f := t.Attrs["KEYFORMAT"]; f != "" {
		return f
	}
	return "identity"
}

func (r *playlistReader) uri(n int, uri string) error {
	if r.stream != nil {
		if len(r.p.Streams) >= maxRenditions {
			return fmt.Errorf("it has more than %d variants", maxRenditions)
		}
		r.p.Streams = append(r.p.Streams, stream{*r.stream, uri})
		r.stream = nil
		return nil
	}
	if len(r.p.Entries) >= maxSegments {
		return fmt.Errorf("it has more than %d segments", maxSegments)
	}
	if !r.seconds && !r.p.Multivariant {
		r.p.fault(n, "a URI without EXTINF")
	}
	e := r.next
	e.URI, e.Line, e.Sequence = uri, n, r.sequence
	e.Keys, e.Map, r.keysMap = r.keys, r.init, true
	if r.rangeTag != "" {
		r.byteRange(n, &e)
	}
	r.p.Entries = append(r.p.Entries, e)
	r.next, r.seconds, r.rangeTag = entry{}, false, ""
	r.sequence++
	return nil
}

// byteRange reads n[@o]; without o it goes on where the last one of the same
// resource ended (RFC 8216bis, 4.4.4.2).
func (r *playlistReader) byteRange(n int, e *entry) {
	length, offset, err := parseByteRange(r.rangeTag)
	if err != nil {
		r.p.fault(n, "EXT-X-BYTERANGE: %v", err)
		return
	}
	if offset < 0 {
		end, ok := r.ranges[e.URI]
		if !ok {
			r.p.fault(n, "EXT-X-BYTERANGE without an offset, and no range of this resource before it")
			return
		}
		offset = end
	}
	if r.ranges == nil {
		r.ranges = map[string]int64{}
	}
	r.ranges[e.URI] = offset + length
	e.Offset, e.Length = offset, length
}

// parseByteRange returns the offset −1 when there is none.
func parseByteRange(s string) (length, offset int64, err error) {
	n, o, has := strings.Cut(s, "@")
	offset = -1
	if length, err = strconv.ParseInt(n, 10, 48); err == nil && has {
		offset, err = strconv.ParseInt(o, 10, 48)
	}
	if err != nil || length <= 0 || has && offset < 0 {
		return 0, 0, fmt.Errorf("%q is no range", clip(s))
	}
	return length, offset, nil
}

// end looks for what is missing or too much.
func (r *playlistReader) end() {
	p := r.p
	if r.stream != nil {
		p.fault(r.stream.Line, "EXT-X-STREAM-INF without a URI")
	}
	wrong, of := onlyMultivariant, "multivariant"
	if p.Multivariant {
		wrong, of = onlyMedia, "media"
	}
	seen := map[string]int{}
	for _, t := range p.Tags {
		seen[t.Name]++
	}
	for _, name := range wrong {
		if seen[name] > 0 {
			p.fault(0, "%s is a tag of %s playlists", name, of)
		}
	}
	for _, name := range once {
		if seen[name] > 1 {
			p.fault(0, "%s stands %d times", name, seen[name])
		}
	}
}

var attributeName = regexp.MustCompile(`^[A-Z0-9-]+$`)

// parseAttributes reads NAME=value,NAME="quoted, value",… Names must be unique.
func parseAttributes(list string) (attributes, error) {
	out := attributes{}
	for rest := list; ; {
		name, value, ok := strings.Cut(rest, "=")
		if !ok || !attributeName.MatchString(name) {
			return out, fmt.Errorf("%q is no attribute", clip(name))
		}
		if _, twice := out[name]; twice {
			return out, fmt.Errorf("attribute %s stands twice", name)
		}
		if strings.HasPrefix(value, `"`) {
			end := strings.IndexByte(value[1:], '"')
			if end < 0 {
				return out, fmt.Errorf("the quoted string of %s has no end", name)
			}
			out[name], rest = value[1:1+end], value[end+2:]
		} else {
			end := strings.IndexByte(value, ',')
			if end < 0 {
				end = len(value)
			}
			if out[name] = value[:end]; value[:end] == "" || strings.ContainsAny(value[:end], " \"\t") {
				return out, fmt.Errorf("the value of %s is %q", name, clip(value[:end]))
			}
			rest = value[end:]
		}
		if rest == "" {
			return out, nil
		}
		if rest[0] != ',' {
			return out, fmt.Errorf("no comma after %s", name)
		}
		rest = rest[1:]
	}
}

// clip bounds foreign text that is shown.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
