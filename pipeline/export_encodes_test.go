package pipeline

import (
	"context"
	"io"
	"time"
)

// SegmentGrid is segmentGrid.
var SegmentGrid = segmentGrid

// CopyTop returns the plan that copies the top rung of a source of the given
// key frames.
func CopyTop(p Plan, frames int64, gops ...int64) (Plan, string) {
	return p.copyTop(pictureScan{frames: frames, gops: gops, bytes: make([]int64, len(gops))})
}

// Planned returns the plan of a request, which then ends.
func Planned(r *Runner, req Request) (plan Plan, err error) {
	defer func(was func(*Source, Plan) time.Duration) { r.budget = was }(r.budget)
	r.budget = func(_ *Source, p Plan) time.Duration { plan = p; return 0 }
	_, err = r.Run(context.Background(), req)
	return plan, err
}

// ReadPictures reads ffmpeg's list of packets and says why it is refused.
func ReadPictures(rate Rational, list io.Reader) (gops []int64, frames int64, why string) {
	l := newPictureLines(rate)
	l.read(list)
	scan, why := l.end()
	return scan.gops, scan.frames, why
}

// SegmentDigests is segmentDigests of H.264.
func SegmentDigests(output string, segment []byte) ([][32]byte, error) {
	return segmentDigests(output, CodecH264, segment)
}

// What changes the sound and the picture.
var (
	Gain          = Loudness.gain
	ParseLoudness = parseLoudness
	SniffPicture  = sniffPicture
)

// Filters returns what is done to the pictures and the sound of a source of one
// rung and one track.
func Filters(rate Rational, gap, pictures, sound time.Duration) (string, string) {
	src := &Source{
		Duration: max(pictures, sound),
		Video:    VideoSource{Codec: "h264", Width: 320, Height: 240, SAR: Rational{1, 1}, Gap: gap, Duration: pictures},
		Audio:    []AudioSource{{Index: 1, Duration: sound}},
	}
	p := Plan{Rate: rate, Video: []VideoPlan{{Width: 320, Height: 240, Rate: rate}}}
	return filterGraph(src, p), soundFilter(src, p, AudioPlan{Stream: 1})
}

// WholeSegments returns what ends the sound of a film in segments of 6 s.
func WholeSegments(rate Rational, pictures, sound time.Duration) string {
	src := &Source{Duration: max(pictures, sound), Audio: []AudioSource{{Index: 1, Duration: sound}}}
	if pictures > 0 {
		src.Video = VideoSource{Codec: "h264", Duration: pictures}
	}
	return wholeSegments(src, Plan{Rate: rate, SegmentSeconds: 6}, AudioPlan{Stream: 1})
}
