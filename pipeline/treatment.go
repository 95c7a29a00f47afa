package pipeline

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Clip is a part of a source, in seconds.
type Clip struct {
	Start float64 `json:"start"`
	End   float64 `json:"end,omitempty"` // 0: the source's end
}

// Loudness is what every audio track is brought to by one constant gain
// (EBU R 128; ITU-R BS.1770).
type Loudness struct {
	LUFS     float64 `json:"lufs"`      // integrated
	TruePeak float64 `json:"true_peak"` // dBTP; the gain stops here
}

// DefaultLoudness is what an empty loudness object means.
func DefaultLoudness() Loudness { return Loudness{LUFS: -16, TruePeak: -1.5} }

// Watermark is a picture over the film.
type Watermark struct {
	Source   string  `json:"source"`   // object key in the source bucket: PNG, JPEG or WebP
	Position string  `json:"position"` // see WatermarkPositions
	Opacity  float64 `json:"opacity"`  // above 0, up to 1
	Scale    float64 `json:"scale"`    // its width, of the picture's width
}

// DefaultWatermark is what the fields beside the source mean when absent.
func DefaultWatermark() Watermark { return Watermark{Position: "top-right", Opacity: 1, Scale: 0.15} }

// WatermarkPositions lists where a watermark may stand.
var WatermarkPositions = []string{"top-left", "top-right", "bottom-left", "bottom-right", "center"}

// checkTreatment looks at clip, loudness and watermark.
func (o Options) checkTreatment(bad func(string, ...any) error) error {
	if err := o.Clip.check(); err != nil {
		return err
	}
	if l := o.Loudness; l != nil && (l.LUFS < -40 || l.LUFS > -5 || l.TruePeak < -20 || l.TruePeak > 0) {
		return bad("options.loudness is %v LUFS with peaks up to %v dBTP: use -40 to -5 LUFS and -20 to 0 dBTP", l.LUFS, l.TruePeak)
	}
	w := o.Watermark
	switch {
	case w == nil:
	case w.Source == "":
		return bad("options.watermark.source is missing: it is the object key of a picture in the source bucket")
	case !slices.Contains(WatermarkPositions, w.Position):
		return bad("options.watermark.position is %q: use one of %s", w.Position, strings.Join(WatermarkPositions, ", "))
	case !(w.Opacity > 0 && w.Opacity <= 1):
		return bad("options.watermark.opacity is %v: use more than 0, up to 1", w.Opacity)
	case !(w.Scale >= 0.01 && w.Scale <= 1):
		return bad("options.watermark.scale is %v: use 0.01 to 1, of the picture's width", w.Scale)
	}
	return nil
}

// check looks at a clip; none is well.
func (c *Clip) check() error {
	if c == nil || c.Start >= 0 && c.End >= 0 && (c.End == 0 || c.End > c.Start) && c.Start <= 1e6 && c.End <= 1e6 {
		return nil
	}
	return permanent(CodeOptionsInvalid, fmt.Sprintf("options.clip is from %v to %v s: start must be 0 or more, and end after it", c.Start, c.End), nil)
}

