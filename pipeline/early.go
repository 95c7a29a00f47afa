package pipeline

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"sync"
)

// Early play: while the encode runs, the segments that are durable may be shown,
// named by media playlists that grow (EXT-X-PLAYLIST-TYPE:EVENT; RFC 8216,
// 4.3.3.5). Those playlists and the init segments of the time before the end,
// which do not know the duration yet, are no objects: nothing in the store ever
// changes. When the attempt has ended well, the same names are the objects of a
// film: its playlists have the same segments, the same target duration and an end.

// EarlyObject is something of an attempt that may be shown before its end.
type EarlyObject struct {
	Object
	Body []byte // all of it or, when Grows, how it begins; nil: it lies in the store
	// Grows marks a media playlist: Lines of the segments in its folder follow
	// Body in the order of their numbers.
	Grows  bool
	Number int    // of a media segment, from 1; else 0
	Lines  []byte // how media playlists name a media segment
}

// early gathers what may be shown. Its methods do nothing when it is nil.
type early struct {
	a      *attempt
	rs     []*rendition
	target int // seconds
	abort  func(error)

	mu     sync.Mutex
	tracks map[string]*earlyTrack // by output/track
	said   map[string]earlyFacts  // by the rendition's name
	keys   map[string][]byte      // by output: the beginning of a playlist, with the keys for sessions
	begun  bool                   // the multivariant playlists are shown
}

// earlyFacts are what the encoder says of a rendition in its first box.
type earlyFacts struct {
	codec    string
	channels int
}

// earlyTrack is a rendition in an output.
type earlyTrack struct {
	output  string
	r       *rendition
	head    string           // the newest playlist's lines before its first segment
	listed  []string         // its segments' lines
	durable map[int]*segment // by number; those that are shown are out
	shown   int              // how many segments are
}

// newEarly returns nil when nobody wants to see anything before the end.
func newEarly(a *attempt, plan Plan, rs []*rendition, abort func(error)) *early {
	if a.req.Show == nil {
		return nil
	}
	e := &early{
		a: a, rs: rs, target: plan.earlyTarget(), abort: abort,
		tracks: map[string]*earlyTrack{}, said: map[string]earlyFacts{}, keys: map[string][]byte{},
	}
	for _, output := range a.req.Options.Outputs {
		for _, r := range carried(output, rs) {
			e.tracks[trackDir(output, r.Name)] = &earlyTrack{output: output, r: r, durable: map[int]*segment{}}
		}
	}
	return e
}

// earlyTarget is the target duration that is told before the lengths are known
// (RFC 8216, 4.3.3.1, and 6.2.1: it must not change): segments of sound may be a
// frame or two longer than those of pictures.
func (p Plan) earlyTarget() int { return int(math.Ceil(p.longestSegment() + 0.1)) }

// describe takes what the encoder says of a rendition.
func (e *early) describe(r *rendition) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.said[r.Name] = earlyFacts{r.Facts.Codec, r.Facts.Channels}
	if docs := e.begin(); len(docs) > 0 {
		e.a.req.Show(docs)
	}
}

// list takes a media playlist as the packager has just written it.
func (e *early) list(name string, doc []byte) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.tracks[path.Dir(name)]
	if t == nil {
		return // a multivariant playlist
	}
	t.head, t.listed = splitPlaylist(doc)
	e.advance(path.Dir(name), t)
}

// durable takes a segment that lies in the store.
func (e *early) durable(seg *segment) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	dir := trackDir(seg.Output, seg.Track)
	if t := e.tracks[dir]; t != nil {
		t.durable[seg.Number] = seg
		e.advance(dir, t)
	}
}

// advance shows what of a rendition is both durable and named, without gaps.
func (e *early) advance(dir string, t *earlyTrack) {
	var out []EarlyObject
	for t.shown < len(t.listed) {
		number := t.shown + 1
		seg := t.durable[number]
		if seg == nil || !strings.HasSuffix(t.listed[t.shown], "\n"+path.Base(seg.Object.Name)+"\n") {
			break
		}
		if t.shown == 0 {
			docs, err := e.documents(dir, t)
			if err != nil {
				e.abort(verifyError(fmt.Errorf("%s: %w", dir, err)))
				return
			}
			if docs == nil {
				return // its init segment is still to come
			}
			out = append(out, docs...)
		}
		lines := t.listed[t.shown]
		if !seg.Key.KID.IsZero() && formats[t.output].sealed {
			lines = segmentKey(seg.Key.URI, seg.IV) + lines
		}
		out = append(out, EarlyObject{Object: seg.Object, Number: number, Lines: []byte(lines)})
		delete(t.durable, number)
		t.shown = number
	}
	if out = append(out, e.begin()...); len(out) > 0 {
		e.a.req.Show(out)
	}
}

