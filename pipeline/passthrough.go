package pipeline

import (
	"fmt"
	"math"
	"slices"
	"time"
)

// Passthrough says whether a source's own pictures may be a rendition.
const (
	PassthroughAuto = "auto" // the top rung is copied when the source conforms
	PassthroughOff  = "off"
)

// keyFramePlan is the grid of an attempt whose top rung is the source's own
// stream: the other rungs have their key frames where the source has them.
type keyFramePlan struct {
	Frames int64   // pictures of the source
	GOPs   []int64 // the first picture of each key frame distance
	First  []int   // by segment: the key frame distance with which it begins
}

// copyProfiles are the profiles that every H.264 decoder of a player takes:
// ITU-T H.264, A.2.1.1, A.2.2, A.2.4. Baseline may reorder slices.
var copyProfiles = []string{"Constrained Baseline", "Main", "High"}

// refuseCopy says why the source's pictures cannot be the top rung, as far as
// the probe tells, or "".
func (p Plan) refuseCopy(src *Source) string {
	v, top := src.Video, p.Video[0]
	width, height := v.displaySize()
	switch {
	case p.Clipped || p.Watermark != nil:
		return "a clip or a watermark needs an encode"
	case top.Codec != CodecH264:
		return "h264 was not asked for"
	case v.Gap >= time.Millisecond:
		return "it does not begin at the start of the sound"
	case src.still() > 0:
		return fmt.Sprintf("its sound goes on for %.1f s after its pictures", src.still().Seconds())
	case src.Damaged:
		return "the source has errors"
	case v.Codec != "h264":
		return fmt.Sprintf("the source is %s, not h264", v.Codec)
	case !slices.Contains(copyProfiles, v.Profile) || v.Level > 52:
		return fmt.Sprintf("H.264 profile %q at level %d is not played everywhere", v.Profile, v.Level)
	case v.PixFmt != "yuv420p" || v.FullRange || v.HDR():
		return fmt.Sprintf("the pixel format is %s, not 8 bit 4:2:0 of limited range", v.PixFmt)
	case !v.Progressive:
		return "the source is not known to be progressive"
	case v.Rotation != 0 || v.Transformed:
		return "the source has a display matrix"
	case v.SAR != Rational{1, 1}:
		return "the pixels are not square"
	case top.Width != v.Width || top.Height != v.Height || width != v.Width || height != v.Height:
		return fmt.Sprintf("no rung has the source's size of %d×%d", v.Width, v.Height)
	case reduce(v.BaseRate) != p.Rate || math.Abs(v.AvgRate.Float()/p.Rate.Float()-1) > 0.005:
		return fmt.Sprintf("the frame rate is not constant at %s", p.Rate)
	}
	if rate, most := src.pictureRate(), float64(top.Rung.MaxRate); rate > most {
		return fmt.Sprintf("the source has %.0f kbit/s, the rung %s may have %.0f", rate, top.Rung.Name, most)
	}
	return ""
}

// pictureRate returns the least that the pictures may take on average, in
// kbit/s: what the container says, or what is left beside a lot of sound.
func (s *Source) pictureRate() float64 {
	if s.Video.BitRate > 0 {
		return float64(s.Video.BitRate) / 1000
	}
	const sound = 1500 // kbit/s per track
	return 8*float64(s.Size)/1000/s.Duration.Seconds() - sound*float64(len(s.Audio)+1)
}

// copyTop returns the plan whose top rung is the source's own stream, or says
// why it cannot be.
func (p Plan) copyTop(scan pictureScan) (Plan, string) {
	refused, frame := p, 1/p.Rate.Float()
	wanted := int64(math.Round(p.SegmentSeconds * p.Rate.Float()))
	length, first := segmentGrid(scan.gops, scan.frames, wanted)
	if length == 0 {
		return p, fmt.Sprintf("its key frames, up to %.1f s apart, do not suit segments of %.1f s",
			float64(longestGOP(scan.gops, scan.frames))*frame, p.SegmentSeconds)
	}
	top := p.Video[0]
	for i := range first {
		bytes, frames := scan.span(first, i)
		// As the encoder's own cap: two seconds of the rate may be saved up.
		if most := float64(top.Rung.MaxRate) * (float64(frames)*frame + 2); 8*float64(bytes)/1000 > most {
			return p, fmt.Sprintf("segment %d has %.0f kbit/s, the rung %s may have %d",
				i+1, 8*float64(bytes)/1000/(float64(frames)*frame), top.Rung.Name, top.Rung.MaxRate)
		}
	}
	p.SegmentSeconds = float64(length) * float64(p.Rate.Den) / float64(p.Rate.Num)
	p.KeyFrames = &keyFramePlan{Frames: scan.frames, GOPs: scan.gops, First: first}
	p.Video = slices.Clone(p.Video)
	p.Video[0].Copied, p.Video[0].Halved, p.Video[0].Rate = true, false, p.Rate
	odd := slices.ContainsFunc(scan.gops, func(at int64) bool { return at%2 != 0 })
	for i := range p.Video {
		v := &p.Video[i]
		if v.Halved && odd {
			v.Halved, v.Rate = false, p.Rate // half of the pictures would miss key frames
		}
		if v.Codec == CodecAV1 {
			// SVT-AV1 has key frames at one distance, and none on request.
			distance, even := evenGOPs(scan.gops)
			if !even {
				return refused, "av1 cannot follow its key frames, which are not at one distance"
			}
			if v.GOP = int(distance); v.Halved {
				v.GOP /= 2
			}
		}
	}
	return p, ""
}

