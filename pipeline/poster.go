package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealcast/sealcast/internal/proc"
)

// posterArgs returns ffmpeg's arguments for one picture on stdout: of the two
// dozen frames from the given time on, the one that differs least from their
// average, so that black and blurred ones lose. They are scaled first, for all
// of them are in memory at once.
func posterArgs(src *Source, plan Plan, url string, from time.Duration) []string {
	v := plan.Video[0]
	args := []string{
		"-nostdin", "-hide_banner", "-loglevel", "error",
		"-ss", fmt.Sprintf("%.3f", from.Seconds()),
	}
	args = append(append(args, inputArgs(src.Demuxer)...), "-i", url)
	filter := fmt.Sprintf("[0:%d]scale=%d:%d:out_range=tv,%sformat=yuv420p,setsar=1,thumbnail=n=24[p]",
		src.Video.Index, v.Width, v.Height, toSDR(src.Video))
	return append(args, "-filter_complex", filter, "-map", "[p]", "-frames:v", "1",
		"-c:v", "mjpeg", "-q:v", "3", "-map_metadata", "-1", "-f", "image2pipe", "pipe:1")
}

// makePoster takes a picture from a tenth of the film, or from its beginning
// where there is none.
func (a *attempt) makePoster(ctx context.Context, src *Source, plan Plan) ([]byte, error) {
	from := src.Duration
	if src.Video.Duration > 0 {
		from = min(from, src.Video.Duration)
	}
	for _, at := range []time.Duration{from / 10, 0} {
		picture, err := a.posterAt(ctx, src, plan, at)
		if err != nil || picture != nil {
			return picture, err
		}
	}
	return nil, permanent(CodeSourceTruncated, "the source has no picture for its poster", nil)
}

// posterAt returns nil when the source has no picture from that time on.
func (a *attempt) posterAt(ctx context.Context, src *Source, plan Plan, from time.Duration) ([]byte, error) {
	var out bytes.Buffer
	_, err := a.child(ctx, proc.Spec{
		Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: posterArgs(src, plan, a.sourceURL(), from),
		Stdout: &limitedBuffer{Buffer: &out, left: 32 << 20},
	})
	if gerr := a.gateway.fault(); gerr != nil {
		return nil, gerr
	}
	var exit *proc.ExitError
	if errors.As(err, &exit) && !fromOutside(exit) && !a.starved.Load() {
		out.Reset() // it found nothing there
		err = nil
	}
	if err != nil {
		return nil, transient(CodeEncodeFailed, "the poster could not be made", err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte{0xff, 0xd8}) || !bytes.HasSuffix(out.Bytes(), []byte{0xff, 0xd9}) {
		return nil, nil
	}
	return out.Bytes(), nil
}
