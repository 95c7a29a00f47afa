package pipeline

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sealcast/sealcast/internal/proc"
)

// Captions of broadcast lie in the pictures themselves (EIA-608 in ATSC A/53
// part 4; in H.264 as SEI, which sample encryption leaves in the clear). They
// become a text track, and no rendition carries them.

// captionCodec is ffmpeg's name of captions.
const captionCodec = "eia_608"

// captioned are the codecs whose pictures may have captions.
var captioned = []string{"mpeg2video", "h264", "hevc", "av1"}

// lookForCaptions is how far into a source captions must have begun: where there
// are any, each picture tells so, those without a text too.
const lookForCaptions = "%+30"

// captionLookArgs returns ffprobe's arguments to list what lies in key pictures.
func captionLookArgs(src *Source, url string) []string {
	args := []string{
		"-hide_banner", "-loglevel", "error", "-skip_frame", "nokey", "-select_streams", strconv.Itoa(src.Video.Index),
		"-read_intervals", lookForCaptions, "-show_entries", "frame_side_data=side_data_type", "-print_format", "compact",
	}
	return append(append(args, inputArgs(src.Container)...), "-i", url)
}

// captionArgs returns ffmpeg's arguments to write the captions in the pictures as
// WebVTT to a file descriptor. Only the lavfi device reads them; it leaves times
// as they are in the container, also after the clock has jumped.
func captionArgs(src *Source, url string, fd int) []string {
	movie := fmt.Sprintf("filename=%s:format_name=%s:stream_index=%d:dec_threads=1:format_opts=%s",
		filterQuote(url), src.Demuxer, src.Video.Index, filterQuote(movieOptions(src.Container)))
	return []string{
		"-nostdin", "-hide_banner", "-loglevel", "error", "-threads", "1",
		"-copyts", "-itsoffset", strconv.FormatFloat(-src.Zero.Seconds(), 'f', 6, 64),
		"-f", "lavfi", "-i", "movie=" + filterQuote(movie) + "[out0+subcc]",
		"-map", "0:s", "-c:s", "webvtt", "-map_metadata", "-1", "-f", "webvtt", fmt.Sprintf("pipe:%d", fd),
	}
}

// movieOptions are inputArgs in the form of the movie filter, which has no option
// for the most pixels: memory is what bounds them there.
func movieOptions(c Container) string {
	options := fmt.Sprintf("protocol_whitelist=http,tcp:format_whitelist=%s:max_streams=%d:probesize=%d", formatWhitelist, maxStreams, probeBytes)
	if c.Unindexed {
		options += ":seekable=0"
	}
	return options
}

// filterQuote quotes a value once for ffmpeg's filter syntax.
func filterQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// pictureCaptions returns the captions in the pictures as WebVTT, nil when there
// are none, or when they are a stream as well. It decodes the whole source if there
// are any.
func (a *attempt) pictureCaptions(ctx context.Context, src *Source) ([]byte, error) {
	twice := slices.ContainsFunc(src.Text, func(s TextSource) bool { return s.Codec == captionCodec })
	if twice || !slices.Contains(captioned, src.Video.Codec) {
		return nil, nil
	}
	var out bytes.Buffer
	if _, err := a.child(ctx, proc.Spec{
		Name: "ffprobe", Path: a.cfg.FFprobe, Args: captionLookArgs(src, a.sourceURL()), Stdout: &limitedBuffer{Buffer: &out, left: 1 << 20},
	}); err != nil {
		return nil, a.textFault(ctx, err)
	}
	if !strings.Contains(out.String(), "Closed Captions") {
		return nil, nil
	}
	docs, err := a.readTexts(ctx, captionArgs(src, a.sourceURL(), textFD), 1)
	if err != nil {
		return nil, err
	}
	return docs[0], nil
}

// captionTrack names the track of the captions in the pictures.
func captionTrack(src *Source) TextSource {
	return TextSource{Index: src.Video.Index, Codec: captionCodec, Language: "und", Title: "Closed captions", Captions: true}
}
