package verify

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net/url"
	"path"
	"strings"
	"sync"
)

// gatherer has the effects: it fetches and decodes.
type gatherer struct {
	cfg    Config
	client *client
	keys   *keyring
	tool   tool

	mu          sync.Mutex
	done, total int
}

// open fetches the entry document and what it leads to, down to the lists of
// segments.
func (g *gatherer) open(ctx context.Context) (*presentation, error) {
	p := &presentation{URL: g.cfg.URL, Origin: g.cfg.Origin}
	body, a := g.client.get(ctx, resource{URL: g.cfg.URL}, maxDocument)
	if !a.ok() {
		return nil, fmt.Errorf("%w: GET %s: %s%s", ErrUnreachable, g.cfg.URL, a.what(), problemCode(body))
	}
	p.Documents = append(p.Documents, &document{Name: "entry", Answer: a})
	trimmed := bytes.TrimLeft(bytes.TrimPrefix(body, []byte("\ufeff")), " \t\r\n")
	if bytes.HasPrefix(trimmed, []byte("<")) {
		p.Protocol = protocolDASH
		return p, g.openDASH(p, body)
	}
	p.Protocol = protocolHLS
	return p, g.openHLS(ctx, p, body)
}

func (g *gatherer) openHLS(ctx context.Context, p *presentation, body []byte) error {
	list, err := parsePlaylist(g.cfg.URL, body)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnreachable, g.cfg.URL, err)
	}
	list.Name = "multivariant playlist"
	p.Playlists = append(p.Playlists, list)
	if !list.Multivariant {
		list.Name = "media playlist"
		k := video
		if list.IFrames {
			k = iframe
		}
		p.Renditions = append(p.Renditions, newHLSRendition(list.Name, k, list))
		return nil
	}
	byURL := map[string]*rendition{}
	add := func(name string, k kind, uri string) (*rendition, error) {
		u, err := resolve(list.URL, uri)
		if err != nil {
			list.fault(0, "%v", err)
			return nil, nil
		}
		if r := byURL[u]; r != nil {
			return r, nil
		}
		if len(byURL) >= maxRenditions {
			return nil, fmt.Errorf("%w: more than %d renditions", ErrUnreachable, maxRenditions)
		}
		r, err := g.mediaPlaylist(ctx, p, unique(name, byURL), k, u)
		if r != nil {
			byURL[u] = r
			p.Renditions = append(p.Renditions, r)
		}
		return r, err
	}
	for _, s := range list.Streams {
		v := &variant{Name: variantName(s.Tag.Attrs), Tag: s.Tag}
		k := video
		if audioOnly(s.Tag.Attrs) {
			k = audio
		}
		if v.Rendition, err = add(v.Name, k, s.URI); err != nil {
			return err
		}
		p.Variants = append(p.Variants, v)
	}
	return g.alternatives(p, list, add)
}

// alternatives adds the renditions of EXT-X-MEDIA and the I-frame playlists.
func (g *gatherer) alternatives(p *presentation, list *playlist, add func(string, kind, string) (*rendition, error)) error {
	groups := map[string][]*rendition{}
	for _, t := range list.Tags {
		k, label := other, ""
		switch {
		case t.Name == "EXT-X-I-FRAME-STREAM-INF":
			k, label = iframe, "I-frames "+first(t.Attrs["RESOLUTION"], t.Attrs["BANDWIDTH"])
		case t.Name != "EXT-X-MEDIA":
			continue
		case t.Attrs["TYPE"] == "AUDIO":
			k, label = audio, "audio "+first(t.Attrs["LANGUAGE"], t.Attrs["NAME"])
		case t.Attrs["TYPE"] == "SUBTITLES":
			k, label = text, "text "+first(t.Attrs["LANGUAGE"], t.Attrs["NAME"])
		case t.Attrs["TYPE"] == "VIDEO":
			k, label = video, "video "+t.Attrs["NAME"]
		}
		if t.Attrs["URI"] == "" {
			continue
		}
		r, err := add(clip(label), k, t.Attrs["URI"])
		if err != nil {
			return err
		}
		if k == audio && r != nil {
			groups[t.Attrs["GROUP-ID"]] = append(groups[t.Attrs["GROUP-ID"]], r)
		}
	}
	for _, v := range p.Variants {
		v.Audio = groups[v.Tag.Attrs["AUDIO"]]
	}
	return nil
}

// mediaPlaylist fetches a media playlist. One that is not there, or is none,
// becomes a finding about its document.
func (g *gatherer) mediaPlaylist(ctx context.Context, p *presentation, name string, k kind, u string) (*rendition, error) {
	body, a := g.client.get(ctx, resource{URL: u}, maxDocument)
	d := &document{Name: name, Answer: a, Media: true}
	p.Documents = append(p.Documents, d)
	if !a.ok() {
		return nil, ctx.Err()
	}
	list, err := parsePlaylist(u, body)
	switch {
	case err != nil:
		d.Answer.Err = err.Error()
	case list.Multivariant:
		d.Answer.Err = "it is a multivariant playlist"
	}
	if d.Answer.Err != "" {
		return nil, ctx.Err()
	}
	list.Name = name
	p.Playlists = append(p.Playlists, list)
	return newHLSRendition(name, k, list), nil
}

