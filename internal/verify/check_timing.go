package verify

import "math"

func timingChecks() []Check {
	return []Check{
		{
			"duration", Error, both, hlsDraft + "4.4.4.1; " + dashSpec + "5.3.9.6",
			"The duration that is listed for a segment is that of its media, to a tenth of a second.", checkDuration,
		},
		{
			"gaps", Error, both, hlsDraft + "3 and 4.4.4.3; " + dashSpec + "7.3",
			"Each segment begins where the one before ends, unless a discontinuity is told.", checkGaps,
		},
		{
			"alignment", Error, both, hlsDraft + "6.2.4; " + dashSpec + "5.3.3.2 (segmentAlignment)",
			"Renditions that a player may switch between have their segments at the same times.", checkAlignment,
		},
		{
			"start", Error, both, hlsDraft + "6.2.4",
			"All renditions of sound and pictures begin at the same media time, to a tenth of a second.", checkStart,
		},
		{
			"length", Error, both, hlsDraft + "6.2.4",
			"No rendition of sound or pictures is longer than another one by more than the target duration.", checkLength,
		},
		{
			"time-line", Error, protocolDASH, dashSpec + "5.3.9.4 and 7.3; DASH-IF IOP part 5",
			"The media times of segments are those of the manifest's time line, to a tenth of a second.", checkTimeLine,
		},
	}
}

// played reports whether times of the rendition's segments are compared.
func (r *rendition) played() bool { return r.Kind == video || r.Kind == audio }

func checkDuration(p *presentation, report reporter) {
	p.eachSegment(func(r *rendition, s *segment) {
		t := s.primary(r.Kind)
		if t == nil || !r.played() {
			return
		}
		if off := math.Abs(t.Duration - s.Listed); off > math.Max(0.1, t.slack()) {
			report(r.where(s), "%.3f s are listed, its media has %.3f s", s.Listed, t.Duration)
		}
	})
}

func checkGaps(p *presentation, report reporter) {
	for _, r := range p.Renditions {
		for i := 1; i < len(r.Segments) && r.played(); i++ {
			before, s := r.Segments[i-1], r.Segments[i]
			a, b := before.primary(r.Kind), s.primary(r.Kind)
			if a == nil || b == nil || s.Discontinuity {
				continue
			}
			if off := b.Start - a.Start - a.Duration; math.Abs(off) > a.slack() {
				what := "a gap"
				if off < 0 {
					what = "an overlap"
				}
				report(r.where(s), "%s of %.3f s", what, math.Abs(off))
			}
		}
	}
}

func checkAlignment(p *presentation, report reporter) {
	byFirst := map[string]*rendition{}
	for _, r := range p.Renditions {
		if !r.played() || r.Rep != nil && r.Rep.set.SegmentAlign != "true" {
			continue
		}
		one := byFirst[r.Set]
		if one == nil {
			byFirst[r.Set] = r
			continue
		}
		if r.finished() && one.finished() && len(r.Segments) != len(one.Segments) {
			report(r.Name, "%d segments, %s has %d", len(r.Segments), one.Name, len(one.Segments))
			continue
		}
		for i := 0; i < min(len(r.Segments), len(one.Segments)); i++ {
			a, b := one.Segments[i].primary(r.Kind), r.Segments[i].primary(r.Kind)
			if a == nil || b == nil {
				continue
			}
			slack := math.Max(a.slack(), b.slack())
			if r.Kind == audio {
				slack = math.Max(slack, 0.05) // frames of different codecs
			}
			if off := unwrap(b.Start, a.Start) - a.Start; math.Abs(off) > slack {
				report(r.where(r.Segments[i]), "it begins at %.3f s, that of %s at %.3f s", b.Start, one.Name, a.Start)
				break
			}
		}
	}
}

func checkStart(p *presentation, report reporter) {
	var one *rendition
	var at float64
	for _, r := range p.Renditions {
		if !r.played() || len(r.Segments) == 0 || !r.finished() || r.Rep != nil && r.Rep.period.start > 0 {
			continue
		}
		t := r.Segments[0].primary(r.Kind)
		if t == nil {
			continue
		}
		start := t.Start
		if r.Rep != nil { // each representation has a time line of its own
			start -= r.Segments[0].mediaOffset
		}
		if one == nil {
			one, at = r, start
			continue
		}
		if one.Set == r.Set {
			continue // alignment tells
		}
		if off := unwrap(start, at) - at; math.Abs(off) > 0.1 {
			report(r.Name, "it begins at %.3f s, %s at %.3f s", start, one.Name, at)
		}
	}
}

func checkLength(p *presentation, report reporter) {
	var longest, shortest *rendition
	var most, least, target float64
	for _, r := range p.Renditions {
		if !r.played() || !r.finished() || len(r.Segments) == 0 || r.Rep != nil && len(p.Manifest.Periods) > 1 {
			continue
		}
		last := r.Segments[len(r.Segments)-1]
		length := last.Start + last.Listed - r.Segments[0].Start
		if r.List != nil {
			target = math.Max(target, r.List.Target)
		}
		for _, s := range r.Segments {
			if r.Rep != nil {
				target = math.Max(target, s.Listed)
			}
		}
		if longest == nil || length > most {
			longest, most = r, length
		}
		if shortest == nil || length < least {
			shortest, least = r, length
		}
	}
	if longest != nil && most-least > target {
		report(shortest.Name, "it has %.3f s, %s has %.3f s", least, longest.Name, most)
	}
}

func checkTimeLine(p *presentation, report reporter) {
	p.eachSegment(func(r *rendition, s *segment) {
		t := s.primary(r.Kind)
		if t == nil || !r.played() {
			return
		}
		if off := t.Start - s.mediaOffset + r.Rep.period.start - s.Start; math.Abs(off) > math.Max(0.1, t.slack()) {
			report(r.where(s), "the manifest puts it at %.3f s, its media begins %.3f s off", s.Start, off)
		}
	})
}
