package corpus

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// oddCase is a source that ffmpeg makes of its arguments: @ is the clip, frames
// 0 says nothing of their number.
type oddCase struct {
	name, file, args string
	frames           int64
	audio            int
	more             func(*Medium) // what else holds; may be nil
}

// measured is what holds of a legal source that says nothing else.
func measured(m *Medium) {
	m.Legal, m.Want, m.Flashes = true, Pass, 2
	if m.Audio == 0 {
		m.Flashes, m.Unmeasured = 0, "it has no sound"
	}
}

func flashes(n int) func(*Medium) { return func(m *Medium) { m.Flashes = n } }
func unmeasured(why string) func(*Medium) {
	return func(m *Medium) { m.Flashes, m.Unmeasured = 0, why }
}
func looks(at ...string) func(*Medium) { return func(m *Medium) { m.Look = at } }

// unedited is of the clip without edit lists: its pictures come two frames late
// then, its sound 1,024 samples of priming.
func unedited(m *Medium) { m.Lag = 1024./48000 - 2./25 }

// shape says what the picture is at 240p.
func shape(width, height int) func(*Medium) {
	return func(m *Medium) { m.Width, m.Height, m.Look = width, height, []string{"0.5", "0.9"} }
}

// oddCases are sources of every container and codec.
func oddCases() []oddCase {
	return []oddCase{
		{"no audio", "o.mp4", clipPicture + " " + x264, 25, 0, looks("0.5")},
		{"moov at the end", "o.mp4", "-i @ -c copy -movflags -faststart", 25, 1, looks("0.5", "0.9")},
		{"moov at the start", "o.mp4", "-i @ -c copy -movflags +faststart", 25, 1, nil},
		{"fragmented mp4", "o.mp4", "-i @ -c copy -movflags frag_keyframe+empty_moov", 27, 1, unedited},
		{"fragmented mp4 with an index", "o.mp4", "-i @ -c copy -movflags frag_keyframe+dash+global_sidx", 27, 1, unedited},
		{"mp4 that begins in the middle of a group", "o.mp4", "-ss 0.48 -i @ -c copy", 13, 1, flashes(1)},
		{"chapters", "o.mkv", "-i @ -i @chapters -map 0 -map_chapters 1 -c copy", 25, 1, nil},
		{"timecode track", "o.mov", "-i @ -c copy -timecode 01:00:00:00", 25, 1, nil},
		{"metadata of all kinds", "o.mp4", "-i @ -c copy -metadata TITLE=ÄÖÜ -metadata comment=<script> -metadata:s:a:0 title=\"EXT,X=$Y;\\ -metadata:s:a:0 language=DEU -movflags use_metadata_tags", 25, 1, nil},
		{"no default track", "o.mkv", "-i @ -c copy -disposition:v 0 -disposition:a 0", 25, 1, nil},
		{"sound before picture", "o.mkv", "-i @ -map 0:a -map 0:v -c copy", 25, 1, nil},
		{"subtitles that outlast the film", "o.mp4", "-i @ -i @subtitles -map 0 -map 1 -c copy -c:s mov_text", 25, 1, nil},
		{"the same in Matroska", "o.mkv", "-i @ -i @subtitles -map 0 -map 1 -c copy -c:s srt", 25, 1, nil},
		{"cover art", "o.mp4", "-i @ -f lavfi -i color=s=600x600:d=0.04 -map 0 -map 1 -c copy -c:v:1 png -disposition:v:1 attached_pic", 25, 1, looks("0.5")},

		{"B-frame pyramid", "o.mp4", clip + "-c:v libx264 -preset veryfast -bf 8 -b_strategy 2 -x264-params b-pyramid=normal:ref=6 -pix_fmt yuv420p -c:a aac", 25, 1, nil},
		{"open groups", "o.mp4", clip + "-c:v libx264 -preset veryfast -bf 3 -x264-params open-gop=1:keyint=7 -pix_fmt yuv420p -c:a aac", 25, 1, nil},
		{"intra refresh", "o.ts", clip + "-c:v libx264 -preset veryfast -x264-params intra-refresh=1 -pix_fmt yuv420p -c:a aac", 25, 1, nil},
		{"4:4:4", "o.mp4", clip + "-c:v libx264 -preset ultrafast -pix_fmt yuv444p -c:a aac", 25, 1, nil},
		{"10 bit", "o.mkv", clip + "-c:v libx264 -preset ultrafast -pix_fmt yuv420p10le -c:a aac", 25, 1, looks("0.5")},
		{"grey", "o.mkv", clip + "-c:v libx264 -preset ultrafast -pix_fmt gray -c:a aac", 25, 1, nil},
		{"full range", "o.mp4", clip + "-c:v libx264 -preset ultrafast -pix_fmt yuvj420p -c:a aac", 25, 1, nil},
		{"one picture", "o.mp4", "-f lavfi -i testsrc2=s=160x90:r=25:d=0.04 " + x264, 1, 0, unmeasured("one picture has no flash")},
		{"one picture of a second", "o.mp4", "-f lavfi -i testsrc2=s=160x90:r=1:d=1 " + x264, 5, 0, func(m *Medium) { unmeasured("one picture has no flash")(m); m.Look = []string{"0"} }},
		{"HEVC", "o.mp4", clip + "-c:v libx265 -preset ultrafast -tag:v hvc1 -x265-params log-level=error -pix_fmt yuv420p -c:a aac", 25, 1, nil},
		{"VP8 and Opus", "o.webm", clip + "-c:v libvpx -deadline realtime -c:a libopus", 25, 1, nil},
		{"VP9 and Opus", "o.webm", clip + "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus", 25, 1, nil},
		{"AV1", "o.webm", clip + "-c:v libaom-av1 -usage realtime -cpu-used 8 -c:a libopus", 25, 1, nil},
		{"MPEG-4 and MP3", "o.avi", clip + "-c:v mpeg4 -c:a libmp3lame", 25, 1, nil},
		{"HuffYUV", "o.avi", clip + "-c:v huffyuv -c:a pcm_s16le", 25, 1, nil},
		{"MPEG-1", "o.mpg", clip + "-c:v mpeg1video -c:a mp2", 25, 1, nil},
		{"MPEG-2 in a program stream", "o.mpg", clip + "-c:v mpeg2video -c:a mp2", 25, 1, nil},
		{"MPEG-2 in MXF", "o.mxf", clip + "-c:v mpeg2video -c:a pcm_s16le", 25, 1, nil},
		{"Windows Media", "o.asf", clip + "-c:v wmv2 -c:a wmav2", 25, 1, nil},
		{"Flash", "o.flv", clip + "-c:v flv -c:a libmp3lame -ar 44100", 25, 1, nil},
		{"Theora", "o.ogg", clip + "-c:v libtheora -c:a libvorbis", 25, 1, nil},
		{"transparent pictures", "o.mov", clip + "-c:v png -pix_fmt rgba -c:a pcm_s16le", 25, 1, nil},
		{"raw pictures", "o.avi", clip + "-c:v rawvideo -pix_fmt bgr24 -c:a pcm_s16le", 25, 1, nil},

		{"mono", "o.mp4", clip + x264aac + "-ac 1", 25, 1, nil},
		{"8000 Hz", "o.mov", clip + "-c:v mjpeg -c:a pcm_mulaw -ar 8000", 25, 1, nil},
		{"96000 Hz, 32 bit", "o.mov", clip + "-c:v mjpeg -c:a pcm_s32le -ar 96000", 25, 1, nil},
		{"8 bit without sign", "o.avi", clip + "-c:v mjpeg -c:a pcm_u8 -ar 11025", 25, 1, nil},
		{"floating point", "o.mkv", clip + "-c:v mjpeg -c:a pcm_f64le", 25, 1, nil},
		{"ALAC", "o.mov", clip + "-c:v mjpeg -c:a alac", 25, 1, nil},
		{"FLAC", "o.mkv", clip + "-c:v mjpeg -c:a flac", 25, 1, nil},
		{"MP3 in Matroska", "o.mkv", clip + x264 + "-c:a libmp3lame", 25, 1, nil},
		{"Vorbis at 29.97 frames a second", "o.mkv", shot("160x90", "30000/1001") + x264 + "-c:a libvorbis", 30, 1, nil},
		{"eight channels", "o.mkv", clip + "-c:v mjpeg -c:a flac -ac 8", 25, 1, nil},
		{"DTS", "o.mkv", clip + "-c:v mjpeg -c:a dca -strict -2 -ac 6", 25, 1, nil},
		{"5.1 of AC-3", "o.mkv", clip + x264 + "-c:a ac3 -ac 6", 25, 1, nil},
		{"four sound tracks", "o.mkv", "-i @ " + strings.Repeat("-map 0:a ", 4) + "-map 0:v -c copy", 25, 4, nil},
		{"two languages", "o.mkv", "-i @ -map 0 -map 0:a -c copy -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu", 25, 2, nil},
		{"unknown language", "o.mkv", "-i @ -c copy -metadata:s:a:0 language=qxz", 25, 1, nil},
	}
}

