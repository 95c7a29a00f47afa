package pipeline

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/Eyevinn/mp4ff/aac"
	"github.com/Eyevinn/mp4ff/mp4"
)

// The codecs that sound may have.
const (
	CodecAAC  = "aac"  // AAC-LC
	CodecEAC3 = "eac3" // Enhanced AC-3, ETSI TS 102 366 annex E
)

const surroundOff = "off"

// AudioOptions are wishes beside the stereo rendition that every track gets.
type AudioOptions struct {
	// Surround adds 5.1 for tracks that have six channels or more: aac, eac3, or off (or empty).
	Surround string `json:"surround,omitempty"`
	// AudioOnly adds a variant without pictures, for players on very slow lines.
	AudioOnly bool `json:"audio_only,omitempty"`
}

// checkAudio looks at options.audio.
func (o Options) checkAudio(bad func(string, ...any) error) error {
	if o.Audio == nil {
		return nil
	}
	switch o.Audio.Surround {
	case "", surroundOff, CodecAAC, CodecEAC3:
		return nil
	}
	return bad("options.audio.surround is %q: use %s, %s or %s", o.Audio.Surround, CodecAAC, CodecEAC3, surroundOff)
}

// canonicalAudio returns nil for what nobody wishes.
func canonicalAudio(o *AudioOptions) *AudioOptions {
	if o == nil || !o.AudioOnly && (o.Surround == "" || o.Surround == surroundOff) {
		return nil
	}
	c := *o
	if c.Surround == surroundOff {
		c.Surround = ""
	}
	return &c
}

// withSurround adds the 5.1 renditions behind all stereo ones. They have the
// names of their tracks: players see one track in two groups (RFC 8216bis,
// 4.4.6.1.1).
func withSurround(stereo []AudioPlan, tracks []AudioSource, o *AudioOptions) []AudioPlan {
	if o == nil || o.Surround == "" || o.Surround == surroundOff {
		return stereo
	}
	all := slices.Clone(stereo)
	for i, t := range tracks {
		if t.Channels >= 6 {
			s := stereo[i]
			s.Codec, s.Channels = o.Surround, 6
			all = append(all, s)
		}
	}
	return all
}

// audioArgs encode a track.
func audioArgs(t AudioPlan) []string {
	return []string{"-c:a", t.Codec, "-b:a", fmt.Sprintf("%dk", t.rate()), "-ac", fmt.Sprint(t.Channels), "-ar", "48000"}
}

// rate is the bit rate that a track is encoded at, in kbit/s.
func (t AudioPlan) rate() int {
	switch {
	case t.BitRate > 0:
		return t.BitRate
	case t.Channels > 2:
		return 384
	}
	return 128
}

// layout is how loudness is measured and changed: as it will be played.
func (t AudioPlan) layout() string {
	name := "stereo"
	if t.Channels > 2 {
		name = "5.1"
	}
	return "aformat=channel_layouts=" + name + ":sample_rates=48000"
}

// describeAudio takes codec and channels from the sample entry. Its own number
// of channels says 2 for all of them (ISO/IEC 14496-14, 5.6), so the codec's
// configuration counts.
func (f *trackFacts) describeAudio(stsd *mp4.StsdBox) error {
	if e := stsd.EC3; e != nil {
		if e.Dec3 == nil {
			return fmt.Errorf("E-AC-3 without its configuration")
		}
		channels, _ := e.Dec3.ChannelInfo()
		f.Codec, f.Channels, f.SampleRate = "ec-3", channels, int(e.SampleRate)
		return nil
	}
	e := stsd.Mp4a
	f.Codec, f.SampleRate = "mp4a.40.2", int(e.SampleRate) // AAC-LC, ISO/IEC 14496-3
	if e.Esds == nil || e.Esds.DecConfigDescriptor == nil || e.Esds.DecConfigDescriptor.DecSpecificInfo == nil {
		return fmt.Errorf("AAC without its configuration")
	}
	asc, err := aac.DecodeAudioSpecificConfigHeader(bytes.NewReader(e.Esds.DecConfigDescriptor.DecSpecificInfo.DecConfig))
	if err != nil {
		return fmt.Errorf("parse AAC configuration: %w", err)
	}
	f.Channels = int(asc.ChannelConfiguration) // up to 6 the number itself, table 1.19
	return nil
}

// checkChannels wants the channels that were planned.
func (r *rendition) checkChannels() error {
	if r.Audio != nil && r.Facts.Channels != r.Audio.Channels {
		return fmt.Errorf("%s has %d channels, planned were %d", r.Name, r.Facts.Channels, r.Audio.Channels)
	}
	return nil
}

// audioGroup is a group of a multivariant playlist: the same tracks in each.
type audioGroup struct {
	ID      string
	Members []alternative
}

// audioGroups puts stereo into "audio" and, where there is any, 5.1 into
// "surround", where a track that has none is stereo.
func audioGroups(audio []alternative) []audioGroup {
	var stereo, surround []alternative
	for _, a := range audio {
		if a.Channels > 2 {
			surround = append(surround, a)
		} else {
			stereo = append(stereo, a)
		}
	}
	groups := []audioGroup{{"audio", stereo}}
	if len(surround) == 0 {
		return groups
	}
	for i, s := range stereo {
		if at := slices.IndexFunc(surround, func(a alternative) bool { return a.Name == s.Name }); at < 0 {
			surround = slices.Insert(surround, min(i, len(surround)), s)
		}
	}
	return append(groups, audioGroup{"surround", surround})
}

// rates returns the largest of the members' bit rates.
func (g audioGroup) rates() (peak, average int64) {
	for _, a := range g.Members {
		peak, average = max(peak, a.Bits.Peak), max(average, a.Bits.Average)
	}
	return peak, average
}

// codecs lists the members' codecs (RFC 8216bis, 4.4.6.2: all that may play).
func (g audioGroup) codecs() string {
	var all []string
	for _, a := range g.Members {
		if !slices.Contains(all, a.Codec) {
			all = append(all, a.Codec)
		}
	}
	return strings.Join(all, ",")
}

// first is the default member.
func (g audioGroup) first() alternative {
	for _, a := range g.Members {
		if a.Default {
			return a
		}
	}
	return g.Members[0]
}
