package corpus

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
)

// odd are sources that are odd and legal. What pipeline.TestOddSources has is
// not here again.
func (c *Clips) odd(ctx context.Context) ([]Medium, error) {
	cases := append(tradeCases(), []oddCase{
		{"fragmented mp4", "o.mp4", "-i @ -c copy -movflags frag_keyframe+empty_moov", 27, 1},
		{"fragmented mp4 with an index", "o.mp4", "-i @ -c copy -movflags frag_keyframe+dash+global_sidx", 27, 1},
		{"mp4 that begins in the middle of a group", "o.mp4", "-ss 0.5 -i @ -c copy", 0, 1},
		{"chapters", "o.mkv", "-i @ -i @chapters -map 0 -map_chapters 1 -c copy", 25, 1},
		{"timecode track", "o.mov", "-i @ -c copy -timecode 01:00:00:00", 25, 1},
		{"metadata of all kinds", "o.mp4", "-i @ -c copy -metadata TITLE=ÄÖÜ -metadata comment=<script> -metadata:s:a:0 title=\"EXT,X=$Y;\\ -metadata:s:a:0 language=DEU -movflags use_metadata_tags", 25, 1},
		{"no default track", "o.mkv", "-i @ -c copy -disposition:v 0 -disposition:a 0", 25, 1},
		{"sound before picture", "o.mkv", "-i @ -map 0:a -map 0:v -c copy", 25, 1},
		{"B-frame pyramid", "o.mp4", clipPicture + " -c:v libx264 -preset veryfast -bf 8 -b_strategy 2 -x264-params b-pyramid=normal:ref=6", 25, 0},
		{"open groups", "o.mp4", clipPicture + " -c:v libx264 -preset veryfast -bf 3 -x264-params open-gop=1:keyint=7", 25, 0},
		{"intra refresh", "o.ts", clipPicture + " -c:v libx264 -preset veryfast -x264-params intra-refresh=1", 25, 0},
		{"4:4:4", "o.mp4", clipPicture + " -c:v libx264 -preset ultrafast -pix_fmt yuv444p", 25, 0},
		{"grey", "o.mkv", clipPicture + " -c:v libx264 -preset ultrafast -pix_fmt gray", 25, 0},
		{"full range", "o.mp4", clipPicture + " -c:v libx264 -preset ultrafast -pix_fmt yuvj420p", 25, 0},
		{"one picture", "o.mp4", "-f lavfi -i testsrc2=s=160x90:r=25:d=0.04 -c:v libx264 -preset ultrafast", 1, 0},
		{"HEVC", "o.mp4", clipPicture + " -c:v libx265 -preset ultrafast -tag:v hvc1 -x265-params log-level=error", 25, 0},
		{"VP9", "o.webm", clipPicture + " -c:v libvpx-vp9 -deadline realtime -cpu-used 8", 25, 0},
		{"AV1", "o.webm", clipPicture + " -c:v libaom-av1 -usage realtime -cpu-used 8", 25, 0},
		{"MJPEG", "o.mov", clipPicture + " -c:v mjpeg", 25, 0},
		{"HuffYUV", "o.avi", clipPicture + " -c:v huffyuv", 25, 0},
		{"MPEG-1", "o.mpg", clipPicture + " -c:v mpeg1video", 25, 0},
		{"MPEG-2 in MXF", "o.mxf", clipPicture + " " + clipSound + " -c:v mpeg2video -c:a pcm_s16le", 25, 1},
		{"Windows Media", "o.asf", clipPicture + " " + clipSound + " -c:v wmv2 -c:a wmav2", 25, 1},
		{"Flash", "o.flv", clipPicture + " " + clipSound + " -c:v flv -c:a libmp3lame -ar 44100", 25, 1},
		{"Theora", "o.ogg", clipPicture + " " + clipSound + " -c:v libtheora -c:a libvorbis", 25, 1},
		{"transparent pictures", "o.mov", clipPicture + " -c:v png -pix_fmt rgba", 25, 0},
		{"raw pictures", "o.avi", clipPicture + " -c:v rawvideo -pix_fmt bgr24", 25, 0},
		{"8000 Hz", "o.mov", clipPicture + " " + clipSound + " -c:v mjpeg -c:a pcm_mulaw -ar 8000", 25, 1},
		{"96000 Hz, 32 bit", "o.mov", clipPicture + " " + clipSound + " -c:v mjpeg -c:a pcm_s32le -ar 96000", 25, 1},
		{"8 bit without sign", "o.avi", clipPicture + " " + clipSound + " -c:v mjpeg -c:a pcm_u8 -ar 11025", 25, 1},
		{"floating point", "o.mkv", clipPicture + " " + clipSound + " -c:v mjpeg -c:a pcm_f64le", 25, 1},
		{"ALAC", "o.mov", clipPicture + " " + clipSound + " -c:v mjpeg -c:a alac", 25, 1},
		{"FLAC", "o.mkv", clipPicture + " " + clipSound + " -c:v mjpeg -c:a flac", 25, 1},
		{"eight channels", "o.mkv", clipPicture + " " + clipSound + " -c:v mjpeg -c:a flac -ac 8", 25, 1},
		{"DTS", "o.mkv", clipPicture + " " + clipSound + " -c:v mjpeg -c:a dca -strict -2 -ac 6", 25, 1},
		{"12 frames a second", "o.mp4", "-f lavfi -i testsrc2=s=160x90:r=12:d=1 -c:v libx264 -preset ultrafast", 12, 0},
		{"1000 frames a second", "o.mkv", "-f lavfi -i testsrc2=s=64x64:r=1000:d=0.4 -c:v mpeg4", 0, 0},
		{"a frame in two seconds", "o.mp4", "-f lavfi -i testsrc2=s=160x90:r=1/2:d=6 -c:v libx264 -preset ultrafast", 0, 0},
		{"16×16", "o.mp4", "-f lavfi -i testsrc2=s=16x16:r=25:d=1 -c:v libx264 -preset ultrafast", 25, 0},
		{"as wide as a ticker", "o.mkv", "-f lavfi -i testsrc2=s=4000x16:r=5:d=1 -c:v mjpeg", 5, 0},
		{"upright", "o.mp4", "-f lavfi -i testsrc2=s=90x160:r=25:d=1 -c:v libx264 -preset ultrafast", 25, 0},
		{"four sound tracks", "o.mkv", "-i @ " + strings.Repeat("-map 0:a ", 4) + "-map 0:v -c copy", 25, 4},
	}...)
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
				}
			}
			body, err := c.make(ctx, fmt.Sprintf("%d-%s", i, m.file), args...)
			list[i] = Medium{Name: m.name, Key: m.file, Body: body, Want: Pass, Frames: m.frames, Audio: m.audio}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return slices.Concat(list, c.rebuilt(), c.mended()), nil
}

