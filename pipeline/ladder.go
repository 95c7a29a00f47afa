package pipeline

import (
	"fmt"
	"math"
	"slices"
)

// Rung is one entry of the ladder. A rung is limited by the short edge of the
// picture, so that portrait and landscape get the same rungs.
type Rung struct {
	Name      string
	ShortEdge int // pixels
	MaxRate   int // kbit/s: the cap above constant quality; the buffer is two seconds of it
	Threads   int // encoder threads, pinned: the output depends on them
	OnRequest bool
}

// ladder holds every rung, largest first.
var ladder = []Rung{
	{Name: "2160p", ShortEdge: 2160, MaxRate: 16000, Threads: 6, OnRequest: true},
	{Name: "1440p", ShortEdge: 1440, MaxRate: 9000, Threads: 6},
	{Name: "1080p", ShortEdge: 1080, MaxRate: 5000, Threads: 4},
	{Name: "720p", ShortEdge: 720, MaxRate: 2800, Threads: 3},
	{Name: "480p", ShortEdge: 480, MaxRate: 1400, Threads: 2},
	{Name: "360p", ShortEdge: 360, MaxRate: 800, Threads: 1},
	{Name: "240p", ShortEdge: 240, MaxRate: 400, Threads: 1},
}

const (
	maxFrameRate  = 60
	minFrameRate  = 5
	fullRateShort = 480  // rungs up to here get half of a rate above 30
	maxLongEdge   = 4096 // H.264 level 5.1 decoders
	crf           = 23
)

// RungNames lists the names of all rungs, largest first.
func RungNames() []string {
	names := make([]string, len(ladder))
	for i, r := range ladder {
		names[i] = r.Name
	}
	return names
}

// Rational is a frame rate, a sample aspect ratio or a time base.
type Rational struct{ Num, Den int }

// Float returns the quotient, 0 when it is undefined.
func (r Rational) Float() float64 {
	if r.Den == 0 {
		return 0
	}
	return float64(r.Num) / float64(r.Den)
}

// String returns num/den.
func (r Rational) String() string { return fmt.Sprintf("%d/%d", r.Num, r.Den) }

// VideoPlan is one video rendition to make.
type VideoPlan struct {
	Rung          Rung // its MaxRate is the codec's
	Codec         string
	Width, Height int      // even, square pixels, rotation applied
	Rate          Rational // frames per second, constant
	GOP           int      // frames between key frames, always closed
	Halved        bool     // every second frame of the source grid
	Copied        bool     // the source's own pictures
}

// Plan is what an attempt encodes: every rendition on one grid of key frames.
type Plan struct {
	Rate           Rational // of the full-rate rungs
	GOP            int      // frames of the full rate
	SegmentSeconds float64  // exact: a multiple of the GOP's duration
	Video          []VideoPlan
	Audio          []AudioPlan
	Light          bool // with as little memory as goes
	FilterThreads  int  // 0: ffmpeg's own number; it changes nothing in what is made
	Early          bool // segments are shown while the encode runs
	// KeyFrames is there when the first rung is copied: every rung has the
	// source's key frames.
	KeyFrames *keyFramePlan
	Clipped   bool // Source.From and Duration are those of a clip
	Loudness  bool // audio tracks have a gain
	// Watermark is laid over every rung; its format is ffmpeg's demuxer.
	Watermark       *Watermark
	WatermarkFormat string

	NotCopied string // why the first rung is not copied; empty: it is, or nobody asked
}

// gopsPerSegment returns how many key frame distances a segment holds.
func (p Plan) gopsPerSegment() int {
	return int(math.Round(p.SegmentSeconds * p.Rate.Float() / float64(p.GOP)))
}

// AudioPlan is one audio rendition to make, at 48 kHz.
type AudioPlan struct {
	Stream   int // index in the source
	Name     string
	Language string // BCP 47; "und" when the source does not say
	Default  bool
	GainDB   float64
	Codec    string
	Channels int // 2, or 6 for 5.1
	BitRate  int // kbit/s; 0: as many as channels deserve
}

// newPlan decides which renditions a source deserves.
func newPlan(src *Source, opt Options) (Plan, error) {
	if opt.SoundOnly() {
		return newSoundPlan(src, opt), nil
	}
	width, height := src.Video.displaySize()
	if min(width, height) < 16 {
		return Plan{}, permanent(CodeSourceUnsupported,
			fmt.Sprintf("the picture is %d×%d pixels: at least 16×16 are needed", width, height), nil)
	}
	p := Plan{Rate: gridRate(src.Video), Clipped: opt.Clip != nil}
	p.GOP = max(1, int(math.Round(p.Rate.Float()*gopSeconds)))
	if p.halves() && p.GOP%2 != 0 {
		p.GOP++ // half-rate rungs need a whole number of frames per GOP, too
	}
	gopSec := float64(p.GOP) / p.Rate.Float()
	p.SegmentSeconds = gopSec * math.Max(1, math.Round(float64(opt.SegmentSeconds)/gopSec))

	var err error
	if p.Video, err = inCodecs(p.rungs(width, height, opt.Ladder), opt.Codecs); err != nil {
		return Plan{}, err
	}
	p.Audio = withSurround(planAudio(src.Audio), src.Audio, opt.Audio)
	return p, nil
}

// halves reports whether small rungs have half the frame rate.
func (p Plan) halves() bool { return p.Rate.Float() > 30.5 }

