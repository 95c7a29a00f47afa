package pipeline

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// A presentation of sound alone has every track of the source, each in one or
// two bit rates, and no pictures: those of the source, if any, are its cover.

// What Options.BitRates may have, in kbit/s: AAC-LC in stereo.
const (
	maxBitRates = 2
	minBitRate  = 32
	maxBitRate  = 320
)

// SoundOutputs are the outputs that sound alone may have. MPEG-TS is left out:
// whoever plays sound in segments plays it in fMP4.
var SoundOutputs = []string{OutputCMAF, OutputCMAFAES128}

// SoundOnly says that a presentation of sound alone is asked for.
func (o Options) SoundOnly() bool { return len(o.BitRates) > 0 }

// DefaultSoundOptions returns what an empty options object of sound alone means.
func DefaultSoundOptions() Options {
	return Options{Encrypt: true, Outputs: slices.Clone(SoundOutputs), Ladder: []string{}, SegmentSeconds: 6, BitRates: []int{128}}
}

// checkSound looks at what is special to sound alone.
func (o Options) checkSound(bad func(string, ...any) error) error {
	if !o.SoundOnly() {
		return nil
	}
	if len(o.BitRates) > maxBitRates {
		return bad("options.bit_rates has %d: at most %d are made", len(o.BitRates), maxBitRates)
	}
	for i, rate := range o.BitRates {
		if rate < minBitRate || rate > maxBitRate {
			return bad("options.bit_rates has %d: use %d to %d kbit/s", rate, minBitRate, maxBitRate)
		}
		if slices.Contains(o.BitRates[:i], rate) {
			return bad("options.bit_rates names %d twice", rate)
		}
	}
	for _, name := range o.Outputs {
		if !slices.Contains(SoundOutputs, name) {
			return bad("options.outputs has %q: sound alone is in %s", name, strings.Join(SoundOutputs, ", "))
		}
	}
	if len(o.Ladder)+len(o.Codecs) > 0 || o.Audio != nil || o.Watermark != nil || o.Passthrough != "" {
		return bad("options.ladder, codecs, audio, watermark and passthrough are for films")
	}
	return nil
}

// canonicalRates returns the bit rates from the highest on.
func canonicalRates(rates []int) []int {
	if len(rates) == 0 {
		return nil
	}
	sorted := slices.Clone(rates)
	slices.Sort(sorted)
	slices.Reverse(sorted)
	return sorted
}

// soundRate is the grid of a plan without pictures: a millisecond, to which
// clips are cut.
var soundRate = Rational{1000, 1}

// newSoundPlan plans every track in every bit rate, those of a track together.
func newSoundPlan(src *Source, opt Options) Plan {
	p := Plan{Rate: soundRate, GOP: 1, SegmentSeconds: float64(opt.SegmentSeconds), Clipped: opt.Clip != nil}
	for _, t := range planAudio(src.Audio) {
		for _, rate := range canonicalRates(opt.BitRates) {
			t.BitRate = rate
			p.Audio = append(p.Audio, t)
		}
	}
	return p
}

// rateGroups puts the renditions of each bit rate into a group of their own,
// where players find one track under one name (RFC 8216bis, 4.4.6.1.1).
func rateGroups(audio []alternative) (groups []audioGroup) {
	for _, a := range audio {
		id := fmt.Sprintf("audio-%d", a.Rate)
		at := slices.IndexFunc(groups, func(g audioGroup) bool { return g.ID == id })
		if at < 0 {
			at = len(groups)
			groups = append(groups, audioGroup{ID: id})
		}
		groups[at].Members = append(groups[at].Members, a)
	}
	return groups
}

// soundPlaylist is the multivariant playlist of sound alone: a variant for each
// bit rate, whose own playlist is that of the default track.
func soundPlaylist(audio []alternative) []byte {
	var out bytes.Buffer
	out.WriteString("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n")
	groups := rateGroups(audio)
	for _, g := range groups {
		for _, a := range g.Members {
			writeAlternative(&out, g.ID, a)
		}
	}
	for _, g := range groups {
		writeSoundVariant(&out, g)
	}
	return out.Bytes()
}

// writeSoundVariant writes a variant without pictures.
func writeSoundVariant(out *bytes.Buffer, g audioGroup) {
	peak, average := g.rates()
	fmt.Fprintf(out, "#EXT-X-STREAM-INF:%s,CODECS=%q,AUDIO=%q\n%s\n", bandwidth(peak, average), g.codecs(), g.ID, g.first().URI)
}

// soundDemuxers are ffmpeg's demuxers of containers that hold sound alone.
var soundDemuxers = []string{"mp3", "aac", "wav", "flac", "aiff", "caf"}

// unmeasured demuxers guess how long a source is by its first bit rate: it is
// read through instead.
var unmeasured = []string{"mp3", "aac"}

// sniffSound names the demuxer of a source of sound by its first bytes, or
// returns "".
func sniffSound(head []byte) string {
	if demuxer := sniff(head); demuxer != "" {
		return demuxer
	}
	at := func(off int, magic string) bool {
		return len(head) >= off+len(magic) && string(head[off:off+len(magic)]) == magic
	}
	switch {
	case at(0, "ID3"):
		return "mp3"
	case at(0, "RIFF") && at(8, "WAVE"), at(0, "RF64") && at(8, "WAVE"):
		return "wav"
	case at(0, "fLaC"):
		return "flac"
	case at(0, "FORM") && (at(8, "AIFF") || at(8, "AIFC")):
		return "aiff"
	case at(0, "caff"):
		return "caf"
	case len(head) < 4 || head[0] != 0xff || head[1]&0xe0 != 0xe0:
		return ""
	case head[1]&0xf6 == 0xf0: // ISO/IEC 14496-3, 1.A.2.2: layer 0
		return "aac"
	case head[1]>>1&3 != 0 && head[2]>>4 != 15: // ISO/IEC 11172-3, 2.4.2.3
		return "mp3"
	}
	return ""
}

// pictureless says whether nothing of a source's pictures is used.
func (s *Source) pictureless() bool { return s.Video.Codec == "" }

// parseSound turns ffprobe's JSON into a source of sound alone.
func parseSound(doc []byte, demuxer string) (*Source, error) {
	src, _, p, err := parseStreams(doc)
	if err != nil {
		return nil, err
	}
	if len(src.Audio) == 0 {
		return nil, permanent(CodeSourceNoAudio, "the source has no audio stream", nil)
	}
	unsaid := false
	for i := range src.Audio {
		if slices.Contains(unmeasured, demuxer) {
			src.Audio[i].Duration = 0
		}
		src.Duration = max(src.Duration, src.Audio[i].Duration)
		unsaid = unsaid || src.Audio[i].Duration <= 0
	}
	if unsaid && !slices.Contains(unmeasured, demuxer) {
		src.Duration = max(0, seconds(p.Duration))
	}
	return src, nil
}