// rebuilt are legal MP4 files that ffmpeg does not write.
func (c *Clips) rebuilt() []Medium {
	one := func(name string, change func(*film)) Medium {
		m := c.mp4(name, Pass, change)
		m.Frames, m.Audio = 25, 1
		return m
	}
	list := []Medium{
		one("moov of a 64-bit size", func(f *film) { f.moov.wide = true }),
		one("media of zero size up to the end", func(f *film) { f.toTheEnd() }),
		one("wide and skip boxes first", func(f *film) { f.first(leaf("wide"), leaf("skip", zeros(300)), leaf("free", zeros(5000))) }),
		one("no ftyp", func(f *film) { f.before[0].kind = "free" }),
		one("unknown boxes everywhere", func(f *film) {
			f.after = leaf("zzzz", zeros(77)).bytes()
			f.moov.kids = append(f.moov.kids, leaf("\xa9\x00\xff ", []byte("x")))
			f.video.kids = append(f.video.kids, leaf("yyyy"))
		}),
		one("64-bit offsets", func(f *film) {
			for _, trak := range f.moov.traks() {
				b := trak.find("mdia/minf/stbl/stco")
				old := b.body[8:]
				b.kind, b.body = "co64", slices.Clone(b.body[:8])
				for i := 0; i < len(old); i += 4 {
					b.body = slices.Concat(b.body, be32(0), old[i:i+4])
				}
			}
		}),
		one("trailing zeros", func(f *film) { f.after = zeros(100_000) }),
		one("tracks in the other order", func(f *film) {
			i, j := slices.Index(f.moov.kids, f.video), slices.Index(f.moov.kids, f.sound)
			f.moov.kids[i], f.moov.kids[j] = f.sound, f.video
		}),

		one("data track of an unknown kind", func(f *film) {
			extra := f.sound.clone()
			extra.find("tkhd").put(12, be32(3)...)
			extra.find("mdia/hdlr").put(8, []byte("meta")...)
			extra.find("mdia/minf/stbl/stsd").kids = []*box{leaf("gpmd", zeros(6), be16(1))}
			f.moov.kids = append(f.moov.kids, extra)
		}),
	}
	// Pictures with B-frames begin two frames late then, and the first one stands.
	late := one("no edit list", func(f *film) { drop(f.video, "edts"); drop(f.sound, "edts") })
	late.Frames = 27
	list = append(list, late)
	for _, key := range []string{"%03d.jpg", "-i.m3u8", "concat:a|b.mp4", "a b\"'`$(id)ü☃.mp4"} {
		list = append(list, Medium{Name: "object key " + key, Key: key, Body: c.MP4, Want: Pass, Frames: 25, Audio: 1})
	}
	return list
}

func drop(x *box, kind string) {
	x.kids = slices.DeleteFunc(x.kids, func(k *box) bool { return k.kind == kind })
}

// first puts boxes before all others and corrects the offsets.
func (f *film) first(boxes ...*box) {
	f.before = slices.Concat(boxes, f.before)
	f.move(uint32(len(writeBoxes(boxes))))
}

// toTheEnd puts the index before the media and says "up to the end" of these.
func (f *film) toTheEnd() {
	n := len(f.before) - 1
	media := f.before[n]
	f.before = f.before[:n]
	f.move(uint32(len(f.moov.bytes())))
	f.after = slices.Concat(be32(0), []byte(media.kind), media.body)
}

// move adds to every offset of media.
func (f *film) move(by uint32) {
	for _, trak := range f.moov.traks() {
		b := trak.find("mdia/minf/stbl/stco")
		for i := 8; i < len(b.body); i += 4 {
			v := uint32(b.body[i])<<24 | uint32(b.body[i+1])<<16 | uint32(b.body[i+2])<<8 | uint32(b.body[i+3])
			b.put(i, be32(v+by)...)
		}
	}
}

// Media makes every case of media.
func (c *Clips) Media(ctx context.Context, can Canary) ([]Medium, error) {
	odd, err := c.odd(ctx)
	if err != nil {
		return nil, err
	}
	return slices.Concat(odd, foreign(can), c.references(can), c.bombs(), c.shapes(), c.matroskas(can), c.streams(), c.damage()), nil
}
