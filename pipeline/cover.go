package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"math"
	"time"

	"github.com/sealcast/sealcast/internal/proc"
)

// Cover is the part poster.jpg: one picture of the film. The JSON names are the
// wire contract.
type Cover struct {
	// Time of the picture in seconds; nil: the best of some places.
	Time *float64 `json:"time,omitempty"`
	Clip *Clip    `json:"clip,omitempty"` // the film is this part of the source
}

// CoverName is the object name of a cover.
const CoverName = "poster.jpg"

// coverShort is the most that a cover's short edge has, in pixels: it is shown
// before playback, and whoever makes a larger title has pictures of his own.
const coverShort = 1080

// Validate implements Part.
func (c Cover) Validate() error {
	if c.Time != nil && (math.IsNaN(*c.Time) || *c.Time < 0 || *c.Time > maxPartTime) {
		return permanent(CodeOptionsInvalid, "options.time must be seconds from the beginning, 0 or more", nil)
	}
	return c.Clip.check()
}

// OwnClip implements Clippable.
func (c Cover) OwnClip() *Clip { return c.Clip }

// InClip implements Clippable.
func (c Cover) InClip(clip *Clip) Part {
	if c.Clip == nil {
		c.Clip = clip
	}
	return c
}

// maxPartTime is the length of the longest source, in seconds.
const maxPartTime = 48 * 3600

func (c Cover) maker() maker { return maker{ofSource: c.make} }

func (c Cover) make(ctx context.Context, a *attempt, src *Source) (Facts, error) {
	picture, at, err := c.choose(ctx, a, src)
	if err != nil {
		return nil, err
	}
	size, err := jpeg.DecodeConfig(bytes.NewReader(picture))
	if err != nil {
		return nil, verifyError(fmt.Errorf("cover: %w", err))
	}
	if err := a.up.putAll(ctx, map[string][]byte{CoverName: picture}); err != nil {
		return nil, err
	}
	return Facts{"poster": CoverName, "width": size.Width, "height": size.Height, "time": at.Seconds()}, nil
}

// coverPlaces are where a cover is looked for, as parts of the film.
var coverPlaces = []float64{0.1, 0.3, 0.5, 0.75, 0}

// plain is up to which spread of brightness a picture says nothing: black,
// white, or a fade. Of 0 to 255; a dark scene has 10 and more.
const plain = 8

// choose takes the picture at the wanted time, or the first one that shows
// something; where none does, the one that shows most.
func (c Cover) choose(ctx context.Context, a *attempt, src *Source) (picture []byte, at time.Duration, err error) {
	if c.Time != nil {
		at = time.Duration(*c.Time * float64(time.Second))
		if at >= src.pictures() {
			return nil, 0, permanent(CodeOptionsInvalid, fmt.Sprintf("options.time lies behind the last picture, at %s", roundSeconds(src.pictures().Seconds())), nil)
		}
		picture, err = a.coverAt(ctx, src, at, 1)
		if err == nil && picture == nil { // the very last picture may begin before
			picture, err = a.coverAt(ctx, src, max(0, at-time.Second), 1)
		}
		if err == nil && picture == nil {
			err = permanent(CodeSourceTruncated, "the source has no picture there", nil)
		}
		return picture, at, err
	}
	best := -1.0
	for _, place := range coverPlaces {
		from := time.Duration(place * float64(src.pictures()))
		got, err := a.coverAt(ctx, src, from, coverFrames)
		if err != nil {
			return nil, 0, err
		}
		if got == nil {
			continue
		}
		spread, err := brightness(got)
		if err != nil {
			return nil, 0, verifyError(fmt.Errorf("cover: %w", err))
		}
		if spread > best {
			picture, at, best = got, from, spread
		}
		if best > plain {
			break
		}
	}
	if picture == nil {
		return nil, 0, permanent(CodeSourceTruncated, "the source has no picture for its cover", nil)
	}
	return picture, at, nil
}

// pictures returns how long the source has pictures.
func (s *Source) pictures() time.Duration {
	if s.Video.Duration > 0 {
		return min(s.Duration, s.Video.Duration)
	}
	return s.Duration
}

// coverFrames is of how many frames from a place on the one is taken that
// differs least from their average, so that blurred ones lose.
const coverFrames = 24

