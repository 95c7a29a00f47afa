package pipeline

import (
	"fmt"
	"time"
)

// How long the children of an attempt may work. The bounds are generous: they
// end what would never end, not what is slow. A 1080p30 source has some 40
// times its duration; two cores need 0.7.
const (
	probeBudget   = 5 * time.Minute
	probeRate     = 1 << 20 // and a second for so many bytes: some sources must be read through
	baseBudget    = 5 * time.Minute
	longestBudget = 7 * 24 * time.Hour
	// budgetFactor is for each second of a source of a megapixel and 30
	// frames a second.
	budgetFactor = 20
)

// encodeBudget is the time for everything after the probe and before publishing.
func encodeBudget(src *Source, plan Plan) time.Duration {
	megapixels := max(1, float64(src.Video.Width*src.Video.Height)/1e6)
	rate := max(1, plan.Rate.Float()/30)
	if src.pictureless() {
		rate = 1
	}
	seconds := budgetFactor * (src.From + src.Duration).Seconds() * megapixels * rate * plan.codecs()
	return baseBudget + time.Duration(min(seconds, (longestBudget-baseBudget).Seconds())*float64(time.Second))
}

// codecs returns how many codecs are made: each costs no more than the bound of H.264.
func (p Plan) codecs() float64 {
	seen := map[string]bool{CodecH264: true}
	for _, v := range p.Video {
		seen[v.Codec] = true
	}
	return float64(len(seen))
}

// limitTime ends the attempt when stop is not called within d.
func (a *attempt) limitTime(d time.Duration, abort func(error)) (stop func()) {
	a.budget = d
	timer := time.AfterFunc(d, func() {
		abort(transient(CodeTimeBudget, fmt.Sprintf("the attempt took longer than its budget of %s", d.Round(time.Second)), nil))
	})
	return func() { timer.Stop() }
}
