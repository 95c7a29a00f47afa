package verify

import (
	"math"
	"strings"
)

func manifestChecks() []Check {
	return []Check{
		{
			"mpd-attributes", Error, protocolDASH, dashSpec + "5.3.1.2, 5.3.2.2, 5.3.5.2 and 5.3.7.2",
			"The MPD has profiles, minBufferTime and a period; representations have a unique id, a bandwidth and a media type, and segments that can be addressed.", checkMPDAttributes,
		},
		{
			"mpd-duration", Error, protocolDASH, dashSpec + "5.3.1.2; DASH-IF IOP part 5",
			"The segments of each representation fill its period, to half a second.", checkMPDDuration,
		},
		{
			"mpd-protection", Error, protocolDASH, cencSpec + "11.2; DASH-IF IOP part 6, 6.2",
			"Encrypted representations have a ContentProtection with urn:mpeg:dash:mp4protection:2011, scheme and default_KID.", checkMPDProtection,
		},
		{
			"mpd-bandwidth", Error, protocolDASH, dashSpec + "5.3.5.2 (bandwidth, minBufferTime)",
			"A client that reads at @bandwidth and has waited for minBufferTime never runs dry, to 1 per cent.", checkMPDBandwidth,
		},
	}
}

func checkMPDAttributes(p *presentation, report reporter) {
	m := p.Manifest
	if m.Profiles == "" {
		report("manifest", "there are no profiles")
	}
	if _, err := parseXMLDuration(m.MinBuffer); err != nil {
		report("manifest", "minBufferTime: %v", err)
	}
	if _, err := parseXMLDuration(m.Duration); m.Type != "dynamic" && err != nil && len(m.Periods) > 0 && m.Periods[len(m.Periods)-1].Duration == "" {
		report("manifest", "a static MPD without mediaPresentationDuration")
	}
	if len(m.Periods) == 0 {
		report("manifest", "there is no Period")
	}
	seen := map[string]bool{}
	for _, r := range p.Renditions {
		id := r.Rep.ID + "\x00" + r.Rep.period.ID + first(r.Rep.period.Start, "0")
		switch {
		case r.Rep.ID == "" || strings.ContainsAny(r.Rep.ID, " \t\n"):
			report(r.Name, "the id is %q", clip(r.Rep.ID))
		case seen[id]:
			report(r.Name, "a second representation with this id")
		case r.Rep.Bandwidth <= 0:
			report(r.Name, "bandwidth is %d", r.Rep.Bandwidth)
		case first(r.Rep.MimeType, r.Rep.set.MimeType) == "":
			report(r.Name, "there is no mimeType")
		case len(r.Segments) == 0 && r.Unknown != "" && r.Rep.single() == nil:
			report(r.Name, "%s", r.Unknown)
		}
		seen[id] = true
	}
}

func checkMPDDuration(p *presentation, report reporter) {
	if p.Manifest.Type == "dynamic" {
		return
	}
	for _, r := range p.Renditions {
		if len(r.Segments) == 0 || r.Rep.period.seconds == 0 || r.Kind == iframe || r.Kind == text {
			continue
		}
		last := r.Segments[len(r.Segments)-1]
		begins, ends := r.Segments[0].Start-r.Rep.period.start, last.Start+last.Listed-r.Rep.period.start
		if math.Abs(begins) > 0.5 || math.Abs(ends-r.Rep.period.seconds) > 0.5 {
			report(r.Name, "its segments reach from %.3f s to %.3f s, the period has %.3f s", begins, ends, r.Rep.period.seconds)
		}
	}
}

func checkMPDProtection(p *presentation, report reporter) {
	for _, r := range p.Renditions {
		encrypted := false
		for _, i := range r.Inits {
			for _, t := range i.Tracks {
				encrypted = encrypted || t.Scheme != ""
			}
		}
		common := false
		for _, d := range append(append([]descriptor{}, r.Rep.Protection...), r.Rep.set.Protection...) {
			if d.Scheme == "urn:mpeg:dash:mp4protection:2011" && d.KID != "" && d.Value != "" {
				common = true
			}
		}
		if encrypted && !common && len(r.Rep.Protection)+len(r.Rep.set.Protection) > 0 {
			report(r.Name, "its ContentProtection does not name scheme and default_KID")
		} else if encrypted && !common {
			report(r.Name, "its samples are encrypted, the manifest does not say so")
		}
	}
}

// checkMPDBandwidth fills a bucket at @bandwidth that holds minBufferTime at
// the start. Runs of segments are looked at from every segment on, by the
// smallest slack seen so far.
func checkMPDBandwidth(p *presentation, report reporter) {
	wait, err := parseXMLDuration(p.Manifest.MinBuffer)
	if err != nil {
		return
	}
	for _, r := range p.Renditions {
		if !r.whole() || r.Rep.Bandwidth <= 0 || r.Kind == text {
			continue
		}
		rate := float64(r.Rep.Bandwidth) * 1.01
		// worst is the largest excess of bits over time in a run that ends here.
		worst, at := 0.0, 0
		run := 0.0
		for i, s := range r.Segments {
			bits := 8 * float64(s.Answer.Bytes)
			run = math.Max(run, 0) + bits - rate*s.Listed
			if run > worst {
				worst, at = run, i
			}
		}
		if worst > rate*wait {
			report(r.where(r.Segments[at]), "at %d bit/s a client is %.2f s late here, minBufferTime is %.2f s", r.Rep.Bandwidth, worst/rate, wait)
		}
	}
}
