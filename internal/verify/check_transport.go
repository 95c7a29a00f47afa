package verify

import (
	"mime"
	"net/url"
	"path"
	"strconv"
	"strings"
)

func transportChecks() []Check {
	return []Check{
		{
			"fetch", Error, both, hlsDraft + "6.2.1; RFC 9110, 15.3",
			"Every playlist, init segment and segment is there, whole and in time.", checkFetch,
		},
		{
			"content-type", Error, both, hlsDraft + "4 and 3.1; " + dashSpec + "Annex C; RFC 8216, 10",
			"Playlists, manifests, segments and text tracks have the media type that players and proxies go by.", checkContentType,
		},
		{
			"cors", Error, both, "Fetch standard, 3.2",
			"A page of the origin given by -origin may read every answer, and send the token to the key route.", checkCORS,
		},
		{
			"cache-media", Warning, both, "RFC 9111, 4.2 and 5.2.2",
			"Segments may be cached; those of a sealcast title for good, its entry documents for a minute at the most.", checkCacheMedia,
		},
	}
}

// eachAnswer visits documents, init segments and segments.
func (p *presentation) eachAnswer(f func(where string, class kind, a answer)) {
	for _, d := range p.Documents {
		f(d.Name, "document", d.Answer)
	}
	for _, r := range p.Renditions {
		for _, i := range r.Inits {
			if i.Answer.URL != "" {
				f(r.Name+", init segment", r.Kind, i.Answer)
			}
		}
		for _, s := range r.Segments {
			if !s.Gap {
				f(r.where(s), r.Kind, s.Answer)
			}
		}
	}
}

func checkFetch(p *presentation, report reporter) {
	p.eachAnswer(func(where string, _ kind, a answer) {
		if !a.ok() {
			report(where, "GET %s: %s", a.URL, a.what())
		}
	})
	for _, r := range p.Renditions {
		if len(r.Segments) == 0 && r.Unknown == "" {
			report(r.Name, "it has no segments")
		}
	}
}

// mediaTypes lists what is right for a name's ending, and for a class without
// one.
var mediaTypes = map[string][]string{
	".m3u8": {"application/vnd.apple.mpegurl", "application/x-mpegurl", "audio/mpegurl", "audio/x-mpegurl"},
	".mpd":  {"application/dash+xml"},
	".ts":   {"video/mp2t"},
	".mp4":  {"video/mp4", "audio/mp4", "application/mp4", "video/iso.segment"},
	".m4s":  {"video/mp4", "audio/mp4", "application/mp4", "video/iso.segment"},
	".m4a":  {"audio/mp4", "video/mp4"},
	".m4v":  {"video/mp4"},
	".cmfv": {"video/mp4"},
	".cmfa": {"audio/mp4"},
	".aac":  {"audio/aac", "audio/aacp"},
	".mp3":  {"audio/mpeg"},
	".vtt":  {"text/vtt"},
	".ttml": {"application/ttml+xml"},
}

func checkContentType(p *presentation, report reporter) {
	p.eachAnswer(func(where string, class kind, a answer) {
		if !a.ok() {
			return
		}
		u, err := url.Parse(a.URL)
		if err != nil {
			return
		}
		want := mediaTypes[strings.ToLower(path.Ext(u.Path))]
		if want == nil && class == "document" {
			want = mediaTypes[map[string]string{protocolHLS: ".m3u8", protocolDASH: ".mpd"}[p.Protocol]]
		}
		if want == nil {
			return
		}
		got, _, err := mime.ParseMediaType(a.Type)
		for _, w := range want {
			if err == nil && got == w {
				return
			}
		}
		report(where, "Content-Type is %q, want %s", clip(a.Type), want[0])
	})
}

func checkCORS(p *presentation, report reporter) {
	if p.Origin == "" {
		return
	}
	readable := func(a answer) bool { return a.AllowOrigin == "*" || a.AllowOrigin == p.Origin }
	p.eachAnswer(func(where string, _ kind, a answer) {
		if a.ok() && !readable(a) {
			report(where, "a page of %s may not read it: Access-Control-Allow-Origin is %q", p.Origin, clip(a.AllowOrigin))
		}
	})
	for _, k := range p.Keys {
		if k.Answer.ok() && !strings.HasPrefix(k.URI, "data:") && !readable(k.Answer) {
			report(k.URI, "a page of %s may not read the key: Access-Control-Allow-Origin is %q", p.Origin, clip(k.Answer.AllowOrigin))
		}
	}
	for _, f := range p.Preflights {
		allowed := strings.ToLower(f.Answer.AllowHeader)
		if f.Answer.Err != "" || f.Answer.Status/100 != 2 || !readable(f.Answer) || !strings.Contains(allowed, "authorization") {
			report(f.URI, "a page of %s may not send the Authorization header: the preflight gave %s, Access-Control-Allow-Headers %q",
				p.Origin, f.Answer.what(), clip(f.Answer.AllowHeader))
		}
	}
}

// directives reads a Cache-Control header.
func directives(header string) map[string]string {
	out := map[string]string{}
	for d := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(d), "=")
		if name != "" {
			out[strings.ToLower(name)] = strings.Trim(value, `"`)
		}
	}
	return out
}

// ours reports whether the address is one of sealcast's.
func (p *presentation) ours() bool {
	u, err := url.Parse(p.URL)
	return err == nil && streamRoute.MatchString(u.Path)
}

func checkCacheMedia(p *presentation, report reporter) {
	const year, minute = 31536000, 60
	for _, d := range p.Documents {
		age, err := strconv.Atoi(directives(d.Answer.Cache)["max-age"])
		if p.ours() && !d.Media && d.Answer.ok() && (err != nil || age > minute) {
			report(d.Name, "Cache-Control is %q: a new generation would stay unseen", clip(d.Answer.Cache))
		}
	}
	p.eachAnswer(func(where string, class kind, a answer) {
		if class == "document" || !a.ok() {
			return
		}
		c := directives(a.Cache)
		_, private := c["private"]
		_, never := c["no-store"]
		_, immutable := c["immutable"]
		age, _ := strconv.Atoi(c["max-age"])
		switch {
		case private || never:
			report(where, "Cache-Control is %q: no cache may keep it", clip(a.Cache))
		case p.ours() && (!immutable || age < year):
			report(where, "Cache-Control is %q, want a year and immutable", clip(a.Cache))
		case a.Cache == "":
			report(where, "there is no Cache-Control: caches have to guess")
		}
	})
}