// odd are sources that are odd and legal.
func (c *Clips) odd(ctx context.Context) ([]Medium, error) {
	cases := slices.Concat(oddCases(), shapeCases(), timeCases(), tradeCases())
	list := make([]Medium, len(cases))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(runtime.NumCPU())
	for i, m := range cases {
		group.Go(func() error {
			args := strings.Fields(m.args)
			for n, a := range args {
				switch a {
				case "@":
					args[n] = c.dir + "/clip.mp4"
				case "@chapters":
					args[n] = c.dir + "/chapters.txt"
				case "@subtitles":
					args[n] = c.dir + "/subtitles.srt"
				}
			}
			body, err := c.make(ctx, fmt.Sprintf("%d-%s", i, m.file), args...)
			list[i] = Medium{Name: m.name, Key: m.file, Body: body, Frames: m.frames, Audio: m.audio}
			measured(&list[i])
			if m.more != nil {
				m.more(&list[i])
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(list, c.rebuilt(), c.mended()), nil
}

// Media makes every case of media.
func (c *Clips) Media(ctx context.Context, can Canary) ([]Medium, error) {
	odd, err := c.odd(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Concat(odd, foreign(can), c.references(can), c.bombs(), c.shapes(), c.matroskas(can), c.streams(), c.damage()), nil
}
