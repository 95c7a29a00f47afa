package verify

import (
	"fmt"
	"slices"
	"strings"
)

func mediaChecks() []Check {
	return []Check{
		{
			"container", Error, both, hlsDraft + "3.1; ISO/IEC 14496-12, 8.8; ISO/IEC 23000-19, 7.3; ISO/IEC 13818-1, 2.4",
			"Init segments and segments are well formed: moov with mvex, moof with tfdt and mdat; or MPEG-TS with PAT and PMT first.", checkContainer,
		},
		{
			"codecs", Error, both, hlsDraft + "4.4.6.2; RFC 6381, 3; " + dashSpec + "5.3.7.2",
			"CODECS names what the boxes or packets have, all of it and nothing else.", checkCodecs,
		},
		{
			"resolution", Error, both, hlsDraft + "4.4.6.2; " + dashSpec + "5.3.7.2",
			"The size that is listed is that of the pictures.", checkResolution,
		},
		{
			"independent", Error, both, hlsDraft + "4.4.2.1; " + dashSpec + "5.3.7.2 (startWithSAP)",
			"Segments begin with a key picture where the playlist or the manifest says so.", checkIndependent,
		},
		{
			"iframes", Error, both, hlsDraft + "4.4.3.6",
			"Every entry of an I-frame playlist begins with a key picture.", checkIFrames,
		},
		{
			"decodes", Error, both, hlsDraft + "3; " + appleSpec + "Video and Audio",
			"Every rendition decodes from its first segment to its last without a complaint of the decoder.", checkDecodes,
		},
		{
			"pictures", Error, both, "ISO/IEC 14496-12, 8.8.8",
			"As many pictures decode as the boxes or packets have.", checkPictures,
		},
		{
			"webvtt", Error, both, hlsDraft + "3.1.4; WebVTT, 4.1",
			"Text segments begin with WEBVTT and have well formed cue times.", checkWebVTT,
		},
		{
			"undecoded", Warning, both, "none: what could not be judged is told",
			"Every rendition could be decrypted and decoded here.", checkUndecoded,
		},
	}
}

func checkContainer(p *presentation, report reporter) {
	for _, r := range p.Renditions {
		for _, i := range r.Inits {
			if i.Fault != "" {
				report(r.Name+", init segment", "%s", i.Fault)
			}
		}
	}
	p.eachSegment(func(r *rendition, s *segment) {
		if s.Container != "" {
			report(r.where(s), "%s", s.Container)
		}
	})
}

// found returns the codecs of a rendition, each once.
func (r *rendition) found() (out []string) {
	add := func(codec string) {
		if codec != "" && !slices.Contains(out, codec) {
			out = append(out, codec)
		}
	}
	for _, i := range r.Inits {
		for _, t := range i.Tracks {
			add(t.Codec)
		}
	}
	if len(r.Inits) > 0 {
		return out
	}
	for _, s := range r.Segments {
		for _, t := range s.Tracks {
			add(t.Codec)
		}
	}
	return out
}

// sameCodec compares RFC 6381 names. AAC may be signalled as LC where SBR
// comes with it (ISO/IEC 14496-3, 1.6.5); MPEG-TS has no sample entry.
func sameCodec(a, b string) bool {
	normal := func(s string) string {
		s = strings.ToLower(s)
		switch {
		case s == "mp4a.40.5" || s == "mp4a.40.29":
			return "mp4a.40.2"
		case strings.HasPrefix(s, "avc3."):
			return "avc1." + s[5:]
		case strings.HasPrefix(s, "hev1."):
			return "hvc1." + s[5:]
		case strings.HasPrefix(s, "av01."): // optional fields after the first four
			return strings.Join(strings.SplitN(s, ".", 5)[:min(4, strings.Count(s, ".")+1)], ".")
		case strings.HasPrefix(s, "vp09."):
			return strings.Join(strings.SplitN(s, ".", 5)[:min(4, strings.Count(s, ".")+1)], ".")
		}
		return s
	}
	return normal(a) == normal(b)
}

func checkCodecs(p *presentation, report reporter) {
	for _, v := range p.Variants {
		said := splitCodecs(v.Tag.Attrs["CODECS"])
		if v.Rendition == nil || len(said) == 0 {
			continue
		}
		found := v.Rendition.found()
		for _, a := range v.Audio {
			found = append(found, a.found()...)
		}
		compareCodecs(v.Name, said, found, report)
	}
	for _, r := range p.Renditions {
		if r.Rep == nil || !r.played() {
			continue
		}
		if said := splitCodecs(first(r.Rep.Codecs, r.Rep.set.Codecs)); len(said) > 0 {
			compareCodecs(r.Name, said, r.found(), report)
		} else {
			report(r.Name, "there are no codecs")
		}
	}
}

