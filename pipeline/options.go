package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// The outputs, in the order in which they claim the asset's bare key URI.
const (
	OutputCMAF = "cmaf" // fMP4 segments, HLS and DASH; cbcs when encrypted
	OutputTS   = "ts"   // MPEG-TS segments, HLS; AES-128 full segments when encrypted
)

// Outputs lists every output in order of precedence.
var Outputs = []string{OutputCMAF, OutputTS}

// gopSeconds is the distance of key frames. A segment is a multiple of it.
const gopSeconds = 2

// Options are what a request may choose. The JSON names are the wire contract.
type Options struct {
	// Encrypt protects every output with a content key of its own. Default true.
	Encrypt bool `json:"encrypt"`
	// Outputs to make, of cmaf and ts. Default both.
	Outputs []string `json:"outputs"`
	// Ladder names the rungs that may be made (see RungNames); empty means
	// the default ladder. Rungs that the source does not deserve are left out.
	Ladder []string `json:"ladder"`
	// SegmentSeconds is the segment's length: 2, 4, 6 (default), 8, 10 or 12.
	SegmentSeconds int `json:"segment_seconds"`
	// Passthrough is auto (or empty): a conforming H.264 source is copied as
	// the top rung; off: every rung is encoded.
	Passthrough string `json:"passthrough,omitempty"`
}

// DefaultOptions returns what an empty options object means.
func DefaultOptions() Options {
	return Options{Encrypt: true, Outputs: slices.Clone(Outputs), Ladder: []string{}, SegmentSeconds: 6}
}

// Validate reports the first fault as a permanent Error with code options_invalid.
func (o Options) Validate() error {
	bad := func(format string, args ...any) error {
		return permanent(CodeOptionsInvalid, fmt.Sprintf(format, args...), nil)
	}
	if len(o.Outputs) == 0 {
		return bad("options.outputs is empty: name at least one of %s", strings.Join(Outputs, ", "))
	}
	for i, name := range o.Outputs {
		if !slices.Contains(Outputs, name) {
			return bad("options.outputs has %q: known outputs are %s", name, strings.Join(Outputs, ", "))
		}
		if slices.Contains(o.Outputs[:i], name) {
			return bad("options.outputs names %q twice", name)
		}
	}
	for i, name := range o.Ladder {
		if !slices.Contains(RungNames(), name) {
			return bad("options.ladder has %q: known rungs are %s", name, strings.Join(RungNames(), ", "))
		}
		if slices.Contains(o.Ladder[:i], name) {
			return bad("options.ladder names %q twice", name)
		}
	}
	switch o.Passthrough {
	case "", PassthroughAuto, PassthroughOff:
	default:
		return bad("options.passthrough is %q: use %s or %s", o.Passthrough, PassthroughAuto, PassthroughOff)
	}
	if s := o.SegmentSeconds; s < gopSeconds || s > 12 || s%gopSeconds != 0 {
		return bad("options.segment_seconds is %d: use 2, 4, 6, 8, 10 or 12", s)
	}
	return nil
}

// Canonical returns the options with outputs and rungs in their fixed order,
// so that two spellings of one wish are equal.
func (o Options) Canonical() Options {
	order := func(all, chosen []string) []string {
		out := []string{}
		for _, name := range all {
			if slices.Contains(chosen, name) {
				out = append(out, name)
			}
		}
		return out
	}
	o.Outputs = order(Outputs, o.Outputs)
	o.Ladder = order(RungNames(), o.Ladder)
	if o.Passthrough == PassthroughAuto {
		o.Passthrough = ""
	}
	return o
}