// rungs returns what a picture deserves at the plan's frame rate, before codecs
// are chosen.
func (p Plan) rungs(width, height int, wanted []string) (all []VideoPlan) {
	for _, r := range chooseRungs(min(width, height), wanted) {
		v := VideoPlan{Rung: r, Rate: p.Rate, GOP: p.GOP}
		v.Width, v.Height = fit(width, height, r.ShortEdge)
		// A very wide picture is limited by its long edge: rungs may meet there.
		if n := len(all); n > 0 && tooNear(min(v.Width, v.Height), min(all[n-1].Width, all[n-1].Height)) {
			continue
		}
		if p.halves() && r.ShortEdge <= fullRateShort {
			v.Halved, v.GOP = true, p.GOP/2
			v.Rate = reduce(Rational{p.Rate.Num, p.Rate.Den * 2})
		}
		all = append(all, v)
	}
	return all
}

// chooseRungs returns the rungs for a picture with the given short edge,
// largest first, never larger than the source. A source between two rungs
// gets the upper one at its own size; a lower neighbour within 10 % goes.
func chooseRungs(short int, wanted []string) []Rung {
	var fits []Rung
	var above *Rung
	for i, r := range ladder {
		if len(wanted) > 0 && !slices.Contains(wanted, r.Name) || len(wanted) == 0 && r.OnRequest {
			continue
		}
		if r.ShortEdge > short {
			above = &ladder[i]
			continue
		}
		fits = append(fits, r)
	}
	if above != nil && (len(fits) == 0 || fits[0].ShortEdge < short) {
		top := *above
		top.ShortEdge = short
		fits = append([]Rung{top}, fits...)
	}
	out := fits[:1]
	for _, r := range fits[1:] {
		if !tooNear(r.ShortEdge, out[len(out)-1].ShortEdge) {
			out = append(out, r)
		}
	}
	return out
}

// tooNear reports whether a rung is within a tenth of the one above it.
func tooNear(short, above int) bool { return float64(short) > 0.9*float64(above) }

// fit scales a picture so that its short edge is at most short; both edges
// are even and the long one is at most maxLongEdge.
func fit(width, height, short int) (int, int) {
	factor := math.Min(1, float64(short)/float64(min(width, height)))
	factor = math.Min(factor, maxLongEdge/float64(max(width, height)))
	even := func(n int) int { return max(2, 2*int(math.Round(float64(n)*factor/2))) }
	w, h := even(width), even(height)
	// Rounding must not enlarge a picture that is already at its size.
	if w > width && width > 2 {
		w -= 2
	}
	if h > height && height > 2 {
		h -= 2
	}
	return w, h
}

// standardRates are the rates to which a measured one is rounded when it is
// nearly one of them.
var standardRates = []Rational{
	{24000, 1001}, {24, 1}, {25, 1}, {30000, 1001}, {30, 1}, {48, 1}, {50, 1}, {60000, 1001}, {60, 1},
}

// gridRate returns the constant frame rate of the full-rate rungs: the
// source's own where it is constant and at most 60, an integer part of it
// above, a multiple of it below 5, the next standard rate where it varies: at
// least 24, for an average says nothing about how close pictures may come.
func gridRate(v VideoSource) Rational {
	rate := v.AvgRate
	constant := v.BaseRate.Float() > 0 && math.Abs(v.AvgRate.Float()/v.BaseRate.Float()-1) < 0.005
	if constant {
		rate = v.BaseRate
	}
	if f := rate.Float(); f <= 0 || math.IsNaN(f) || math.IsInf(f, 0) {
		rate = Rational{25, 1}
	}
	for n := 1; ; n++ {
		if capped := (Rational{rate.Num, rate.Den * n}); capped.Float() <= maxFrameRate*1.001 {
			rate = capped
			break
		}
	}
	for _, s := range standardRates {
		if math.Abs(rate.Float()/s.Float()-1) < 0.0004 {
			return s
		}
	}
	if !constant {
		for _, s := range standardRates {
			if s.Float() >= max(24, rate.Float()) {
				return s
			}
		}
	}
	if rate.Float() < minFrameRate {
		rate.Num *= int(math.Ceil(minFrameRate / rate.Float()))
	}
	if whole := math.Round(rate.Float()); math.Abs(rate.Float()/whole-1) < 0.002 {
		return Rational{int(whole), 1}
	}
	// Keep the numerator small: it is the tracks' time scale.
	if rate.Num > 100000 || rate.Den > 100000 {
		return reduce(Rational{max(1, int(math.Round(rate.Float()*1000))), 1000})
	}
	return reduce(rate)
}

func reduce(r Rational) Rational {
	a, b := r.Num, r.Den
	for b != 0 {
		a, b = b, a%b
	}
	if a == 0 {
		return r
	}
	return Rational{r.Num / a, r.Den / a}
}

// planAudio gives each track of the source a rendition with a unique name and
// exactly one default.
func planAudio(tracks []AudioSource) []AudioPlan {
	var plans []AudioPlan
	def := 0
	used := map[string]bool{}
	for i, t := range tracks {
		if t.Default && !slices.ContainsFunc(tracks[:i], func(a AudioSource) bool { return a.Default }) {
			def = i
		}
		name := t.Title
		if name == "" {
			name = t.Language
		}
		if name == "" || name == "und" {
			name = fmt.Sprintf("Audio %d", i+1)
		}
		for base, n := name, 2; used[name]; n++ {
			name = fmt.Sprintf("%s %d", base, n)
		}
		used[name] = true
		plans = append(plans, AudioPlan{Stream: t.Index, Name: name, Language: t.Language, Codec: CodecAAC, Channels: 2})
	}
	if len(plans) > 0 {
		plans[def].Default = true
	}
	return plans
}
