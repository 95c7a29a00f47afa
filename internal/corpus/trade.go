package corpus

import (
	"bytes"
	"slices"
)

// tradeCases are what cameras, broadcasters and editors hand in.
func tradeCases() []oddCase {
	const hdr = "-c:v libx265 -preset ultrafast -c:a aac -x265-params log-level=error:colorprim=bt2020:colormatrix=bt2020nc:transfer="
	pal := shot("720x576", "25")
	return []oddCase{
		{"HDR10", "o.mp4", clip + "-pix_fmt yuv420p10le -tag:v hvc1 " + hdr + "smpte2084", 25, 1, nil},
		{"HLG", "o.mp4", clip + "-pix_fmt yuv420p10le -tag:v hvc1 " + hdr + "arib-std-b67", 25, 1, nil},
		{"4:2:2 of 10 bit, HDR10", "o.mkv", clip + "-pix_fmt yuv422p10le " + hdr + "smpte2084", 25, 1, nil},
		{"4:2:2 of 10 bit, H.264", "o.mp4", clip + "-c:v libx264 -preset ultrafast -pix_fmt yuv422p10le -c:a aac", 25, 1, looks("0.5")},
		{"4:2:2 of 10 bit, ProRes HQ", "o.mov", clip + "-c:v prores_ks -profile:v 3 -pix_fmt yuv422p10le -c:a pcm_s16le", 25, 1, looks("0.5")},
		{"4:4:4:4 of 12 bit, ProRes", "o.mov", clip + "-c:v prores_ks -profile:v 4 -pix_fmt yuva444p10le -c:a pcm_s24le", 25, 1, nil},
		{"DNxHR", "o.mov", clip + "-s 256x144 -c:v dnxhd -profile:v dnxhr_hq -pix_fmt yuv422p -c:a pcm_s16le", 25, 1, nil},
		{"DV in AVI", "o.avi", pal + "-c:v dvvideo -pix_fmt yuv420p -c:a pcm_s16le", 25, 1, nil},
		{"DV without a container", "o.dv", pal + "-c:v dvvideo -pix_fmt yuv420p -c:a pcm_s16le", 25, 1, nil},
		{"DV of 30 frames", "o.dv", shot("720x480", "30000/1001") + "-c:v dvvideo -pix_fmt yuv411p -c:a pcm_s16le", 29, 1, nil},
		{"interlaced H.264 in TS", "o.ts", shot("320x240", "25") + x264aac + "-flags +ilme+ildct -x264-params interlaced=1", 25, 1, nil},
		{"interlaced MPEG-2 in TS", "o.ts", shot("352x288", "50") + "-vf tinterlace=interleave_top,fieldorder=tff -c:v mpeg2video -flags +ilme+ildct -r 25 -c:a mp2", 0, 1, looks("0.5")},
		{"VP9 with alpha, Opus", "o.webm", clip + "-c:v libvpx-vp9 -pix_fmt yuva420p -auto-alt-ref 0 -deadline realtime -cpu-used 8 -c:a libopus", 25, 1, nil},
		{"VP8 with alpha", "o.webm", clip + "-c:v libvpx -pix_fmt yuva420p -auto-alt-ref 0 -deadline realtime -c:a libvorbis", 25, 1, nil},
		{"7.1 of AAC", "o.mp4", clip + x264aac + "-ac 8", 25, 1, nil},
		{"5.1 of E-AC-3 in TS", "o.ts", clip + x264 + "-c:a eac3 -ac 6", 25, 1, nil},
		{"two mono tracks", "o.mov", clip + "-map 0 -map 1 -map 1 -c:v mjpeg -c:a pcm_s24le -ac 1", 25, 2, nil},
		{"Windows Media in its own wrapping", "o.wmv", clip + "-c:v wmv1 -c:a wmav1", 25, 1, nil},
	}
}

// mended are legal files of what ffmpeg and cameras leave when they are stopped.
func (c *Clips) mended() []Medium {
	const one, minus = 1 << 16, 0xffff0000
	index := bytes.LastIndex(c.AVI, []byte("idx1"))
	nowhere := slices.Clone(c.AVI)
	for i := index + 8; i+16 <= len(nowhere); i += 16 {
		copy(nowhere[i+8:], be32(0x7fffff00)) // offset of the frame
	}
	edited := func(name string, frames int64, n int, change func(*film)) Medium {
		m := c.mp4(name, Pass, change)
		m.Frames, m.Audio = frames, 1
		measured(&m)
		m.Flashes = n
		return m
	}
	matrix := func(name string, width, height int, m ...uint32) Medium {
		x := c.mp4(name, Pass, func(f *film) { f.video.find("tkhd").put(40, words32(m...)...) })
		x.Frames, x.Audio = 25, 1
		measured(&x)
		shape(width, height)(&x)
		return x
	}
	both := func(entries ...uint32) func(*film) { return func(f *film) { f.cut(entries...) } }
	late := edited("an edit that begins late", 0, 2, func(f *film) { f.edits(400, 0xffffffff, one, 1000, 1024, one) })
	late.Lag = -0.4
	unindexed := Medium{Name: "AVI without its index", Key: "o.avi", Body: c.AVI[:index], Frames: 25, Audio: 1}
	measured(&unindexed)
	lost := Medium{Name: "AVI whose index leads nowhere", Key: "o.avi", Body: nowhere, Frames: 25, Audio: 1}
	measured(&lost)
	cues := c.mkv("Matroska whose cues lead nowhere", Pass, func(list []element) []element {
		cue := ebml(0xbb, ebml(0xb3, []byte{0}), ebml(0xb7, ebml(0xf7, []byte{1}), ebml(0xf1, be64(1<<62))))
		return append(slices.Clone(list), element{idCues, cue})
	})
	cues.Frames, cues.Audio = 25, 1
	measured(&cues)
	return []Medium{
		unindexed,
		lost, cues,
		edited("an edit that begins in the middle", 15, 1, both(600, 400)),
		edited("two edits of one film", 20, 2, both(400, 0, 400, 400)),
		edited("the same edit twice", 20, 2, both(400, 0, 400, 0)),
		late,
		matrix("mirrored", 160, 90, minus, 0, 0, 0, one, 0, 0, 0, 1<<30),
		matrix("upside down", 160, 90, one, 0, 0, 0, minus, 0, 0, 0, 1<<30),
		matrix("turned and mirrored", 90, 160, 0, one, 0, one, 0, 0, 0, 0, 1<<30),
	}
}
