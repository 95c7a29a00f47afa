package verify

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

func playlistChecks() []Check {
	return []Check{
		{
			"syntax", Error, protocolHLS, hlsDraft + "4.1, 4.2 and 4.4",
			"Playlists are UTF-8 without a byte order mark; tags, attribute lists, ranges and IVs are well formed, stand once where they must and in the right kind of playlist.", checkSyntax,
		},
		{
			"version", Error, protocolHLS, hlsDraft + "4.4.1.2 and 8",
			"EXT-X-VERSION is at least what the tags and attributes need.", checkVersion,
		},
		{
			"target-duration", Error, protocolHLS, hlsDraft + "4.4.3.1",
			"Every media playlist has a target duration, and no segment, rounded to the nearest second, is longer.", checkTargetDuration,
		},
		{
			"same-target", Error, protocolHLS, hlsDraft + "6.2.4",
			"Media playlists of one presentation have the same target duration, I-frame and subtitle playlists of VOD apart.", checkSameTarget,
		},
		{
			"finished", Warning, protocolHLS, hlsDraft + "4.4.3.4 and 4.4.3.5",
			"Media playlists end with EXT-X-ENDLIST: of one that still grows only what is there now was verified.", checkFinished,
		},
		{
			"variant-attributes", Error, protocolHLS, hlsDraft + "4.4.6.2 and 4.4.6.3; " + appleSpec + "Multivariant playlists",
			"Every variant has BANDWIDTH and CODECS, pictures a RESOLUTION; numbers are well formed, and AVERAGE-BANDWIDTH is not above BANDWIDTH.", checkVariantAttributes,
		},
		{
			"media-groups", Error, protocolHLS, hlsDraft + "4.4.6.1 and 4.4.6.2",
			"Every group that a variant names is there; EXT-X-MEDIA has TYPE, GROUP-ID and NAME, unique names and one default for each group.", checkMediaGroups,
		},
	}
}

func checkSyntax(p *presentation, report reporter) {
	for _, list := range p.Playlists {
		for _, f := range list.Faults {
			report(list.Name, "%s", f)
		}
	}
}

// needs returns the protocol version that a tag asks for, and why (section 8).
func (t tag) needs(list *playlist) (int, string) {
	switch t.Name {
	case "EXT-X-KEY", "EXT-X-SESSION-KEY":
		if t.Attrs["KEYFORMAT"] != "" || t.Attrs["KEYFORMATVERSIONS"] != "" {
			return 5, "KEYFORMAT"
		}
		if t.Attrs["IV"] != "" {
			return 2, "the IV attribute of EXT-X-KEY"
		}
	case "EXT-X-BYTERANGE", "EXT-X-I-FRAMES-ONLY":
		return 4, t.Name
	case "EXT-X-MAP":
		if list.IFrames {
			return 5, "EXT-X-MAP"
		}
		return 6, "EXT-X-MAP in a playlist without EXT-X-I-FRAMES-ONLY"
	case "EXT-X-MEDIA":
		if strings.HasPrefix(t.Attrs["INSTREAM-ID"], "SERVICE") {
			return 7, "INSTREAM-ID of a SERVICE"
		}
	case "EXT-X-DEFINE":
		if t.Attrs["QUERYPARAM"] != "" {
			return 11, "EXT-X-DEFINE with QUERYPARAM"
		}
		return 8, "EXT-X-DEFINE"
	case "EXT-X-SKIP":
		if t.Attrs["RECENTLY-REMOVED-DATERANGES"] != "" {
			return 10, "EXT-X-SKIP with removed date ranges"
		}
		return 9, "EXT-X-SKIP"
	}
	for name := range t.Attrs {
		if strings.HasPrefix(name, "REQ-") {
			return 12, "an attribute that begins with REQ-"
		}
	}
	return 1, ""
}

func checkVersion(p *presentation, report reporter) {
	for _, list := range p.Playlists {
		need, why, line := 1, "", 0
		if list.Floating > 0 {
			need, why, line = 3, "EXTINF with a fraction", list.Floating
		}
		for _, t := range list.Tags {
			if v, reason := t.needs(list); v > need {
				need, why, line = v, reason, t.Line
			}
		}
		if need > list.Version {
			report(list.Name, "line %d: %s needs version %d, the playlist says %d", line, why, need, list.Version)
		}
	}
}

func checkTargetDuration(p *presentation, report reporter) {
	for _, list := range p.Playlists {
		if list.Multivariant {
			continue
		}
		if !list.HasTarget {
			report(list.Name, "there is no EXT-X-TARGETDURATION")
			continue
		}
		for _, e := range list.Entries {
			if math.Round(e.Seconds) > list.Target {
				report(list.Name, "line %d: a segment of %.3f s, the target duration is %.0f s", e.Line, e.Seconds, list.Target)
			}
		}
	}
}

