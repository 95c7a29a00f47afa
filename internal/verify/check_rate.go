package verify

import (
	"math"
	"slices"
	"strconv"
)

func rateChecks() []Check {
	return []Check{
		{
			"bandwidth", Error, protocolHLS, hlsDraft + "4.1 and 4.4.6.2",
			"BANDWIDTH is not below the peak segment bit rate that was measured, the sound that plays with a variant included, to 1 per cent.", checkBandwidth,
		},
		{
			"bandwidth-close", Warning, protocolHLS, appleSpec + "Video (VOD): measured peak within 10% of BANDWIDTH",
			"BANDWIDTH is not more than 10 per cent above the measured peak.", checkBandwidthClose,
		},
		{
			"average-bandwidth", Error, protocolHLS, hlsDraft + "4.4.6.2; " + appleSpec + "Video (VOD): average within 10% of AVERAGE-BANDWIDTH",
			"AVERAGE-BANDWIDTH is within 10 per cent of the measured average.", checkAverageBandwidth,
		},
		{
			"frame-rate", Error, both, hlsDraft + "4.4.6.2; " + dashSpec + "5.3.7.2",
			"FRAME-RATE is that of the pictures, to 2 per cent.", checkFrameRate,
		},
	}
}

// rates are the measured bit rates of a rendition as RFC 8216bis, 4.1 defines
// them: the largest rate of any contiguous set of segments whose duration is
// between 0.5 and 1.5 times the target duration, and the average.
func (r *rendition) rates() (peak, average float64) {
	var bits, seconds float64
	for i, s := range r.Segments {
		bits += 8 * float64(s.Answer.Bytes)
		seconds += s.Listed
		var runBits, run float64
		for _, t := range r.Segments[i:] {
			runBits += 8 * float64(t.Answer.Bytes)
			run += t.Listed
			if run > 1.5*r.List.Target {
				break
			}
			if run >= 0.5*r.List.Target {
				peak = math.Max(peak, runBits/run)
			}
		}
	}
	if seconds > 0 {
		average = bits / seconds
	}
	return math.Max(peak, average), average
}

// eachVariantRate visits variants whose segments are all there, with the
// rates of its pictures and of the largest sound of its group. A variant that is
// itself a member of the group has no pictures: one sound plays, not two.
func (p *presentation) eachVariantRate(f func(v *variant, peak, average float64)) {
	for _, v := range p.Variants {
		r := v.Rendition
		if r == nil || !r.whole() || !r.finished() {
			continue
		}
		peak, average := r.rates()
		var soundPeak, sound float64
		complete := true
		for _, a := range v.Audio {
			if a == r {
				continue
			}
			complete = complete && a.whole()
			ap, aa := a.rates()
			soundPeak, sound = math.Max(soundPeak, ap), math.Max(sound, aa)
		}
		if slices.Contains(v.Audio, r) {
			peak, average, soundPeak, sound = math.Max(peak, soundPeak), math.Max(average, sound), 0, 0
		}
		if complete {
			f(v, peak+soundPeak, average+sound)
		}
	}
}

func (v *variant) number(attribute string) (float64, bool) {
	n, err := strconv.ParseFloat(v.Tag.Attrs[attribute], 64)
	return n, err == nil && n > 0
}

func checkBandwidth(p *presentation, report reporter) {
	p.eachVariantRate(func(v *variant, peak, _ float64) {
		if said, ok := v.number("BANDWIDTH"); ok && peak > 1.01*said {
			report(v.Name, "BANDWIDTH is %.0f, the measured peak %.0f", said, peak)
		}
	})
}

func checkBandwidthClose(p *presentation, report reporter) {
	p.eachVariantRate(func(v *variant, peak, _ float64) {
		if said, ok := v.number("BANDWIDTH"); ok && said > 1.1*peak {
			report(v.Name, "BANDWIDTH is %.0f, the measured peak %.0f", said, peak)
		}
	})
}

func checkAverageBandwidth(p *presentation, report reporter) {
	p.eachVariantRate(func(v *variant, _, average float64) {
		if said, ok := v.number("AVERAGE-BANDWIDTH"); ok && math.Abs(said-average) > 0.1*said {
			report(v.Name, "AVERAGE-BANDWIDTH is %.0f, the measured average %.0f", said, average)
		}
	})
}

// frameRate is the number of pictures by the time that they last; false for
// too few to tell.
func (r *rendition) frameRate() (float64, bool) {
	samples, seconds := 0, 0.0
	for _, s := range r.Segments {
		if t := s.primary(video); t != nil {
			samples += t.Samples
			seconds += t.Duration
		}
	}
	const few = 10
	if samples < few || seconds <= 0 {
		return 0, false
	}
	return float64(samples) / seconds, true
}

func checkFrameRate(p *presentation, report reporter) {
	look := func(where string, r *rendition, said float64) {
		if got, ok := r.frameRate(); ok && r.whole() && math.Abs(got-said) > 0.02*said {
			report(where, "%.3f pictures per second are listed, %.3f were measured", said, got)
		}
	}
	for _, v := range p.Variants {
		if said, ok := v.number("FRAME-RATE"); ok && v.Rendition != nil {
			look(v.Name, v.Rendition, said)
		}
	}
	for _, r := range p.Renditions {
		if r.Rep == nil || r.Kind != video {
			continue
		}
		if said, ok := fraction(first(r.Rep.FrameRate, r.Rep.set.FrameRate)); ok {
			look(r.Name, r, said)
		}
	}
}

// fraction reads 25 or 30000/1001.
func fraction(s string) (float64, bool) {
	for i := range len(s) {
		if s[i] == '/' {
			a, err1 := strconv.ParseFloat(s[:i], 64)
			b, err2 := strconv.ParseFloat(s[i+1:], 64)
			return a / b, err1 == nil && err2 == nil && a > 0 && b > 0
		}
	}
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil && v > 0
}
