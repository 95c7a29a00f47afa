package pipeline_test

import (
	"os"
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

const (
	toSee  = "blackdetect=d=0.05:pix_th=0.5:pic_th=0.9"
	toHear = "aresample=async=1,silencedetect=n=-10dB:d=0.05"
)

// detected runs detectors over files, on their own clocks, and gives for each
// expression what it found, in seconds.
func detected(t *testing.T, args []string, said ...*regexp.Regexp) (at []float64) {
	t.Helper()
	out, err := exec.Command("ffmpeg", append(words("-nostdin -hide_banner -copyts"), append(args, "-f", "null", "-")...)...).CombinedOutput()
	for _, re := range said {
		m := re.FindSubmatch(out)
		if err != nil || m == nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
		seconds, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, seconds)
	}
	return at
}

// measured says when a flash is seen and a beep is heard.
func measured(t *testing.T, pictures, sound string) (flash, beep float64) {
	t.Helper()
	at := detected(t, []string{"-i", pictures, "-i", sound, "-map", "0:v:0", "-filter:v", toSee, "-map", "1:a:0", "-filter:a", toHear}, blackEnd, silenceEnd)
	return at[0], at[1]
}

// beep says when a beep is heard.
func beep(t *testing.T, sound string) float64 {
	t.Helper()
	return detected(t, []string{"-i", sound, "-map", "0:a:0", "-filter:a", toHear}, silenceEnd)[0]
}

// A flash and a beep at one time stay together within 20 ms, whatever container
// and codecs they come in and whichever stream starts late. Measured on the
// decrypted output.
func TestSoundAndPictureStayTogether(t *testing.T) {
	const size = "160x120"
	both := join(black(size, "25", "1", "2"), silent("1", "2"))
	h264 := words("-map 0:v -map 1:a -c:v libx264 -preset ultrafast -pix_fmt yuv420p -c:a aac")
	cut := makeSource(t, "cut.mp4", join(black(size, "25", "1.5", "2.5"), silent("1.5", "2.5"), h264)...)
	shared := newLab(t)
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
			l := &lab{t: t, runner: shared.runner, source: shared.source, media: shared.media}
			output := []string{pipeline.OutputCMAF, pipeline.OutputTS}[i%2]
			body, err := os.ReadFile(makeSource(t, c.file, c.args...))
			if err != nil {
				t.Fatal(err)
			}
			req := l.requestOf("uploads/"+strconv.Itoa(i)+"/"+c.file, body, func(o *pipeline.Options) {
				o.Outputs, o.Ladder = []string{output}, []string{"240p"}
			})
			l.run(req)
			seen, heard := measured(t, l.clear(req, output, "v-240p"), l.clear(req, output, "a-0"))
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