func checkSameTarget(p *presentation, report reporter) {
	var one *rendition
	for _, r := range p.Renditions {
		if !r.List.HasTarget || (r.Kind == iframe || r.Kind == text) && r.List.Type == "VOD" {
			continue
		}
		if one == nil {
			one = r
		}
		if r.List.Target != one.List.Target {
			report(r.Name, "the target duration is %.0f s, that of %s %.0f s", r.List.Target, one.Name, one.List.Target)
		}
	}
}

func checkFinished(p *presentation, report reporter) {
	for _, r := range p.Renditions {
		if !r.List.Ended {
			report(r.Name, "there is no EXT-X-ENDLIST: only the %d segments that are there now were verified", len(r.Segments))
		}
	}
}

var resolution = regexp.MustCompile(`^[1-9]\d{0,5}x[1-9]\d{0,5}$`)

func checkVariantAttributes(p *presentation, report reporter) {
	for _, t := range p.Playlists[0].Tags {
		frames := t.Name == "EXT-X-I-FRAME-STREAM-INF"
		if t.Name != "EXT-X-STREAM-INF" && !frames {
			continue
		}
		where := fmt.Sprintf("multivariant playlist, line %d", t.Line)
		peak, err := strconv.ParseUint(t.Attrs["BANDWIDTH"], 10, 63)
		if err != nil || peak == 0 {
			report(where, "BANDWIDTH is %q", clip(t.Attrs["BANDWIDTH"]))
		}
		if a := t.Attrs["AVERAGE-BANDWIDTH"]; a != "" {
			average, err2 := strconv.ParseUint(a, 10, 63)
			if err2 != nil || err == nil && average > peak {
				report(where, "AVERAGE-BANDWIDTH is %q, BANDWIDTH %d", clip(a), peak)
			}
		}
		if t.Attrs["CODECS"] == "" {
			report(where, "there are no CODECS")
		} else if r := t.Attrs["RESOLUTION"]; !audioOnly(t.Attrs) && !resolution.MatchString(r) {
			report(where, "RESOLUTION is %q", clip(r))
		}
		if frames && t.Attrs["URI"] == "" {
			report(where, "EXT-X-I-FRAME-STREAM-INF has no URI")
		}
		if f := t.Attrs["FRAME-RATE"]; f != "" {
			if v, err := strconv.ParseFloat(f, 64); err != nil || v <= 0 {
				report(where, "FRAME-RATE is %q", clip(f))
			}
		}
	}
}

func checkMediaGroups(p *presentation, report reporter) {
	groups, names, defaults := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, t := range p.Playlists[0].Tags {
		if t.Name != "EXT-X-MEDIA" {
			continue
		}
		where := fmt.Sprintf("multivariant playlist, line %d", t.Line)
		kind := t.Attrs["TYPE"]
		group := kind + " " + t.Attrs["GROUP-ID"]
		groups[group] = true
		name := group + " " + t.Attrs["NAME"]
		switch {
		case kind == "" || t.Attrs["GROUP-ID"] == "" || t.Attrs["NAME"] == "":
			report(where, "EXT-X-MEDIA lacks TYPE, GROUP-ID or NAME")
		case names[name]:
			report(where, "the group %q has the name %q twice", clip(t.Attrs["GROUP-ID"]), clip(t.Attrs["NAME"]))
		case t.Attrs["DEFAULT"] == "YES" && defaults[group]:
			report(where, "the group %q has a second default", clip(t.Attrs["GROUP-ID"]))
		case t.Attrs["DEFAULT"] == "YES" && t.Attrs["AUTOSELECT"] == "NO":
			report(where, "a default that may not be selected by itself (AUTOSELECT=NO)")
		case kind == "SUBTITLES" && t.Attrs["URI"] == "":
			report(where, "SUBTITLES without a URI")
		case kind == "CLOSED-CAPTIONS" && (t.Attrs["URI"] != "" || t.Attrs["INSTREAM-ID"] == ""):
			report(where, "CLOSED-CAPTIONS with a URI or without INSTREAM-ID")
		}
		names[name] = true
		defaults[group] = defaults[group] || t.Attrs["DEFAULT"] == "YES"
	}
	for _, v := range p.Variants {
		for _, kind := range []string{"AUDIO", "VIDEO", "SUBTITLES", "CLOSED-CAPTIONS"} {
			id := v.Tag.Attrs[kind]
			none := kind == "CLOSED-CAPTIONS" && id == "NONE"
			if id != "" && !none && !groups[kind+" "+id] {
				report(v.Name, "there is no %s group %q", kind, clip(id))
			}
		}
	}
}
