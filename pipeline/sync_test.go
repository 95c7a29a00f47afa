package pipeline_test

import (
	"os/exec"
	"regexp"
	"strconv"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// Flash and beep: black and silence until a time, then white and a tone.
func black(size, rate, at, seconds string) []string {
	return []string{"-f", "lavfi", "-i", "color=black:s=" + size + ":r=" + rate + ":d=" + seconds +
		",drawbox=color=white:t=fill:enable='between(t," + at + "-0.001," + at + "+0.3)'"}
}

func silent(at, seconds string) []string {
	return []string{"-f", "lavfi", "-i", "aevalsrc='if(between(t," + at + "," + at + "+0.3),0.8*sin(2*PI*880*t),0)':s=48000:d=" + seconds}
}

var (
	blackEnd   = regexp.MustCompile(`black_start:[0-9.]+ black_end:([0-9.]+)`)
	silenceEnd = regexp.MustCompile(`silence_end: ([0-9.]+)`)
)

// measured runs a detector over a stream, on the clock of the file itself.
func measured(t *testing.T, file, kind, filter string, said *regexp.Regexp) float64 {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-nostdin", "-hide_banner", "-copyts", "-i", file,
		"-map", "0:"+kind+":0", "-filter:"+kind, filter, "-f", "null", "-").CombinedOutput()
	m := said.FindSubmatch(out)
	if err != nil || m == nil {
		t.Fatalf("%s of %s: %v\n%s", filter, file, err, out)
	}
	at, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// flash and beep are when they are seen and heard, in seconds.
func flash(t *testing.T, file string) float64 {
	t.Helper()
	return measured(t, file, "v", "blackdetect=d=0.05:pix_th=0.5:pic_th=0.9", blackEnd)
}

func beep(t *testing.T, file string) float64 {
	t.Helper()
	return measured(t, file, "a", "aresample=async=1,silencedetect=n=-10dB:d=0.05", silenceEnd)
}

// A flash and a beep at one time stay together within 20 ms, whatever container
// and codecs they come in and whichever stream starts late. Measured on the
// decrypted output.
func TestSoundAndPictureStayTogether(t *testing.T) {
	const size = "160x120"
	both := join(black(size, "25", "1", "2"), silent("1", "2"))
	h264 := words("-map 0:v -map 1:a -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac")
	cut := makeSource(t, "cut.mp4", join(black(size, "25", "1.5", "2.5"), silent("1.5", "2.5"), h264)...)
	for i, c := range []struct {
		name, file string
		args       []string
	}{
		{"MP4 with B-frames", "a.mp4", join(both, words("-c:v libx264 -preset veryfast -pix_fmt yuv420p -c:a aac"))},
		{"fragmented MP4", "a.mp4", join(both, h264, words("-movflags frag_keyframe+empty_moov+default_base_moof"))},
		{"sound late, Matroska", "a.mkv", join(black(size, "25", "1.6", "3"), words("-itsoffset 0.6"), silent("1", "2"), h264)},
		{"sound late, MP4", "a.mp4", join(black(size, "25", "1.6", "3"), words("-itsoffset 0.6"), silent("1", "2"), h264)},
		{"picture late, Matroska", "a.mkv", join(words("-itsoffset 0.6"), black(size, "25", "1", "2"), silent("1.6", "3"), h264)},
		{"picture late, MP4", "a.mp4", join(words("-itsoffset 0.6"), black(size, "25", "1", "2"), silent("1.6", "3"), h264)},
		{"far from zero", "a.ts", join(both, h264, words("-output_ts_offset 5000"))},
		{"time stamps that wrap", "a.ts", join(both, h264, words("-output_ts_offset 95443.2"))},
		{"negative time stamps", "a.mkv", join(both, h264, words("-output_ts_offset -0.4 -avoid_negative_ts disabled"))},
		{"an edit that begins in the middle", "a.mp4", words("-ss 0.5 -i " + cut + " -c copy")},
		{"WebM, VP9 and Opus", "a.webm", join(both, words("-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus"))},
		{"MP3 in Matroska", "a.mkv", join(both, words("-c:v libx264 -preset ultrafast -c:a libmp3lame"))},
		{"5.1 of AC-3 in TS", "a.ts", join(both, words("-c:v libx264 -preset ultrafast -c:a ac3 -ac 6"))},
		{"interlaced MPEG-2 and MP2 in TS", "a.ts", join(black(size, "50", "1", "2"), silent("1", "2"), words("-vf tinterlace=interleave_top,fieldorder=tff -c:v mpeg2video -flags +ilme+ildct -r 25 -c:a mp2"))},
		{"program stream", "a.mpg", join(both, words("-c:v mpeg2video -c:a mp2"))},
		{"ProRes and PCM", "a.mov", join(both, words("-c:v prores_ks -c:a pcm_s24le"))},
		{"PCM in AVI", "a.avi", join(both, words("-c:v mjpeg -c:a pcm_s16le"))},
		{"Windows Media", "a.wmv", join(both, words("-c:v wmv2 -c:a wmav2"))},
		{"Flash", "a.flv", join(both, h264)},
		{"Theora and Vorbis", "a.ogg", join(both, words("-c:v libtheora -c:a libvorbis"))},
		{"MXF", "a.mxf", join(both, words("-c:v mpeg2video -c:a pcm_s16le"))},
		{"DV", "a.dv", join(black("720x576", "25", "1", "2"), silent("1", "2"), words("-c:v dvvideo -pix_fmt yuv420p -c:a pcm_s16le -ac 2"))},
		{"120 fps", "a.mp4", join(black(size, "120", "1", "2"), silent("1", "2"), h264)},
		{"variable frame rate", "a.mkv", join(black(size, "25", "1", "2"), silent("1", "2"), words("-vf select='not(mod(n,5))+gt(n,20)' -vsync vfr"), h264)},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			output := []string{pipeline.OutputCMAF, pipeline.OutputTS}[i%2]
			req := l.request(makeSource(t, c.file, c.args...), func(o *pipeline.Options) {
				o.Outputs, o.Ladder = []string{output}, []string{"240p"}
			})
			l.run(req)
			seen := flash(t, l.clear(req, output, "v-240p"))
			heard := beep(t, l.clear(req, output, "a-0"))
			t.Logf("flash at %.3f s, beep at %.3f s: %+.1f ms", seen, heard, 1000*(heard-seen))
			if d := heard - seen; d > 0.020 || d < -0.020 {
				t.Errorf("sound and picture are %.1f ms apart", 1000*d)
			}
			if seen < 0.5 || seen > 2.7 { // TS counts from a second on
				t.Errorf("the flash is at %.3f s", seen)
			}
		})
	}
}
