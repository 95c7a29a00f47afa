package pipeline

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// encodeArgs returns ffmpeg's arguments: one decode, scaling cascaded from
// rung to rung, one fragmented MP4 per rendition into pipes. The first
// rendition goes to descriptor firstFD, the next to the one after it: video
// rungs largest first, then the audio tracks. Progress goes to progressFD.
func encodeArgs(src *Source, p Plan, url string, progressFD, firstFD int) []string {
	level := "warning"
	if p.KeyFrames != nil {
		level = copyLogLevel
	}
	args := []string{
		"-nostdin", "-hide_banner", "-loglevel", level, "-nostats",
		"-progress", fmt.Sprintf("pipe:%d", progressFD), "-stats_period", "0.5",
	}
	args = append(args, threadArgs(p)...)
	args = append(append(args, inputArgs(src.Container)...), "-i", url)
	if p.Watermark != nil {
		args = append(args, watermarkArgs(p.WatermarkFormat, firstFD+len(p.Video)+len(p.Audio))...)
	}
	if graph := filterGraph(src, p); graph != "" {
		args = append(args, "-filter_complex", graph)
	}
	fd := firstFD
	for i, v := range p.Video {
		if v.Copied {
			args = append(args, "-map", fmt.Sprintf("0:%d", src.Video.Index))
			args = append(args, copyArgs()...)
		} else {
			args = append(args, "-map", fmt.Sprintf("[v%d]", i))
			args = append(args, videoArgs(v, p.KeyFrames != nil)...)
			if v.Codec == CodecH264 {
				args = append(args, lightVideoArgs(p)...)
			}
		}
		args = append(args, muxArgs(src)...)
		args = append(args, "-video_track_timescale", strconv.Itoa(timescale(v.Rate)),
			"-movflags", "frag_keyframe+delay_moov+default_base_moof", "-f", "mp4", fmt.Sprintf("pipe:%d", fd))
		fd++
	}
	for _, t := range p.Audio {
		args = append(args, "-map", fmt.Sprintf("0:%d", t.Stream),
			"-af", soundFilter(src, p, t))
		args = append(args, audioArgs(t)...)
		args = append(args, muxArgs(src)...)
		args = append(args, "-movflags", "delay_moov+default_base_moof", "-frag_duration", "2000000",
			"-f", "mp4", fmt.Sprintf("pipe:%d", fd))
		fd++
	}
	if p.KeyFrames != nil && len(encodedSizes(p)) == 0 {
		args = append(args, decodeOnly(fmt.Sprintf("0:%d", src.Video.Index), src)...)
	}
	return args
}

// muxArgs keep everything of the source that was not asked for out of a
// rendition, and end one that is longer than the source said: the gate refuses
// it anyhow, and a gap in the time stamps would be filled without end.
func muxArgs(src *Source) []string {
	most := 1.05*src.Duration.Seconds() + 5
	return []string{"-map_metadata", "-1", "-map_chapters", "-1", "-dn", "-sn", "-t", strconv.FormatFloat(most, 'f', 3, 64)}
}

// copyArgs take the source's pictures as they are, without what is none and
// would be in this rung only: SEI with captions, times and what else cameras
// say (ITU-T H.264, table 7-1, type 6), delimiters (9), filler (12).
func copyArgs() []string {
	return []string{"-c:v", "copy", "-bsf:v", "filter_units=remove_types=6|9|12", "-tag:v", "avc1"}
}

// videoArgs encode a rung with its own key frames, or with the source's.
func videoArgs(v VideoPlan, sourceKeyFrames bool) []string {
	grid := []string{"-g", strconv.Itoa(v.GOP), "-keyint_min", strconv.Itoa(v.GOP)}
	if sourceKeyFrames && v.Codec != CodecAV1 {
		grid = []string{"-g", strconv.Itoa(maxGOPFrames), "-keyint_min", "1", "-force_key_frames", "source"}
	}
	return append(append(codecArgs(v), grid...), "-sc_threshold", "0", "-flags", "+cgop", "-threads", strconv.Itoa(v.Rung.Threads))
}

