package pipeline

import (
	"slices"
	"strconv"
)

// A light attempt trades speed for memory: one encoder thread per rung, a short
// lookahead, one thread for the decoder and the filters, and half the room for
// finished segments.

// lightLookahead is x264's rc-lookahead in frames; the preset's own is 10.
const lightLookahead = 2

// light returns the plan with fewer threads.
func (p Plan) light() Plan {
	p.Light = true
	p.Video = slices.Clone(p.Video)
	for i := range p.Video {
		p.Video[i].Rung.Threads = 1
	}
	return p
}

// lightInputArgs go before the input of a light encode.
func lightInputArgs(p Plan) []string {
	if !p.Light {
		return nil
	}
	return []string{"-filter_threads", "1", "-filter_complex_threads", "1", "-threads", "1"}
}

// lightVideoArgs go to each rung of a light encode.
func lightVideoArgs(p Plan) []string {
	if !p.Light {
		return nil
	}
	return []string{"-rc-lookahead", strconv.Itoa(lightLookahead)}
}
