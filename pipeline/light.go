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

// threadArgs go before the encode's input.
func threadArgs(p Plan) []string {
	switch {
	case p.Light:
		return []string{"-filter_threads", "1", "-filter_complex_threads", "1", "-threads", "1"}
	case p.FilterThreads > 0:
		return []string{"-filter_complex_threads", strconv.Itoa(p.FilterThreads)}
	}
	return nil
}

// filterThreads is how many threads scale a picture, 0 for as many as ffmpeg
// likes: one for each core. The encoders keep four cores busy, and slices of a
// picture wait for each other there. Pictures are the same with any number.
func filterThreads(cores int) int {
	if cores <= 4 {
		return 1
	}
	return 0
}

// lightVideoArgs go to each rung of a light encode.
func lightVideoArgs(p Plan) []string {
	if !p.Light {
		return nil
	}
	return []string{"-rc-lookahead", strconv.Itoa(lightLookahead)}
}
