package pipeline

import (
	"bytes"
	"context"
	"fmt"

	"github.com/sealcast/sealcast/internal/proc"
)

// posterArgs returns ffmpeg's arguments for one picture on stdout: of the
// hundred frames from a tenth of the film on, the one that differs least from
// their average, so that black and blurred ones lose.
func posterArgs(src *Source, plan Plan, url string) []string {
	v := plan.Video[0]
	args := []string{
		"-nostdin", "-hide_banner", "-loglevel", "error",
		"-ss", fmt.Sprintf("%.3f", src.Duration.Seconds()/10),
	}
	args = append(append(args, inputArgs(src.Demuxer)...), "-i", url)
	filter := fmt.Sprintf("[0:%d]thumbnail=n=100,scale=%d:%d:out_range=tv,%sformat=yuv420p,setsar=1[p]",
		src.Video.Index, v.Width, v.Height, toSDR(src.Video))
	return append(args, "-filter_complex", filter, "-map", "[p]", "-frames:v", "1",
		"-c:v", "mjpeg", "-q:v", "3", "-map_metadata", "-1", "-f", "image2pipe", "pipe:1")
}

func (a *attempt) makePoster(ctx context.Context, src *Source, plan Plan) ([]byte, error) {
	var out bytes.Buffer
	_, err := a.child(ctx, proc.Spec{
		Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: posterArgs(src, plan, a.sourceURL()),
		Stdout: &limitedBuffer{Buffer: &out, left: 32 << 20},
	})
	if gerr := a.gateway.fault(); gerr != nil {
		return nil, gerr
	}
	if err != nil {
		return nil, transient(CodeEncodeFailed, "the poster could not be made", err)
	}
	if !bytes.HasPrefix(out.Bytes(), []byte{0xff, 0xd8}) || !bytes.HasSuffix(out.Bytes(), []byte{0xff, 0xd9}) {
		return nil, permanent(CodeSourceTruncated, "the source has no picture where its poster should be", nil)
	}
	return out.Bytes(), nil
}