// clip makes the source as long as the part that is wanted of it.
func (s *Source) clip(c *Clip) error {
	if c == nil {
		return nil
	}
	part := func(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
	start, end := part(c.Start), part(c.End)
	if end == 0 || end > s.Duration {
		end = s.Duration
	}
	what := "pictures"
	if s.pictureless() {
		what = "sound"
	}
	if longest := s.Video.Duration; start >= end || longest > 0 && start >= longest {
		return permanent(CodeOptionsInvalid, fmt.Sprintf("options.clip begins at %s, where the source has no %s any more", start, what), nil)
	}
	left := func(d time.Duration) time.Duration {
		if d <= 0 {
			return d // unknown stays unknown
		}
		return min(d, end) - start
	}
	s.Audio = slices.DeleteFunc(slices.Clone(s.Audio), func(a AudioSource) bool { return a.Duration > 0 && a.Duration <= start })
	for i := range s.Audio {
		s.Audio[i].Duration = left(s.Audio[i].Duration)
	}
	s.Video.Duration = left(s.Video.Duration)
	s.ToEnd = end == s.Duration
	s.From, s.Duration, s.Cut = start, end-start, true
	return nil
}

// clipFrames returns the first picture of the clip on the grid of the full
// rate, and the one after its last.
func (p Plan) clipFrames(src *Source) (first, end int64) {
	first = expectedFrames(src.From.Seconds(), p.Rate)
	return first, max(first+1, expectedFrames((src.From+src.Duration).Seconds(), p.Rate))
}

// clipPictures and clipSound cut at the same pictures: every rendition begins
// with the first of them.
func clipPictures(src *Source, p Plan) string {
	if !p.Clipped {
		return ""
	}
	first, end := p.clipFrames(src)
	return fmt.Sprintf("trim=start_frame=%d:end_frame=%d,setpts=PTS-STARTPTS,", first, end)
}

func clipSound(src *Source, p Plan) string {
	if !p.Clipped {
		return ""
	}
	first, end := p.clipFrames(src)
	at := func(frame int64) string {
		return strconv.FormatFloat(float64(frame)/p.Rate.Float(), 'f', 6, 64)
	}
	return fmt.Sprintf(",atrim=start=%s:end=%s,asetpts=PTS-STARTPTS", at(first), at(end))
}

// soundFilter brings a track to its clip and its gain; stereo comes before loudness.
func soundFilter(src *Source, p Plan, t AudioPlan) string {
	f := moved("asetpts", p.offGrid(src)) + "aresample=async=1:first_pts=0" + clipSound(src, p)
	if p.Loudness {
		f += fmt.Sprintf(",%s,volume=%.2fdB", t.layout(), t.GainDB)
	}
	return f + silenceAfter(src, t) + wholeSegments(src, p, t)
}

// offGrid is how many seconds pictures and sound are late, that the first picture
// is on the grid of the output's rate: else all of them are off by up to half a
// picture, and the sound is not. Matroska's pictures are, for its clock begins
// with the encoder's priming of the sound, a frame of 1,024 samples: that much is
// cut; what would be more is made up for by waiting when that is less.
func (p Plan) offGrid(src *Source) float64 {
	if src.pictureless() || p.Rate.Float() == 0 {
		return 0
	}
	const priming, exact = 0.025, 0.001
	frame := 1 / p.Rate.Float()
	late := math.Mod(src.Video.Gap.Seconds(), frame)
	if late > priming && late > frame/2 {
		late -= frame
	}
	if math.Abs(late) < exact {
		return 0
	}
	return late
}

// moved takes seconds off all time stamps.
func moved(filter string, seconds float64) string {
	if seconds == 0 {
		return ""
	}
	return fmt.Sprintf("%s=PTS%+.6f/TB,", filter, -seconds)
}

// apart is how much earlier than the other one sound or pictures may end: players
// of DASH stop at the end of the period.
const apart = 300 * time.Millisecond

// silenceAfter lets silence follow a track that ends early, to the end of the
// pictures: renditions that play together last as long as each other, to a
// segment (RFC 8216bis, 6.2.4).
func silenceAfter(src *Source, t AudioPlan) string {
	silence := src.silence(t.Stream)
	if silence <= 0 {
		return ""
	}
	return fmt.Sprintf(",apad=pad_dur=%.3f,atrim=end=%.3f", silence.Seconds(), src.film().Seconds())
}

// silence is how much of it may follow a track: what the source says that the
// track is shorter than the film, and as much as it may be off. No more, so
// that sound which is cut off is missed (checkDurations). 0: none follows.
func (s *Source) silence(stream int) time.Duration {
	ends := s.audioDuration(stream)
	missing := s.film() - ends
	if s.pictureless() || ends <= 0 || missing <= apart {
		return 0
	}
	return missing + time.Duration(tolerance(ends.Seconds())*float64(time.Second))
}

// wholeSegments ends a track with the pictures of a film that is whole segments
// long, if it is not said to go on for more than a frame of sound. Decoders hand
// on the padding of its last frame too (AAC: up to 1,024 samples), and that alone
// would become one more segment, of a millisecond: three packets of MPEG-TS, at
// which GStreamer 1.22 ends with an error. A clip that does not go on to the end
// of the source is cut to the sample as it is.
func wholeSegments(src *Source, p Plan, t AudioPlan) string {
	const frame = 0.025 // s
	if p.Clipped && !src.ToEnd || src.pictureless() || p.SegmentSeconds <= 0 || p.Rate.Float() == 0 {
		return ""
	}
	late := p.offGrid(src)
	film, sound := src.film().Seconds()-late, src.audioDuration(t.Stream).Seconds()
	end := math.Round(film/p.SegmentSeconds) * p.SegmentSeconds
	if end == 0 || math.Abs(film-end) > 0.5/p.Rate.Float() || sound == 0 || sound-late > end+frame {
		return ""
	}
	return fmt.Sprintf(",atrim=end=%.6f", end)
}

// still is for how long the last picture stands because sound goes on, as far as
// the source says: at most as long as the pictures, for damaged sources promise
// days of sound.
func (s *Source) still() time.Duration {
	longest := time.Duration(0)
	for _, a := range s.Audio {
		longest = max(longest, a.Duration)
	}
	if after := min(longest, s.Duration) - s.Video.Duration; after > apart && after <= s.Video.Duration {
		return after
	}
	return 0
}

// film is how long the pictures last, the last one with what it stands.
func (s *Source) film() time.Duration { return s.pictures() + s.still() }

// stillAfter lets the last picture stand.
func stillAfter(src *Source) string {
	if src.still() == 0 {
		return ""
	}
	return fmt.Sprintf("tpad=stop_mode=clone:stop_duration=%.3f,", src.still().Seconds())
}

// watermarkFilter lays input 1 over the pad in and names the result out.
func watermarkFilter(w Watermark, width, height int, in, out string) string {
	margin := max(2, min(width, height)*3/100)
	wide := max(2, int(math.Round(w.Scale*float64(width))))
	x, y := "main_w-overlay_w-"+strconv.Itoa(margin), strconv.Itoa(margin)
	switch w.Position {
	case "top-left":
		x = strconv.Itoa(margin)
	case "bottom-left":
		x, y = strconv.Itoa(margin), "main_h-overlay_h-"+strconv.Itoa(margin)
	case "bottom-right":
		y = "main_h-overlay_h-" + strconv.Itoa(margin)
	case "center":
		x, y = "(main_w-overlay_w)/2", "(main_h-overlay_h)/2"
	}
	return fmt.Sprintf("[%s];[1:v:0]format=rgba,colorchannelmixer=aa=%s,scale=w=%d:h=%d:force_original_aspect_ratio=decrease[wm];"+
		"[%s][wm]overlay=x=%s:y=%s:eof_action=repeat:format=yuv420,format=yuv420p,setsar=1%s",
		in, strconv.FormatFloat(w.Opacity, 'f', -1, 64), wide, max(2, height-2*margin), in, x, y, out)
}