// newHLSRendition lays the segments of a media playlist on a time line.
func newHLSRendition(name string, k kind, list *playlist) *rendition {
	r := &rendition{Name: name, Kind: k, URL: list.URL, List: list, Set: string(k)}
	inits := map[resource]*initSegment{}
	at := 0.0
	for i, e := range list.Entries {
		s := &segment{
			Number: i, Sequence: e.Sequence, Listed: e.Seconds, Start: at,
			Discontinuity: e.Discontinuity, Gap: e.Gap, Key: hlsKey(list, e),
		}
		s.Resource = refOf(list, e.URI, e.Offset, e.Length, e.Line)
		if e.Map != nil {
			ref := mapRef(list, e.Map)
			if inits[ref] == nil {
				inits[ref] = &initSegment{Resource: ref}
				r.Inits = append(r.Inits, inits[ref])
			}
			s.Init = inits[ref]
		}
		at += e.Seconds
		r.Segments = append(r.Segments, s)
	}
	return r
}

func refOf(list *playlist, uri string, offset, length int64, line int) resource {
	u, err := resolve(list.URL, uri)
	if err != nil {
		list.fault(line, "%v", err)
	}
	return resource{URL: u, Offset: offset, Length: length}
}

func mapRef(list *playlist, t *tag) resource {
	length, offset := int64(0), int64(0)
	if span := t.Attrs["BYTERANGE"]; span != "" {
		var err error
		if length, offset, err = parseByteRange(span); err != nil || offset < 0 {
			list.fault(t.Line, "EXT-X-MAP: BYTERANGE %q is no range with an offset", clip(span))
			length, offset = 0, 0
		}
	}
	return refOf(list, t.Attrs["URI"], offset, length, t.Line)
}

// keyFormatClearKey is the KEYFORMAT whose URI is a Clear Key licence server.
const keyFormatClearKey = "org.w3.clearkey"

// hlsKey picks the key tag whose URI gives the key itself (RFC 8216bis,
// 4.4.4.4); others are for DRM systems.
func hlsKey(list *playlist, e entry) *keyTag {
	if len(e.Keys) == 0 {
		return nil
	}
	out := &keyTag{Method: e.Keys[0].Attrs["METHOD"]}
	for _, t := range e.Keys {
		if t.keyFormat() != "identity" && t.keyFormat() != keyFormatClearKey {
			continue
		}
		out.Method = t.Attrs["METHOD"]
		u, err := resolve(list.URL, t.Attrs["URI"])
		if err != nil || t.Attrs["URI"] == "" {
			list.fault(t.Line, "EXT-X-KEY has no URI that can be resolved")
			continue
		}
		out.URI = u
		if iv := t.Attrs["IV"]; iv != "" {
			if out.IV, out.HasIV = parseIV(iv); !out.HasIV {
				list.fault(t.Line, "the IV %q is not 128 bits of hexadecimal with 0x", clip(iv))
			}
		} else { // the media sequence number (5.2)
			binary.BigEndian.PutUint64(out.IV[8:], e.Sequence)
		}
		if out.Licence = t.keyFormat() == keyFormatClearKey; !out.Licence {
			out.KID = kidOf(u)
			break
		}
		out.KID, _ = strings.CutPrefix(strings.ToLower(t.Attrs["KEYID"]), "0x")
	}
	return out
}

// parseIV reads a hexadecimal-sequence of 128 bits; leading zeros may be left
// out (RFC 8216bis, 4.2).
func parseIV(s string) (iv [16]byte, ok bool) {
	digits, ok := strings.CutPrefix(strings.ToLower(s), "0x")
	if !ok || digits == "" || len(digits) > 32 {
		return iv, false
	}
	digits = strings.Repeat("0", 32-len(digits)) + digits
	for i := range iv {
		hi, lo := strings.IndexByte("0123456789abcdef", digits[2*i]), strings.IndexByte("0123456789abcdef", digits[2*i+1])
		if hi < 0 || lo < 0 {
			return iv, false
		}
		iv[i] = byte(hi<<4 | lo)
	}
	return iv, true
}

func variantName(a attributes) string {
	if r := a["RESOLUTION"]; r != "" {
		return clip(r)
	}
	return "variant " + clip(a["BANDWIDTH"])
}

// audioOnly tells from CODECS that a variant has no pictures.
func audioOnly(a attributes) bool {
	codecs := splitCodecs(a["CODECS"])
	for _, c := range codecs {
		if codecKind(c) != audio {
			return false
		}
	}
	return len(codecs) > 0
}

