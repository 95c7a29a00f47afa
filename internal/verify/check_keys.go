package verify

import (
	"fmt"
	"net/url"
	"strings"
)

func keyChecks() []Check {
	return []Check{
		{
			"key", Error, both, hlsDraft + "5.1 and 6.2.3; W3C EME, 9.1",
			"Every key can be had, and has 16 bytes.", checkKey,
		},
		{
			"key-cache", Error, both, "RFC 9111, 5.2.2.5",
			"No cache may keep a key: Cache-Control has no-store.", checkKeyCache,
		},
		{
			"key-refused", Error, both, "sealcast's contract (api/openapi.yaml); RFC 6750, 3.1",
			"A key or licence route of sealcast gives nothing without a token (401), with a forged or foreign one (403), and for a key that is not there (404); no refusal carries 16 bytes or may be cached.", checkKeyRefused,
		},
		{
			"clear", Error, both, hlsDraft + "4.4.4.4; " + cencSpec + "8 to 10",
			"No segment is clear when the playlist or the manifest says that it is encrypted.", checkClear,
		},
		{
			"decrypt", Error, both, hlsDraft + "4.4.4.4 and 5.2; " + cencSpec + "9",
			"Every encrypted segment opens with its key.", checkDecrypt,
		},
		{
			"scheme", Error, both, hlsDraft + "4.4.4.4; " + cencSpec + "8.2 and 11",
			"Protection scheme and key id in the boxes are those that the playlist or the manifest names.", checkScheme,
		},
		{
			"iv", Error, both, hlsDraft + "5.2; " + cencSpec + "9.3",
			"No initialisation vector is used twice under a key: for AES-128 none of two segments, for cenc no counter block.", checkIV,
		},
		{
			"session-key", Warning, protocolHLS, hlsDraft + "4.4.6.5",
			"Every EXT-X-SESSION-KEY is a key that a media playlist uses.", checkSessionKey,
		},
	}
}

func checkKey(p *presentation, report reporter) {
	for _, k := range p.Keys {
		if k.Fault != "" {
			report(k.URI, "%s", k.Fault)
		}
	}
}

func checkKeyCache(p *presentation, report reporter) {
	for _, k := range p.Keys {
		if _, ok := directives(k.Answer.Cache)["no-store"]; k.Answer.ok() && !ok {
			report(k.URI, "Cache-Control is %q", clip(k.Answer.Cache))
		}
	}
}

func checkKeyRefused(p *presentation, report reporter) {
	for _, q := range p.Probes {
		_, kept := directives(q.Answer.Cache)["no-store"]
		switch {
		case q.Answer.Err != "":
			report(q.URI, "%s: %s", q.What, q.Answer.Err)
		case q.Answer.Status != q.Want:
			report(q.URI, "%s: status %d, want %d", q.What, q.Answer.Status, q.Want)
		case q.Leaks:
			report(q.URI, "%s: the refusal carries 16 bytes", q.What)
		case !kept:
			report(q.URI, "%s: the refusal may be cached (Cache-Control %q)", q.What, clip(q.Answer.Cache))
		case q.Code != "" && q.Got != q.Code:
			report(q.URI, "%s: the code is %q, want %s", q.What, clip(q.Got), q.Code)
		}
	}
}

func checkClear(p *presentation, report reporter) {
	p.eachSegment(func(r *rendition, s *segment) {
		if s.Clear != "" {
			report(r.where(s), "%s", s.Clear)
		}
	})
}

func checkDecrypt(p *presentation, report reporter) {
	p.eachSegment(func(r *rendition, s *segment) {
		if s.Decrypt != "" && s.Clear == "" {
			report(r.where(s), "%s", s.Decrypt)
		}
	})
}

// schemeOf is the scheme that a METHOD stands for in fragmented MP4.
func schemeOf(method string) string {
	switch method {
	case "SAMPLE-AES":
		return "cbcs"
	case "SAMPLE-AES-CTR":
		return "cenc"
	case "AES-128":
		return "" // the samples themselves are clear
	}
	return method
}

func checkScheme(p *presentation, report reporter) {
	p.eachSegment(func(r *rendition, s *segment) {
		if s.Init == nil || s.Init.Fault != "" || !s.Init.Answer.ok() || !firstOf(r, s) {
			return
		}
		want, kid := "", ""
		if s.Key != nil {
			want, kid = schemeOf(s.Key.Method), s.Key.KID
		}
		for _, t := range s.Init.Tracks {
			switch {
			case t.Scheme != want:
				report(r.Name, "the init segment says %s, the %s %s", orClear(t.Scheme), documentOf(p), orClear(want))
			case want != "" && kid != "" && t.KID != kid:
				report(r.Name, "the init segment has key id %s, the %s %s", t.KID, documentOf(p), kid)
			}
		}
	})
}

// firstOf reports whether the segment is the first with its init segment and key.
func firstOf(r *rendition, s *segment) bool {
	if s.Number == 0 {
		return true
	}
	before := r.Segments[s.Number-1]
	return before.Init != s.Init || (before.Key == nil) != (s.Key == nil) || s.Key != nil && before.Key.URI != s.Key.URI
}

func kidOf(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Query().Get("kid"))
}

func orClear(scheme string) string {
	if scheme == "" {
		return "clear samples"
	}
	return scheme
}

func documentOf(p *presentation) string {
	if p.Protocol == protocolDASH {
		return "manifest"
	}
	return "playlist"
}

func checkIV(p *presentation, report reporter) {
	seen := map[string]string{}
	var runs []runOf
	p.eachSegment(func(r *rendition, s *segment) {
		if s.Key == nil || r.Kind == iframe {
			return
		}
		if s.Key.Method == "AES-128" {
			id := fmt.Sprintf("%s %x", s.Key.URI, s.Key.IV)
			if before, ok := seen[id]; ok {
				report(r.where(s), "its IV 0x%x is that of %s, under the same key", s.Key.IV, before)
				return
			}
			seen[id] = r.where(s)
		}
		for _, t := range s.initTracks() {
			if t.Scheme == "cenc" {
				for _, run := range s.IVs {
					runs = append(runs, runOf{run, r.where(s)})
				}
				break
			}
		}
	})
	for _, text := range overlaps(runs) {
		report("samples", "%s", text)
	}
}

func (s *segment) initTracks() []trackInit {
	if s.Init == nil {
		return nil
	}
	return s.Init.Tracks
}

func checkSessionKey(p *presentation, report reporter) {
	used := map[string]bool{}
	for _, list := range p.Playlists {
		for _, e := range list.Entries {
			for _, k := range e.Keys {
				u, _ := resolve(list.URL, k.Attrs["URI"])
				used[k.Attrs["METHOD"]+" "+k.keyFormat()+" "+u] = true
			}
		}
	}
	for _, t := range p.Playlists[0].Tags {
		if t.Name != "EXT-X-SESSION-KEY" {
			continue
		}
		u, _ := resolve(p.URL, t.Attrs["URI"])
		if !used[t.Attrs["METHOD"]+" "+t.keyFormat()+" "+u] {
			report(fmt.Sprintf("multivariant playlist, line %d", t.Line), "no media playlist uses %s", clip(t.Attrs["URI"]))
		}
	}
}