// documents are a rendition's media playlists, as they begin, and its init
// segment; nil: it has not come yet. Its boxes are held against the key now.
func (e *early) documents(dir string, t *earlyTrack) (out []EarlyObject, err error) {
	protect := e.a.req.Options.protectionOf(t.output, e.a.req.Keys[t.output])
	head := []byte(growing(t.head, e.target))
	if formats[t.output].container == containerMP4 {
		init, ok := e.a.sink.doc(dir + "/init.mp4")
		if !ok {
			return nil, nil
		}
		if err := checkProtection(init, head, protect); err != nil {
			return nil, err
		}
		out = append(out, earlyDocument(dir+"/init.mp4", init, false))
	}
	if protect != nil {
		var eme []byte
		head, eme = splitKeys(head, protect, e.a.req.LicenceURI)
		out = append(out, earlyDocument(dir+"/"+playlistEME, eme, true))
		e.keys[t.output+"/"+playlistEME] = eme
	}
	e.keys[t.output] = head
	return append(out, earlyDocument(dir+"/index.m3u8", head, true)), nil
}

func earlyDocument(name string, body []byte, grows bool) EarlyObject {
	return EarlyObject{Object: newObject(name, body), Body: body, Grows: grows}
}

// begin is the multivariant playlists of all outputs, once every rendition of
// every output has something to play; nothing before and after that. They come
// together: which of them a player is given does not change while the job runs.
func (e *early) begin() (out []EarlyObject) {
	if e.begun || len(e.said) < len(e.rs) {
		return nil
	}
	for _, t := range e.tracks {
		if t.shown == 0 {
			return nil
		}
	}
	e.begun = true
	for _, output := range e.a.req.Options.Outputs {
		out = append(out, e.multivariant(output)...)
	}
	return out
}

// multivariant is an output's multivariant playlist, and the one for EME players.
func (e *early) multivariant(output string) (out []EarlyObject) {
	var variants []variant
	var audio []alternative
	for _, r := range carried(output, e.rs) {
		uri := relativeTo(formats[output].master, trackDir(output, r.Name)+"/index.m3u8")
		said := e.said[r.Name]
		if r.Video != nil {
			variants = append(variants, r.Video.variant(uri, said.codec, r.promise(e.a.plan)))
		} else {
			audio = append(audio, r.Audio.alternative(uri, said.codec, said.channels, r.promise(e.a.plan)))
		}
	}
	master := e.a.req.Options.multivariant(variants, audio)
	if e.a.req.Options.protectionOf(output, e.a.req.Keys[output]) != nil {
		eme := withSessionKeys(multivariantEME(master), e.keys[output+"/"+playlistEME])
		out = append(out, earlyDocument(masterEME, eme, false))
		master = withSessionKeys(master, e.keys[output])
	}
	return append(out, earlyDocument(formats[output].master, master, false))
}

// promise is what a rendition's bit rate will not exceed, for nothing is
// measured yet: the encoder's cap, which may save up two seconds, and a fifth
// for the container. The average is not known.
func (r *rendition) promise(p Plan) trackBits {
	var kbits float64
	if r.Video != nil {
		kbits = float64(r.Video.Rung.MaxRate) * (p.SegmentSeconds + 2) / p.SegmentSeconds
	} else {
		kbits = float64(r.Audio.rate())
	}
	return trackBits{Peak: int64(math.Ceil(1200 * kbits))}
}

// splitPlaylist divides a media playlist: what comes before its first segment,
// and each segment's lines, its URI last.
func splitPlaylist(doc []byte) (head string, segments []string) {
	var before, current strings.Builder
	for line := range strings.Lines(string(doc)) {
		text := strings.TrimSpace(line)
		switch {
		case text == "" || text == "#EXT-X-ENDLIST":
		case current.Len() == 0 && !strings.HasPrefix(text, "#EXTINF:"):
			before.WriteString(text + "\n")
		default:
			current.WriteString(text + "\n")
			if !strings.HasPrefix(text, "#") {
				segments = append(segments, current.String())
				current.Reset()
			}
		}
	}
	return before.String(), segments
}

// growing is how a media playlist begins that grows: players begin with the
// film, not at its end (EXT-X-START; RFC 8216, 4.3.5.2).
func growing(head string, target int) string {
	head = targetDuration(head, func(int) int { return target })
	return head + "#EXT-X-START:TIME-OFFSET=0\n"
}

// ended makes of the packager's last EVENT playlist the one of a film. A target
// duration that was told stays.
func ended(doc []byte, target int) []byte {
	text := strings.Replace(string(doc), "#EXT-X-PLAYLIST-TYPE:EVENT\n", "#EXT-X-PLAYLIST-TYPE:VOD\n", 1)
	text = targetDuration(text, func(longest int) int { return max(longest, target) })
	if !strings.Contains(text, "#EXT-X-ENDLIST") {
		text += "#EXT-X-ENDLIST\n"
	}
	return []byte(text)
}

// targetDuration changes the target duration of a playlist that has one.
func targetDuration(doc string, change func(int) int) string {
	const tag = "#EXT-X-TARGETDURATION:"
	before, rest, ok := strings.Cut(doc, tag)
	if !ok {
		return doc
	}
	value, after, _ := strings.Cut(rest, "\n")
	seconds, _ := strconv.Atoi(strings.TrimSpace(value))
	return before + tag + strconv.Itoa(change(seconds)) + "\n" + after
}