// filterGraph decodes once and scales each size from the one above it. It is
// empty when nothing is to be encoded.
func filterGraph(src *Source, p Plan) string {
	var g strings.Builder
	sizes := encodedSizes(p)
	if len(sizes) == 0 {
		return ""
	}
	fmt.Fprintf(&g, "[0:%d]", src.Video.Index)
	if src.Video.Interlaced {
		g.WriteString("bwdif=mode=send_frame:deint=interlaced,")
	}
	// start_time=0: a video that starts late begins with its first frame, so
	// that every rendition begins at zero.
	g.WriteString(moved("setpts", p.offGrid(src)))
	fmt.Fprintf(&g, "fps=fps=%s:start_time=0,", p.Rate)
	g.WriteString(clipPictures(src, p))
	g.WriteString(stillAfter(src))
	halved := false
	for n, same := range sizes {
		v := p.Video[same[0]]
		if n > 0 {
			fmt.Fprintf(&g, ";[s%d]", n)
		}
		if v.Halved && !halved {
			g.WriteString("framestep=2,")
			halved = true
		}
		if n == 0 {
			fmt.Fprintf(&g, "scale=%d:%d:flags=bicubic:%sout_range=tv,", v.Width, v.Height, inRange(src.Video))
			g.WriteString(toSDR(src.Video))
			g.WriteString("format=yuv420p,setsar=1")
			if p.Watermark != nil {
				g.WriteString(watermarkFilter(*p.Watermark, v.Width, v.Height, "m", ""))
			}
		} else {
			fmt.Fprintf(&g, "scale=%d:%d:flags=bicubic,setsar=1", v.Width, v.Height)
		}
		var outs []string
		for _, i := range same {
			outs = append(outs, fmt.Sprintf("[v%d]", i))
		}
		if n+1 < len(sizes) {
			outs = append(outs, fmt.Sprintf("[s%d]", n+1))
		}
		if len(outs) > 1 {
			fmt.Fprintf(&g, ",split=%d", len(outs))
		}
		g.WriteString(strings.Join(outs, ""))
	}
	return g.String()
}

// encodedSizes groups the rungs that are encoded, by index, as they share a
// size: largest first.
func encodedSizes(p Plan) [][]int {
	var sizes [][]int
	for i, v := range p.Video {
		if v.Copied {
			continue
		}
		at := slices.IndexFunc(sizes, func(same []int) bool { return p.Video[same[0]].Rung.Name == v.Rung.Name })
		if at < 0 {
			sizes = append(sizes, []int{i})
		} else {
			sizes[at] = append(sizes[at], i)
		}
	}
	slices.SortStableFunc(sizes, func(a, b []int) int { return p.Video[b[0]].Rung.ShortEdge - p.Video[a[0]].Rung.ShortEdge })
	return sizes
}

// inRange says what swscale takes for granted of pictures that are as renditions
// are: it copies each one of the right size otherwise, to a range that it has.
func inRange(v VideoSource) string {
	if v.PixFmt != "yuv420p" || v.FullRange || v.HDR() {
		return ""
	}
	return "in_range=tv:"
}

// toSDR maps PQ and HLG to BT.709 once, before the cascade. The input's colour
// is named, for zscale refuses to guess it.
func toSDR(v VideoSource) string {
	if !v.HDR() {
		return ""
	}
	return fmt.Sprintf("format=yuv420p10le,zscale=tin=%s:min=bt2020nc:pin=bt2020:rin=tv:t=linear:npl=100,"+
		"format=gbrpf32le,zscale=p=bt709,tonemap=hable:desat=0,zscale=t=bt709:m=bt709:r=tv,", v.Transfer)
}

// timescale returns ticks per second in which a frame of the rate is a whole
// number of ticks, fine enough for edit lists.
func timescale(r Rational) int {
	ts := r.Num
	for ts < 10000 {
		ts *= 10
	}
	return ts
}

// expectedFrames is how many frames of the rate the duration holds.
func expectedFrames(seconds float64, r Rational) int64 {
	return int64(math.Round(seconds * r.Float()))
}
