package pipeline

import (
	"fmt"
	"slices"
	"strings"

	"github.com/sealcast/sealcast/internal/cenc"
)

// gopSeconds is the distance of key frames. A segment is a multiple of it.
const gopSeconds = 2

// Options are what a request may choose. The JSON names are the wire contract.
type Options struct {
	// Encrypt protects every output with a content key of its own. Default true.
	Encrypt bool `json:"encrypt"`
	// Outputs to make, of cmaf, cmaf-aes128 and ts. Default cmaf and ts.
	Outputs []string `json:"outputs"`
	// Ladder names the rungs that may be made (see RungNames); empty means
	// the default ladder. Rungs that the source does not deserve are left out.
	Ladder []string `json:"ladder"`
	// SegmentSeconds is the segment's length: 2, 4, 6 (default), 8, 10 or 12.
	SegmentSeconds int `json:"segment_seconds"`
	// Codecs of the pictures: h264 (or empty), hevc, av1.
	Codecs []string `json:"codecs,omitempty"`
	// Passthrough is auto (or empty): a conforming H.264 source is copied as
	// the top rung; off: every rung is encoded.
	Passthrough string `json:"passthrough,omitempty"`
	// Audio asks for renditions of sound beside stereo.
	Audio *AudioOptions `json:"audio,omitempty"`
	// Clip, Loudness and Watermark are absent when nobody asks for them.
	Clip      *Clip      `json:"clip,omitempty"`
	Loudness  *Loudness  `json:"loudness,omitempty"`
	Watermark *Watermark `json:"watermark,omitempty"`
	// Scheme is the protection scheme of cmaf: cbcs (or empty) or cenc.
	Scheme string `json:"scheme,omitempty"`
	// PSSH asks for initialization data of DRM systems (see DRMSystems) in cmaf.
	PSSH []string `json:"pssh,omitempty"`
	// KeyPeriodSeconds gives outputs with AES-128 full segments a new content
	// key every so many seconds, on segment boundaries; 0: one key each.
	KeyPeriodSeconds int `json:"key_period_seconds,omitempty"`
	// EarlyPublish shows segments while the encode runs, before the verify gate
	// has seen the whole: see Request.Show, which does it.
	EarlyPublish bool `json:"early_publish,omitempty"`
	// BitRates ask for a presentation of sound alone: those of AAC-LC, in kbit/s.
	BitRates []int `json:"bit_rates,omitempty"`
}

// DefaultOptions returns what an empty options object means.
func DefaultOptions() Options {
	return Options{Encrypt: true, Outputs: slices.Clone(defaultOutputs), Ladder: []string{}, SegmentSeconds: 6}
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
	if err := o.checkProtection(bad); err != nil {
		return err
	}
	for i, name := range o.Ladder {
		if !slices.Contains(RungNames(), name) {
			return bad("options.ladder has %q: known rungs are %s", name, strings.Join(RungNames(), ", "))
		}
		if slices.Contains(o.Ladder[:i], name) {
			return bad("options.ladder names %q twice", name)
		}
	}
	if err := o.checkCodecs(bad); err != nil {
		return err
	}
	if err := o.checkTreatment(bad); err != nil {
		return err
	}
	if err := o.checkAudio(bad); err != nil {
		return err
	}
	if err := o.checkSound(bad); err != nil {
		return err
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

// maxKeyPeriod is a day.
const maxKeyPeriod = 24 * 60 * 60

// checkProtection looks at what only encrypted outputs have.
func (o Options) checkProtection(bad func(string, ...any) error) error {
	if s := cenc.Scheme(o.Scheme); s != "" && s != cenc.SchemeCBCS && s != cenc.SchemeCENC {
		return bad("options.scheme is %q: use cbcs or cenc", o.Scheme)
	}
	for i, name := range o.PSSH {
		if _, ok := drmSystems[name]; !ok {
			return bad("options.pssh has %q: known systems are %s", name, strings.Join(DRMSystems(), ", "))
		}
		if slices.Contains(o.PSSH[:i], name) {
			return bad("options.pssh names %q twice", name)
		}
	}
	cmaf := slices.Contains(o.Outputs, OutputCMAF)
	sealed := slices.ContainsFunc(o.Outputs, func(name string) bool { return formats[name].sealed })
	switch {
	case o.KeyPeriodSeconds != 0 && (o.KeyPeriodSeconds < o.SegmentSeconds || o.KeyPeriodSeconds > maxKeyPeriod):
		return bad("options.key_period_seconds is %d: use one segment (%d) to %d", o.KeyPeriodSeconds, o.SegmentSeconds, maxKeyPeriod)
	case o.KeyPeriodSeconds != 0 && (!o.Encrypt || !sealed):
		return bad("options.key_period_seconds is for the encrypted outputs %s and %s, which were not asked for", OutputCMAFAES128, OutputTS)
	case !o.Encrypt && slices.Contains(o.Outputs, OutputCMAFAES128):
		return bad("options.outputs has %s, which is always encrypted: use %s for a clear title", OutputCMAFAES128, OutputCMAF)
	case o.Scheme != "" && (!o.Encrypt || !cmaf):
		return bad("options.scheme is for the encrypted output %s, which was not asked for", OutputCMAF)
	case len(o.PSSH) > 0 && (!o.Encrypt || !cmaf):
		return bad("options.pssh is for the encrypted output %s, which was not asked for", OutputCMAF)
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
	o.Audio = canonicalAudio(o.Audio)
	o.BitRates = canonicalRates(o.BitRates)
	o.Codecs = canonicalCodecs(o.Codecs)
	if o.Passthrough == PassthroughAuto {
		o.Passthrough = ""
	}
	if o.Scheme == string(cenc.SchemeCBCS) {
		o.Scheme = ""
	}
	o.PSSH = slices.DeleteFunc(DRMSystems(), func(name string) bool { return !slices.Contains(o.PSSH, name) })
	if len(o.PSSH) == 0 {
		o.PSSH = nil
	}
	return o
}
