package pipeline_test

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// look returns the picture that a file shows at a time, as ffmpeg shows it:
// 64×64 grey pixels.
func look(t *testing.T, file, at string) []byte {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-nostdin", "-v", "error", "-i", file, "-ss", at,
		"-map", "0:v:0", "-frames:v", "1", "-vf", "fps=50,scale=64:64:flags=area,format=gray", "-f", "rawvideo", "-").Output()
	if err != nil || len(out) != 64*64 {
		t.Fatalf("picture of %s at %s: %d bytes, %v", file, at, len(out), err)
	}
	return out
}

// difference is the mean difference of two pictures, 0 to 255.
func difference(a, b []byte) float64 {
	var sum float64
	for i := range a {
		sum += math.Abs(float64(a[i]) - float64(b[i]))
	}
	return sum / float64(len(a))
}

// sameLook wants the top rendition to show what the source shows, at each time.
func (l *lab) sameLook(req pipeline.Request, p *pipeline.Presentation, file string, most float64, times ...string) {
	l.t.Helper()
	made := l.clear(req, pipeline.OutputCMAF, "v-"+p.Video[0].Rung)
	for _, at := range times {
		if d := difference(look(l.t, file, at), look(l.t, made, at)); d > most {
			l.t.Errorf("at %s s the picture differs from the source's by %.1f", at, d)
		}
	}
}

// A portrait recording with a display matrix comes out upright, and the other
// way up when its matrix says so.
func TestRotationIsApplied(t *testing.T) {
	flat := makeSource(t, "flat.mp4", join(moving("640x360", "25", "2"), words("-c:v libx264 -preset ultrafast"))...)
	for _, angle := range []string{"90", "180", "270"} {
		t.Run(angle, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			turned := makeSource(t, "turned.mp4", "-i", flat, "-c", "copy", "-metadata:s:v:0", "rotate="+angle)
			if d := difference(look(t, flat, "1"), look(t, turned, "1")); d < 10 {
				t.Fatalf("the source has no display matrix: its picture differs by %.1f", d)
			}
			req := l.request(turned)
			p := l.run(req)
			want := "360×640"
			if angle == "180" {
				want = "640×360"
			}
			if got := fmt.Sprintf("%d×%d", p.Video[0].Width, p.Video[0].Height); got != want {
				t.Errorf("picture is %s, want %s", got, want)
			}
			l.sameLook(req, p, turned, 6, "0.5", "1.5")
		})
	}
}

// piped makes a source through a pipe, as browsers and live encoders do: the
// container cannot go back to say how long it is.
func piped(t *testing.T, name, format string, args ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("ffmpeg", append(append([]string{"-nostdin", "-v", "error"}, args...), "-f", format, "pipe:1")...)
	body, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Sources that do not say how long they are, or that announce sound and have
// none, are read through.
func TestSourcesThatSayLittle(t *testing.T) {
	h264 := words("-c:v libx264 -preset ultrafast -pix_fmt yuv420p")
	av := join(moving("320x240", "25", "3"), tone("3"))
	silence := words("-c:a aac -af atrim=end_sample=0")
	for _, c := range []struct {
		name  string
		make  func(t *testing.T) string
		audio int
	}{
		{"webm of a browser", func(t *testing.T) string {
			return piped(t, "a.webm", "webm", join(av, words("-c:v libvpx -deadline realtime -c:a libopus"))...)
		}, 1},
		{"piped mkv", func(t *testing.T) string { return piped(t, "a.mkv", "matroska", join(av, h264, words("-c:a aac"))...) }, 1},
		{"wmv whose sound is shorter", func(t *testing.T) string {
			return makeSource(t, "a.wmv", join(moving("320x240", "25", "3"), tone("1.5"), words("-c:v wmv2 -c:a wmav2"))...)
		}, 1},
		{"ogg with a tag of Matroska", func(t *testing.T) string {
			return makeSource(t, "a.ogv", join(av, words("-c:v libtheora -c:a libvorbis -metadata:s:v DURATION=00:00:12.000000000"))...)
		}, 1},
		{"mkv whose clock begins late", func(t *testing.T) string {
			return makeSource(t, "a.mkv", join(av, h264, words("-c:a aac -output_ts_offset 20"))...)
		}, 1},
		{"piped flv", func(t *testing.T) string { return piped(t, "a.flv", "flv", join(av, h264, words("-c:a aac"))...) }, 1},
		{"empty sound in mkv", func(t *testing.T) string { return makeSource(t, "a.mkv", join(av, h264, silence)...) }, 0},
		{"empty sound in mov", func(t *testing.T) string { return makeSource(t, "a.mov", join(av, h264, silence)...) }, 0},
		{"empty sound beside sound", func(t *testing.T) string {
			return makeSource(t, "a.mkv", join(av, tone("3"), words("-map 0 -map 1 -map 2 -c:a aac -filter:a:0 atrim=end_sample=0"), h264)...)
		}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			file := c.make(t)
			req := l.request(file)
			p := l.run(req)
			if got := len(p.Audio); got != 2*c.audio || p.Video[0].Frames < 74 || p.Video[0].Frames > 76 {
				t.Errorf("%d audio renditions, want %d; %d frames", got, 2*c.audio, p.Video[0].Frames)
			}
			l.playable(req, p)
			l.sameLook(req, p, file, 6, "1")
		})
	}
}
