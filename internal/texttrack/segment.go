package texttrack

import "time"

// Grid is the duration of a segment. Text may have a longer one than pictures
// (RFC 8216bis, 6.2.4: SUBTITLES renditions of a VOD may differ): it is small,
// and a film of two hours has 240 segments instead of 1,200.
const Grid = 30 * time.Second

// Segment is a part of a track: the cues that are shown in it, whole. A cue that
// spans several is in each of them, with its own times, so that a player that
// begins there shows it (RFC 8216bis, 3.1.4).
type Segment struct {
	Start, End time.Duration
	Cues       []Cue
}

// Split puts cues, which are in order, on the grid of a film of the given
// length. There is a segment for each part of it, also without a cue; cues after
// the end are left out.
func Split(cues []Cue, length time.Duration) ([]Segment, error) {
	length = max(length.Truncate(time.Millisecond), time.Millisecond)
	segments := make([]Segment, (length+Grid-1)/Grid)
	for i := range segments {
		segments[i].Start = time.Duration(i) * Grid
		segments[i].End = min(length, segments[i].Start+Grid)
	}
	room := maxOutput
	for _, c := range cues {
		if c.Start >= length {
			continue
		}
		last := min(int((c.End-1)/Grid), len(segments)-1)
		for i := int(c.Start / Grid); i <= last; i++ {
			if room -= len(c.Text) + len(c.Settings) + 32; room < 0 {
				return nil, tooLarge(0, "too many cues last too long: together more than %d MiB", maxOutput>>20)
			}
			segments[i].Cues = append(segments[i].Cues, c)
		}
	}
	return segments, nil
}

// Clip gives the cues of a part of a film: they count from its beginning, and
// what is outside of it is cut away.
func Clip(cues []Cue, from, length time.Duration) []Cue {
	out := make([]Cue, 0, len(cues))
	for _, c := range cues {
		c.Start, c.End = max(0, c.Start-from), min(c.End-from, length)
		if c.End > c.Start {
			out = append(out, c)
		}
	}
	return out
}
