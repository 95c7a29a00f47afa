package corpus

import (
	"bytes"
	"slices"
)

// oddCase is a source that ffmpeg makes of its arguments: @ is the clip, frames
// 0 says nothing of their number.
type oddCase struct {
	name, file, args string
	frames           int64
	audio            int
}

// tradeCases are odd and legal sources of the trade: what cameras, broadcasters
// and editors hand in.
func tradeCases() []oddCase {
	const (
		pal  = "-f lavfi -i testsrc2=s=720x576:r=25:d=1"
		x264 = " -c:v libx264 -preset ultrafast "
		hdr  = " -c:v libx265 -preset ultrafast -pix_fmt yuv420p10le -tag:v hvc1 -x265-params log-level=error:colorprim=bt2020:colormatrix=bt2020nc:transfer="
	)
	return []oddCase{
		{"HDR10", "o.mp4", clipPicture + hdr + "smpte2084", 25, 0},
		{"HLG", "o.mp4", clipPicture + hdr + "arib-std-b67", 25, 0},
		{"4:2:2 of 10 bit, ProRes HQ", "o.mov", clipPicture + " -c:v prores_ks -profile:v 3 -pix_fmt yuv422p10le", 25, 0},
		{"4:4:4:4 of 12 bit, ProRes", "o.mov", clipPicture + " -c:v prores_ks -profile:v 4 -pix_fmt yuva444p10le", 25, 0},
		{"DNxHR", "o.mov", clipPicture + " -s 256x144 -c:v dnxhd -profile:v dnxhr_hq -pix_fmt yuv422p", 25, 0},
		{"DV in AVI", "o.avi", pal + " " + clipSound + " -c:v dvvideo -pix_fmt yuv420p -c:a pcm_s16le", 25, 1},
		{"DV without a container", "o.dv", pal + " " + clipSound + " -c:v dvvideo -pix_fmt yuv420p -c:a pcm_s16le -ac 2", 25, 1},
		{"DV of 30 frames", "o.dv", "-f lavfi -i testsrc2=s=720x480:r=30000/1001:d=1 -c:v dvvideo -pix_fmt yuv411p", 30, 0},
		{"interlaced H.264 in TS", "o.ts", "-f lavfi -i testsrc2=s=320x240:r=25:d=1" + x264 + "-flags +ilme+ildct -x264-params interlaced=1", 25, 0},
		{"VP9 with alpha, Opus", "o.webm", clipPicture + " " + clipSound + " -c:v libvpx-vp9 -pix_fmt yuva420p -auto-alt-ref 0 -deadline realtime -cpu-used 8 -c:a libopus", 25, 1},
		{"VP8 with alpha", "o.webm", clipPicture + " -c:v libvpx -pix_fmt yuva420p -auto-alt-ref 0 -deadline realtime", 25, 0},
		{"7.1 of AAC", "o.mp4", clipPicture + " " + clipSound + x264 + "-c:a aac -ac 8", 25, 1},
		{"5.1 of E-AC-3 in TS", "o.ts", clipPicture + " " + clipSound + x264 + "-c:a eac3 -ac 6", 25, 1},
		{"two mono tracks", "o.mov", clipPicture + " " + clipSound + " " + clipSound + " -map 0 -map 1 -map 2 -c:v mjpeg -c:a pcm_s24le -ac 1", 25, 2},
		{"Windows Media in its own wrapping", "o.wmv", clipPicture + " " + clipSound + " -c:v wmv1 -c:a wmav1", 25, 1},
		{"negative time stamps", "o.mkv", "-i @ -c copy -output_ts_offset -0.4 -avoid_negative_ts disabled", 0, 1},
		{"negative time stamps in MP4", "o.mp4", "-i @ -c copy -output_ts_offset -0.4 -avoid_negative_ts disabled", 0, 1},
		{"time stamps that wrap", "o.ts", "-i @ -c copy -output_ts_offset 95443.2", 25, 1},
		{"time stamps a day from zero", "o.mkv", "-i @ -c copy -output_ts_offset 86400", 0, 1},
	}
}

// mended are legal files of what ffmpeg and cameras leave when they are stopped.
func (c *Clips) mended() []Medium {
	index := bytes.LastIndex(c.AVI, []byte("idx1"))
	nowhere := slices.Clone(c.AVI)
	for i := index + 8; i+16 <= len(nowhere); i += 16 {
		copy(nowhere[i+8:], be32(0x7fffff00)) // offset of the frame
	}
	edited := func(name string, frames int64, entries ...uint32) Medium {
		m := c.mp4(name, Pass, func(f *film) { f.edits(entries...) })
		m.Frames, m.Audio = frames, 1
		return m
	}
	matrix := func(name string, m ...uint32) Medium {
		x := c.mp4(name, Pass, func(f *film) { f.video.find("tkhd").put(40, words32(m...)...) })
		x.Frames, x.Audio = 25, 1
		return x
	}
	const one, minus = 1 << 16, 0xffff0000
	return []Medium{
		{Name: "AVI without its index", Key: "o.avi", Body: c.AVI[:index], Want: Pass, Frames: 25, Audio: 1},
		{Name: "AVI whose index leads nowhere", Key: "o.avi", Body: nowhere, Want: "source_truncated"},
		// The film's clock has 1,000 ticks a second, the picture's 12,800.
		edited("an edit that begins in the middle", 0, 600, 5120+1024, one),
		edited("an edit that begins late", 0, 400, 0xffffffff, one, 1000, 1024, one),
		edited("two edits of one film", 0, 400, 1024, one, 400, 5120+1024, one),
		edited("the same edit twice", 0, 400, 1024, one, 400, 1024, one),
		matrix("mirrored", minus, 0, 0, 0, one, 0, 0, 0, 1<<30),
		matrix("upside down", one, 0, 0, 0, minus, 0, 0, 0, 1<<30),
		matrix("turned and mirrored", 0, one, 0, one, 0, 0, 0, 0, 1<<30),
	}
}
