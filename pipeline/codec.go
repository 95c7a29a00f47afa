package pipeline

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The codecs that pictures may have.
const (
	CodecH264 = "h264" // libx264; in every output
	CodecHEVC = "hevc" // libx265, Main profile; in fMP4
	CodecAV1  = "av1"  // SVT-AV1, Main profile; in fMP4
)

// Codecs lists every codec in the order of its variants: players begin with
// the first that they can play.
var Codecs = []string{CodecH264, CodecHEVC, CodecAV1}

// What costs more than H.264 gets a ladder that is affordable: up to 1080p, and
// at most three rungs.
const (
	costlyShortEdge = 1080
	costlyRungs     = 3
	costlyMinEdge   = 64 // pixels: what the encoders take
)

// bitRateOf is the rate, in parts of H.264's, at which a codec looks alike.
var bitRateOf = map[string]float64{CodecH264: 1, CodecHEVC: 0.7, CodecAV1: 0.6}

// folder names a rendition of pictures below its output.
func (v VideoPlan) folder() string {
	if v.Codec == CodecH264 {
		return "v-" + v.Rung.Name
	}
	return "v-" + v.Codec + "-" + v.Rung.Name
}

// inCodecs gives every codec its rungs out of those of the ladder.
func inCodecs(base []VideoPlan, codecs []string) ([]VideoPlan, error) {
	if len(codecs) == 0 {
		codecs = []string{CodecH264}
	}
	var all []VideoPlan
	for _, codec := range Codecs {
		if !slices.Contains(codecs, codec) {
			continue
		}
		n := 0
		for _, v := range base {
			if codec != CodecH264 && (v.Rung.ShortEdge > costlyShortEdge || min(v.Width, v.Height) < costlyMinEdge || n == costlyRungs) {
				continue
			}
			n++
			v.Codec = codec
			v.Rung.MaxRate = int(float64(v.Rung.MaxRate) * bitRateOf[codec])
			all = append(all, v)
		}
	}
	if len(all) == 0 {
		return nil, permanent(CodeSourceUnsupported, fmt.Sprintf(
			"no rung of this ladder can be %s: they need a rung of %dp or less and %d pixels on each edge", strings.Join(codecs, " or "), costlyShortEdge, costlyMinEdge), nil)
	}
	return all, nil
}

// codecArgs return what is special to an encoder, its rate control included.
func codecArgs(v VideoPlan) []string {
	threads := strconv.Itoa(v.Rung.Threads)
	most := []string{"-maxrate", fmt.Sprintf("%dk", v.Rung.MaxRate), "-bufsize", fmt.Sprintf("%dk", 2*v.Rung.MaxRate)}
	switch v.Codec {
	case CodecHEVC:
		args := append([]string{"-c:v", "libx265", "-preset", "superfast", "-crf", "26"}, most...)
		return append(args, "-profile:v", "main", "-pix_fmt", "yuv420p", "-tag:v", "hvc1", "-forced-idr", "1",
			"-x265-params", "log-level=error:open-gop=0:scenecut=0:frame-threads=1:pools="+threads)
	case CodecAV1:
		// In capped CRF the buffer is the encoder's own.
		return []string{
			"-c:v", "libsvtav1", "-preset", "10", "-crf", "38", "-pix_fmt", "yuv420p",
			"-svtav1-params", fmt.Sprintf("scd=0:lp=%s:mbr=%d", threads, v.Rung.MaxRate),
		}
	}
	args := append([]string{"-c:v", "libx264", "-preset", "veryfast", "-crf", strconv.Itoa(crf)}, most...)
	return append(args, "-profile:v", "high", "-pix_fmt", "yuv420p", "-a53cc", "0")
}

// carries reports whether an output has a rendition: MPEG-TS has no AV1 (no
// player knows it there), and HEVC in it is played by hardly any.
func carries(output string, r *rendition) bool {
	return formats[output].container != containerTS || r.Video == nil || r.Video.Codec == CodecH264
}

// carried returns the renditions of an output.
func carried(output string, rs []*rendition) []*rendition {
	return slices.DeleteFunc(slices.Clone(rs), func(r *rendition) bool { return !carries(output, r) })
}

// checkCodecs looks at options.codecs.
func (o Options) checkCodecs(bad func(string, ...any) error) error {
	for i, name := range o.Codecs {
		if !slices.Contains(Codecs, name) {
			return bad("options.codecs has %q: known codecs are %s", name, strings.Join(Codecs, ", "))
		}
		if slices.Contains(o.Codecs[:i], name) {
			return bad("options.codecs names %q twice", name)
		}
	}
	if len(o.Codecs) > 0 && !slices.Contains(o.Codecs, CodecH264) && slices.Contains(o.Outputs, OutputTS) {
		return bad("options.outputs has %s, which carries %s only: add it to options.codecs, or leave %s out", OutputTS, CodecH264, OutputTS)
	}
	return nil
}

// canonicalCodecs returns the codecs in their order, nil for the default.
func canonicalCodecs(chosen []string) []string {
	all := slices.DeleteFunc(slices.Clone(Codecs), func(c string) bool { return !slices.Contains(chosen, c) })
	if len(all) == 0 || len(all) == 1 && all[0] == CodecH264 {
		return nil
	}
	return all
}