// segmentGrid returns the segment's length in frames and, by segment, the key
// frame distance with which it begins. It tries the wanted length, then the
// multiple of the usual distance that is nearest to it. A grid is good when
// every segment but the last is between half and one and a half of the wanted
// length; else the length is 0.
func segmentGrid(gops []int64, frames, wanted int64) (length int64, first []int) {
	usual := usualGOP(gops, frames)
	near := usual * max(1, int64(math.Round(float64(wanted)/float64(usual))))
	for _, length := range []int64{wanted, near} {
		first := cut(gops, length)
		good := true
		for i, g := range first {
			end := frames
			if i+1 < len(first) {
				end = gops[first[i+1]]
			}
			n := end - gops[g]
			good = good && 2*n <= 3*wanted && (2*n >= wanted || end == frames)
		}
		if good {
			return length, first
		}
	}
	return 0, nil
}

// cut does what the packager does: a segment ends before the first key frame
// that is in another multiple of the length than the segment's beginning.
func cut(gops []int64, length int64) []int {
	first := []int{0}
	for i, at := range gops {
		if at/length != gops[first[len(first)-1]]/length {
			first = append(first, i)
		}
	}
	return first
}

// evenGOPs returns the distance of key frames when it is always the same.
func evenGOPs(gops []int64) (distance int64, even bool) {
	if len(gops) < 2 {
		return maxGOPFrames, true
	}
	for i, at := range gops {
		if at != int64(i)*gops[1] {
			return 0, false
		}
	}
	return gops[1], true
}

// usualGOP returns the median key frame distance in frames.
func usualGOP(gops []int64, frames int64) int64 {
	all := distances(gops, frames)
	slices.Sort(all)
	return max(1, all[len(all)/2])
}

func longestGOP(gops []int64, frames int64) int64 { return slices.Max(distances(gops, frames)) }

func distances(gops []int64, frames int64) []int64 {
	all := make([]int64, len(gops))
	for i, at := range gops {
		end := frames
		if i+1 < len(gops) {
			end = gops[i+1]
		}
		all[i] = end - at
	}
	return all
}

// firstGOP returns the key frame distance with which a segment begins;
// segments count from one.
func (p Plan) firstGOP(segment int) int {
	if p.KeyFrames == nil {
		return (segment - 1) * p.gopsPerSegment()
	}
	if segment > len(p.KeyFrames.First) {
		return len(p.KeyFrames.GOPs) // no such segment is due: nothing is like it
	}
	return p.KeyFrames.First[segment-1]
}

// segments returns how many segments are due.
func (p Plan) segments(seconds float64) int {
	if p.KeyFrames != nil {
		return len(p.KeyFrames.First)
	}
	return int(math.Ceil(seconds / p.SegmentSeconds))
}

// longestSegment returns the longest segment in seconds.
func (p Plan) longestSegment() float64 {
	k := p.KeyFrames
	if k == nil {
		return p.SegmentSeconds
	}
	longest := int64(0)
	for i, g := range k.First {
		end := k.Frames
		if i+1 < len(k.First) {
			end = k.GOPs[k.First[i+1]]
		}
		longest = max(longest, end-k.GOPs[g])
	}
	return float64(longest) / p.Rate.Float()
}

// checkKeyFrames wants the key frames of every rung where the plan has them.
func (p Plan) checkKeyFrames(rs []*rendition) error {
	if p.KeyFrames == nil {
		return nil
	}
	for _, r := range rs {
		if r.Video == nil {
			continue
		}
		if made := len(r.Facts.Pictures.list()); made != len(p.KeyFrames.GOPs) {
			return fmt.Errorf("%s has %d key frames, the source has %d", r.Name, made, len(p.KeyFrames.GOPs))
		}
		if r.Video.Copied && r.Facts.Frames != p.KeyFrames.Frames {
			return fmt.Errorf("%s has %d frames, the source has %d", r.Name, r.Facts.Frames, p.KeyFrames.Frames)
		}
	}
	return nil
}