// coverArgs returns ffmpeg's arguments for one picture on stdout. Pictures are
// scaled first, for all of them are in memory at once, and few threads decode,
// for each has pictures of its own: together they were 1.4 GB at 2160p.
func coverArgs(src *Source, url string, from time.Duration, frames int) []string {
	args := pictureInput(src, url, from)
	filter := fmt.Sprintf("[0:%d]%s", src.Video.Index, pictureFilter(src, coverShort))
	if frames > 1 {
		filter += fmt.Sprintf(",thumbnail=n=%d", frames)
	}
	return append(args, "-filter_complex", filter+"[p]", "-map", "[p]", "-frames:v", "1",
		"-c:v", "mjpeg", "-q:v", "3", "-map_metadata", "-1", "-f", "image2pipe", "pipe:1")
}

// pictureInput are the arguments up to the input of a child that makes
// pictures of the source, or of its clip, from a time of it on.
func pictureInput(src *Source, url string, from time.Duration) []string {
	args := []string{"-nostdin", "-hide_banner", "-loglevel", "error", "-filter_threads", "1", "-filter_complex_threads", "1", "-threads", "2"}
	return append(append(append(args, src.cut(from)...), inputArgs(src.Container)...), "-i", url)
}

// cut are the arguments that begin with a time of the source or of its clip,
// which then counts as zero, and end with the clip.
func (s *Source) cut(from time.Duration) (args []string) {
	if at := s.From + from; at > 0 {
		args = append(args, "-ss", fmt.Sprintf("%.3f", at.Seconds()))
	}
	if s.Cut {
		args = append(args, "-t", fmt.Sprintf("%.3f", max(0, s.Duration-from).Seconds()))
	}
	return args
}

// pictureFilter scales to a short edge, with square pixels and in SDR.
func pictureFilter(src *Source, short int) string {
	width, height := src.Video.displaySize()
	width, height = fit(width, height, short)
	return fmt.Sprintf("scale=%d:%d:out_range=tv,%sformat=yuv420p,setsar=1", width, height, toSDR(src.Video))
}

// coverAt returns nil when the source has no picture from that time on.
func (a *attempt) coverAt(ctx context.Context, src *Source, from time.Duration, frames int) ([]byte, error) {
	out, err := a.pictures(ctx, "the cover could not be made", coverArgs(src, a.sourceURL(), from, frames))
	if err != nil || !bytes.HasPrefix(out, []byte{0xff, 0xd8}) || !bytes.HasSuffix(out, []byte{0xff, 0xd9}) {
		return nil, err
	}
	return out, nil
}

// maxPictures bounds what a child may give on stdout, in bytes.
const maxPictures = 64 << 20

// pictures runs ffmpeg and returns what it writes to stdout: nothing where it
// found nothing in the source.
func (a *attempt) pictures(ctx context.Context, what string, args []string) ([]byte, error) {
	out, _, err := a.runPictures(ctx, what, proc.Spec{Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: args})
	return out, err
}

// runPictures is pictures for any child; cut says that it wrote more than maxPictures.
func (a *attempt) runPictures(ctx context.Context, what string, spec proc.Spec) (body []byte, cut bool, err error) {
	out := &limitedBuffer{Buffer: new(bytes.Buffer), left: maxPictures}
	spec.Stdout = &beatingWriter{out, a.dog}
	_, err = a.child(ctx, spec)
	if fault := a.gateway.fault(); fault != nil {
		return nil, false, fault
	}
	var exit *proc.ExitError
	if errors.As(err, &exit) && !fromOutside(exit) && !a.starved.Load() && ctx.Err() == nil {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, transient(CodeEncodeFailed, what, err)
	}
	return out.Bytes(), out.dropped, nil
}

// beatingWriter tells the watchdog that something moves.
type beatingWriter struct {
	to  *limitedBuffer
	dog *watchdog
}

// Write implements io.Writer.
func (w *beatingWriter) Write(p []byte) (int, error) {
	w.dog.beat()
	return w.to.Write(p)
}

// brightness returns the standard deviation of a JPEG's luma, 0 to 127.
func brightness(picture []byte) (float64, error) {
	img, err := jpeg.Decode(bytes.NewReader(picture))
	if err != nil {
		return 0, err
	}
	return spreadOf(img), nil
}

func spreadOf(img image.Image) float64 {
	const grid = 64 // points in each direction
	b := img.Bounds()
	var sum, squares float64
	for i := range grid * grid {
		x, y := b.Min.X+(2*(i%grid)+1)*b.Dx()/(2*grid), b.Min.Y+(2*(i/grid)+1)*b.Dy()/(2*grid)
		luma := float64(color.GrayModel.Convert(img.At(x, y)).(color.Gray).Y)
		sum += luma
		squares += luma * luma
	}
	n := float64(grid * grid)
	return math.Sqrt(max(0, squares/n-(sum/n)*(sum/n)))
}
