package pipeline

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/sealcast/sealcast/internal/proc"
)

// What a watermark may have: bytes of its object, and pixels.
const (
	maxWatermark       = 8 << 20
	maxWatermarkPixels = 4096 * 4096
)

// sniffPicture names ffmpeg's demuxer for a picture, or returns "".
func sniffPicture(body []byte) string {
	head := string(body[:min(len(body), 16)])
	switch {
	case strings.HasPrefix(head, "\x89PNG\r\n\x1a\n"):
		return "png_pipe"
	case strings.HasPrefix(head, "\xff\xd8\xff"):
		return "jpeg_pipe"
	case strings.HasPrefix(head, "RIFF") && strings.HasPrefix(head[min(8, len(head)):], "WEBP"):
		return "webp_pipe"
	}
	return ""
}

// watermarkArgs are the arguments of the encoder's second input.
func watermarkArgs(demuxer string, fd int) []string {
	return []string{
		"-protocol_whitelist", "file", "-format_whitelist", demuxer, "-max_streams", "1",
		"-max_pixels", strconv.Itoa(maxWatermarkPixels), "-f", demuxer, "-i", fmt.Sprintf("/dev/fd/%d", fd),
	}
}

// loadWatermark reads the picture into memory; ffmpeg gets it as an inherited
// file without a name.
func (a *attempt) loadWatermark(ctx context.Context, p Plan) (Plan, error) {
	w := a.req.Options.Watermark
	if w == nil {
		return p, nil
	}
	var body []byte
	err := a.dog.retry(ctx, func(ctx context.Context) error {
		r, err := a.cfg.Sources.Get(ctx, w.Source, "", 0, -1)
		if err != nil {
			return err
		}
		defer func() { _ = r.Close() }()
		body, err = io.ReadAll(io.LimitReader(r, maxWatermark+1))
		return err
	})
	switch demuxer := sniffPicture(body); {
	case errors.Is(err, ErrObjectNotFound):
		return p, permanent(CodeOptionsInvalid, "options.watermark.source is not in the source bucket", err)
	case err != nil:
		return p, transient(CodeStoreUnavailable, "the watermark could not be read from the object store", err)
	case len(body) > maxWatermark:
		return p, permanent(CodeOptionsInvalid, fmt.Sprintf("options.watermark.source has more than %d MiB", maxWatermark>>20), nil)
	case demuxer == "":
		return p, permanent(CodeOptionsInvalid, "options.watermark.source is neither PNG nor JPEG nor WebP", nil)
	default:
		p.Watermark, p.WatermarkFormat = w, demuxer
		a.watermark = body
		return p, a.checkWatermark(ctx, demuxer, body)
	}
}

// watermarkFD is the picture's descriptor while it is checked.
const watermarkFD = 3

// checkWatermark decodes the picture once, so that a bad one is not found out
// in the middle of the encode, where it would look like a bad source.
func (a *attempt) checkWatermark(ctx context.Context, demuxer string, body []byte) error {
	const failed = "the watermark could not be looked at"
	f, err := memoryFile("watermark", body)
	if err != nil {
		return transient(CodeEncodeFailed, failed, err)
	}
	var frames bytes.Buffer
	args := append([]string{"-nostdin", "-hide_banner", "-loglevel", "error"}, watermarkArgs(demuxer, watermarkFD)...)
	args = append(args, "-map", "0:v:0", "-frames:v", "1", "-f", "framecrc", "pipe:1")
	_, err = a.childOf(ctx, StageProbe, proc.Spec{Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: args, Files: []*os.File{f}, Stdout: &frames})
	var exit *proc.ExitError
	switch {
	case err == nil && bytes.Contains(frames.Bytes(), []byte("\n0,")): // a line for each picture
		return nil
	case err == nil, ctx.Err() == nil && errors.As(err, &exit) && !fromOutside(exit) && !a.starved.Load():
		return permanent(CodeOptionsInvalid, "options.watermark.source is a picture that cannot be decoded", err)
	}
	return transient(CodeEncodeFailed, failed, err)
}
