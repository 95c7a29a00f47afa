package pipeline

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sync/errgroup"

	"github.com/sealcast/sealcast/internal/proc"
)

// The formats of Download.
const (
	FormatM4A = "m4a" // the published AAC as it is
	FormatMP3 = "mp3" // encoded of it, 192 kbit/s
)

// Download is the part static/audio.m4a or static/audio.mp3: the default track
// of the published film, in its highest bit rate. The JSON names are the wire
// contract.
type Download struct {
	Format string `json:"format"`
}

// Validate implements Part.
func (d Download) Validate() error {
	if d.Format != FormatM4A && d.Format != FormatMP3 {
		return permanent(CodeOptionsInvalid, fmt.Sprintf("options.format is %q: use %s or %s", d.Format, FormatMP3, FormatM4A), nil)
	}
	return nil
}

func (d Download) maker() maker { return maker{alone: d.make} }

func (d Download) make(ctx context.Context, a *attempt, film Film) (Facts, error) {
	named, err := a.filmDownloads(ctx, film)
	if err != nil {
		return nil, err
	}
	if len(named.sound) == 0 {
		return nil, permanent(CodeOptionsInvalid, "the film has no sound", nil)
	}
	file, err := a.indexFilm(ctx, "M4A ", named.sound[:1])
	if err != nil {
		return nil, err
	}
	name, size, demuxer, write := "static/audio.m4a", file.size, "mov", file.writeTo
	if d.Format == FormatMP3 {
		name, size, demuxer = "static/audio.mp3", -1, "mp3"
		write = func(ctx context.Context, w io.Writer) error { return a.encodeMP3(ctx, file, w) }
	}
	counts, err := a.putChecked(ctx, name, size, demuxer, write)
	if err == nil && d.Format == FormatMP3 {
		_, length := file.tables[0].shown() // without the pause before it: an MP3 has none
		err = checkMP3(counts, float64(length)/fileScale)
	} else if err == nil {
		err = file.checkCounts(counts)
	}
	if err != nil {
		return nil, asError(err, CodeVerifyFailed, "what was made did not pass verification")
	}
	return Facts{"static": name, "format": d.Format}, nil
}

const mp3Rate = 48000

// mp3Args returns ffmpeg's arguments for an MP3 of constant bit rate on stdout,
// of a file that comes through a pipe. Nothing of it must be written twice.
func mp3Args(fd int) []string {
	return []string{
		"-nostdin", "-hide_banner", "-loglevel", "error", "-xerror", "-threads", "1",
		"-protocol_whitelist", "pipe", "-f", "mov", "-i", "pipe:" + strconv.Itoa(fd), "-map", "0:a:0", "-map_metadata", "-1",
		"-c:a", "libmp3lame", "-b:a", "192k", "-ac", "2", "-ar", strconv.Itoa(mp3Rate), "-write_xing", "0", "-id3v2_version", "0", "-f", "mp3", "pipe:1",
	}
}

// encodeMP3 writes the file through an encoder to w.
func (a *attempt) encodeMP3(ctx context.Context, file *filmFile, w io.Writer) error {
	const inFD = 3
	r, toEncoder, err := pipe()
	if err != nil {
		return transient(CodeEncodeFailed, "the download could not be made", err)
	}
	group, gctx := errgroup.WithContext(ctx)
	encoder, err := a.start(gctx, proc.Spec{Name: "ffmpeg", Path: a.cfg.FFmpeg, Args: mp3Args(inFD), Files: []*os.File{r}, Stdout: w})
	if err != nil {
		_ = toEncoder.Close()
		return transient(CodeEncodeFailed, "the download could not be made", err)
	}
	group.Go(func() error {
		if _, err := a.wait(encoder, "ffmpeg", StageEncode); err != nil {
			return transient(CodeEncodeFailed, "the download could not be made", err)
		}
		return nil
	})
	group.Go(func() error {
		err := file.writeTo(gctx, toEncoder)
		_ = toEncoder.Close()
		if errors.Is(err, syscall.EPIPE) {
			return nil // the encoder has ended: it knows why
		}
		return err
	})
	return group.Wait()
}

// checkMP3 compares what was decoded with the track's length; a frame of MPEG-1
// layer III has 1152 samples (ISO/IEC 11172-3, 2.4.2.1).
func checkMP3(frames []int, seconds float64) error {
	got := 0.0
	if len(frames) > 0 {
		got = float64(frames[0]) * 1152 / mp3Rate
	}
	if math.Abs(got-seconds) > tolerance(seconds) {
		return fmt.Errorf("%.3f s of MP3 decode, the track has %.3f s", got, seconds)
	}
	return nil
}