func compareCodecs(where string, said, found []string, report reporter) {
	if len(found) == 0 {
		return // nothing could be read: told elsewhere
	}
	has := func(list []string, codec string) bool {
		return slices.ContainsFunc(list, func(c string) bool { return sameCodec(c, codec) })
	}
	for _, c := range found {
		if !has(said, c) {
			report(where, "its media has %s, CODECS are %s", c, clip(strings.Join(said, ",")))
		}
	}
	for _, c := range said {
		if codecKind(c) != text && !has(found, c) {
			report(where, "CODECS has %s, its media %s", clip(c), strings.Join(found, ","))
		}
	}
}

// size returns the size of the pictures, 0 when it cannot be seen.
func (r *rendition) size() (w, h int) {
	for _, i := range r.Inits {
		for _, t := range i.Tracks {
			if t.Kind == video {
				return t.Width, t.Height
			}
		}
	}
	for _, s := range r.Segments {
		if t := s.primary(video); t != nil && t.Width > 0 {
			return t.Width, t.Height
		}
	}
	return 0, 0
}

func checkResolution(p *presentation, report reporter) {
	look := func(where, said string, r *rendition) {
		if w, h := r.size(); said != "" && w > 0 && said != fmt.Sprintf("%dx%d", w, h) {
			report(where, "%s is listed, the pictures have %dx%d", clip(said), w, h)
		}
	}
	for _, v := range p.Variants {
		if v.Rendition != nil {
			look(v.Name, v.Tag.Attrs["RESOLUTION"], v.Rendition)
		}
	}
	for _, r := range p.Renditions {
		if r.Rep == nil || r.Kind != video {
			continue
		}
		w, h := r.Rep.Width, r.Rep.Height
		if w == 0 {
			w = r.Rep.set.Width
		}
		if h == 0 {
			h = r.Rep.set.Height
		}
		if w > 0 && h > 0 {
			look(r.Name, fmt.Sprintf("%dx%d", w, h), r)
		}
	}
}

func checkIndependent(p *presentation, report reporter) {
	everywhere := len(p.Playlists) > 0 && p.Playlists[0].Independent
	p.eachSegment(func(r *rendition, s *segment) {
		if r.Kind != video {
			return
		}
		said := everywhere || r.List != nil && r.List.Independent
		if r.Rep != nil {
			sap := first(r.Rep.StartsSAP, r.Rep.set.StartsSAP)
			said = sap == "1" || sap == "2"
		}
		if t := s.primary(video); said && t != nil && t.KeyKnown && !t.StartsWithKey {
			report(r.where(s), "it does not begin with a key picture")
		}
	})
}

func checkIFrames(p *presentation, report reporter) {
	p.eachSegment(func(r *rendition, s *segment) {
		if t := s.primary(video); r.Kind == iframe && t != nil && t.KeyKnown && !t.StartsWithKey {
			report(r.where(s), "it does not begin with a key picture")
		}
	})
}

func checkDecodes(p *presentation, report reporter) {
	for _, r := range p.Renditions {
		for _, f := range r.Decoded.Faults {
			report(r.Name, "%s", f)
		}
	}
}

func checkPictures(p *presentation, report reporter) {
	for _, r := range p.Renditions {
		if !r.Decoded.Ran || !r.whole() || len(r.Decoded.Faults) > 0 || !r.played() {
			continue
		}
		want, sounds := 0, false
		for _, s := range r.Segments {
			if t := s.primary(video); t != nil {
				want += t.Samples
			}
			sounds = sounds || s.primary(audio) != nil
		}
		if int64(want) != r.Decoded.Pictures {
			report(r.Name, "%d pictures decode of %d", r.Decoded.Pictures, want)
		}
		if sounds && r.Decoded.Sounds == 0 {
			report(r.Name, "no sound decodes")
		}
	}
}

func checkWebVTT(p *presentation, report reporter) {
	p.eachSegment(func(r *rendition, s *segment) {
		if s.Text != "" {
			report(r.where(s), "%s", s.Text)
		}
	})
}

func checkUndecoded(p *presentation, report reporter) {
	for _, r := range p.Renditions {
		if r.Unknown != "" {
			report(r.Name, "%s", r.Unknown)
		}
	}
}