func splitCodecs(s string) (out []string) {
	for c := range strings.SplitSeq(s, ",") {
		if c = strings.TrimSpace(c); c != "" {
			out = append(out, c)
		}
	}
	return out
}

func codecKind(c string) kind {
	name, _, _ := strings.Cut(c, ".")
	switch strings.ToLower(name) {
	case "mp4a", "ac-3", "ec-3", "ac-4", "opus", "flac", "fl", "alac", "mhm1", "mha1", "dtsc", "dtse", "dtsx":
		return audio
	case "wvtt", "stpp":
		return text
	}
	return video
}

// unique numbers names that stand twice, as of two codecs of one size.
func unique(name string, byURL map[string]*rendition) string {
	n := 1
	taken := func(s string) bool {
		for _, r := range byURL {
			if r.Name == s {
				return true
			}
		}
		return false
	}
	out := name
	for taken(out) {
		n++
		out = fmt.Sprintf("%s (%d)", name, n)
	}
	return out
}

func (g *gatherer) openDASH(p *presentation, body []byte) error {
	m, err := parseManifest(body)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrUnreachable, g.cfg.URL, err)
	}
	p.Manifest = m
	root := baseOf(g.cfg.URL, m.Base)
	for i := range m.Periods {
		period := &m.Periods[i]
		for j := range period.Sets {
			set := &period.Sets[j]
			for k := range set.Representations {
				rep := &set.Representations[k]
				rep.set, rep.period = set, period
				base := baseOf(baseOf(baseOf(root, period.Base), set.Base), rep.Base)
				p.Renditions = append(p.Renditions, g.newDASHRendition(rep, base, i, j))
			}
		}
	}
	return nil
}

func baseOf(base string, of []string) string {
	if len(of) == 0 {
		return base
	}
	u, err := resolve(base, strings.TrimSpace(of[0]))
	if err != nil {
		return base
	}
	return u
}

func (g *gatherer) newDASHRendition(rep *representation, base string, period, set int) *rendition {
	r := &rendition{Kind: rep.kind(), Rep: rep, URL: g.cfg.URL, Set: fmt.Sprintf("period %d, set %d", period+1, set+1)}
	r.Name = clip(fmt.Sprintf("%s %s", r.Kind, first(rep.ID, "without id")))
	if w, h := rep.Width+rep.set.Width*btoi(rep.Width == 0), rep.Height+rep.set.Height*btoi(rep.Height == 0); w > 0 {
		r.Name = fmt.Sprintf("%dx%d, %s", w, h, clip(first(rep.ID, "without id")))
	}
	if len(rep.period.Sets) > 0 && period > 0 {
		r.Name += fmt.Sprintf(", period %d", period+1)
	}
	if rep.single() != nil && rep.template() == nil && rep.list() == nil {
		r.Unknown = "a single file with an index (SegmentBase), which is not read yet"
		return r
	}
	if r.Kind == text && rep.template() == nil && rep.list() == nil { // one whole file
		r.Segments = []*segment{{Resource: resource{URL: base}, Listed: rep.period.seconds, Start: rep.period.start}}
		return r
	}
	initRef, list, err := rep.segments(base)
	if err != nil {
		r.Unknown = err.Error()
		return r
	}
	var seg *initSegment
	if initRef != nil {
		seg = &initSegment{Resource: *initRef}
		r.Inits = append(r.Inits, seg)
	}
	key := g.dashKey(rep)
	for i, l := range list {
		r.Segments = append(r.Segments, &segment{
			Resource: l.Resource, Number: i, Sequence: l.Number, Listed: l.Seconds, Start: l.Start, Init: seg, Key: key,
			mediaOffset: l.Offset,
		})
	}
	return r
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// dashKey reads the protection of a representation (ISO/IEC 23001-7, 11): the
// key comes from a Clear Key licence server when there is one, else from the
// key route that belongs to a title of ours.
func (g *gatherer) dashKey(rep *representation) *keyTag {
	all := append(append([]descriptor{}, rep.Protection...), rep.set.Protection...)
	if len(all) == 0 {
		return nil
	}
	key := &keyTag{Method: "cenc"}
	for _, d := range all {
		if d.Value == "cenc" || d.Value == "cbcs" {
			key.Method = d.Value
		}
		if d.KID != "" {
			key.KID = strings.ReplaceAll(strings.ToLower(d.KID), "-", "")
		}
	}
	for _, d := range all {
		if strings.EqualFold(d.Scheme, clearKeySystem) && len(d.Laurl) > 0 {
			key.URI, key.Licence = strings.TrimSpace(d.Laurl[0]), true
			return key
		}
	}
	u, err := url.Parse(g.cfg.URL)
	if m := streamRoute.FindStringSubmatch(path.Clean(u.Path) + "/"); err == nil && m != nil && key.KID != "" {
		key.URI = u.Scheme + "://" + u.Host + "/api/key/" + m[1] + "?kid=" + key.KID
	}
	return key
}
