package pipeline

import (
	"regexp"
	"strings"
)

// An attempt that copies the source's pictures has no encoder that would heal
// them: a slice that cannot be decoded reaches every player, while the rungs
// that are encoded look well. So the decoder's word on the source counts.

// copyLogLevel lets ffmpeg name the level of what it says, and say nothing less
// than errors: warnings would fill what is kept of its output.
const copyLogLevel = "level+error"

// copyLogMost is how many bytes of errors are too many to have been read: the
// first of them are not kept.
const copyLogMost = 15 << 10

// decoderLine is an error of ffmpeg's H.264 decoder.
var decoderLine = regexp.MustCompile(`(?m)^\[h264 @ [^]]*\] \[(?:error|fatal|panic)\] (.*)$`)

// pictureFault gives the first error of the decoder in what ffmpeg said at
// copyLogLevel, or "". Supplemental information (ITU-T H.264, 7.3.2.3) is not
// copied, so what is wrong with it does not matter; nor do errors of sound,
// which is encoded.
func pictureFault(stderr string) string {
	for _, m := range decoderLine.FindAllStringSubmatch(stderr, -1) {
		if !strings.HasPrefix(m[1], "SEI") {
			return m[1]
		}
	}
	if len(stderr) > copyLogMost {
		return "more errors than are kept"
	}
	return ""
}

// decodeOnly are the arguments that decode a source of which no rung is encoded.
func decodeOnly(stream string, src *Source) []string {
	args := []string{"-map", stream}
	return append(append(args, muxArgs(src)...), "-f", "null", "-")
}
