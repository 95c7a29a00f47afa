package pipeline_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/pipeline"
)

// lavfi inputs: a moving picture and a tone.
func moving(size, rate, seconds string) []string {
	return []string{"-f", "lavfi", "-i", "testsrc2=s=" + size + ":r=" + rate + ":d=" + seconds}
}

func tone(seconds string) []string {
	return []string{"-f", "lavfi", "-i", "sine=440:r=44100:d=" + seconds}
}

func join(parts ...[]string) []string {
	var out []string
	for _, p := range parts {
		out = append(out, p...)
	}
	return out
}

func words(s string) []string { return strings.Fields(s) }

// Odd but legal sources: each gives a presentation that passed the gate, with
// the picture's true shape.
func TestOddSources(t *testing.T) {
	h264 := words("-c:v libx264 -preset ultrafast -pix_fmt yuv420p")
	aac := words("-c:a aac")
	for _, c := range []struct {
		name          string
		file          string
		args          []string
		width, height int // of the largest rendition; 0: not checked
		audio         int
		frames        int64 // of the largest rendition; 0: not checked
	}{
		{"no audio", "a.mp4", join(moving("640x360", "25", "3"), h264), 640, 360, 0, 75},
		{"mono", "a.mp4", join(moving("640x360", "25", "3"), tone("3"), h264, aac, words("-ac 1")), 640, 360, 1, 75},
		{"5.1", "a.mkv", join(moving("320x240", "25", "3"), tone("3"), h264, words("-c:a ac3 -ac 6")), 320, 240, 1, 75},
		{"two languages", "a.mkv", join(moving("320x240", "25", "3"), tone("3"), tone("3"), words("-map 0 -map 1 -map 2"), h264, aac,
			words("-metadata:s:a:0 language=eng -metadata:s:a:1 language=deu")), 320, 240, 2, 75},
		{"unknown language", "a.mkv", join(moving("320x240", "25", "3"), tone("3"), h264, aac, words("-metadata:s:a:0 language=qxz")), 320, 240, 1, 75},
		{"odd size", "a.mkv", join(moving("427x241", "25", "3"), words("-c:v ffv1")), 426, 240, 0, 75},
		{"anamorphic", "a.mp4", join(moving("720x576", "25", "3"), h264, words("-vf setsar=16/11")), 1046, 576, 0, 75},
		{"variable frame rate", "a.mkv", join(moving("320x240", "30", "4"), words("-vf select='not(mod(n,3))+lt(n,60)' -vsync vfr"), h264), 320, 240, 0, 118},
		{"slide show", "a.mp4", join(moving("320x240", "25", "12"), words("-vf select='eq(n,0)+eq(n,60)+eq(n,70)+eq(n,290)' -vsync vfr"), h264), 320, 240, 0, 0},
		{"10 bit", "a.mkv", join(moving("320x240", "25", "3"), words("-c:v libx264 -preset ultrafast -pix_fmt yuv420p10le")), 320, 240, 0, 75},
		{"4:2:2 HDR10", "a.mkv", join(moving("320x240", "25", "3"), words("-c:v libx265 -preset ultrafast -pix_fmt yuv422p10le -x265-params log-level=error:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc")), 320, 240, 0, 75},
		{"interlaced", "a.ts", join(moving("720x576", "50", "4"), words("-vf tinterlace=interleave_top,fieldorder=tff -c:v mpeg2video -flags +ilme+ildct -b:v 4M -r 25")), 0, 0, 0, 0},
		{"moov at the end", "a.mp4", join(moving("320x240", "25", "3"), tone("3"), h264, aac, words("-movflags -faststart")), 320, 240, 1, 75},
		{"moov at the start", "a.mp4", join(moving("320x240", "25", "3"), tone("3"), h264, aac, words("-movflags +faststart")), 320, 240, 1, 75},
		{"mkv", "a.mkv", join(moving("320x240", "30000/1001", "3"), tone("3"), h264, words("-c:a libvorbis")), 320, 240, 1, 90},
		{"mov", "a.mov", join(moving("320x240", "25", "3"), tone("3"), words("-c:v prores_ks -c:a pcm_s16le")), 320, 240, 1, 75},
		{"webm", "a.webm", join(moving("320x240", "25", "3"), tone("3"), words("-c:v libvpx -deadline realtime -c:a libopus")), 320, 240, 1, 75},
		{"avi", "a.avi", join(moving("320x240", "15", "3"), tone("3"), words("-c:v mpeg4 -c:a mp3")), 320, 240, 1, 45},
		{"one second", "a.mp4", join(moving("320x240", "25", "1"), tone("1"), h264, aac), 320, 240, 1, 25},
		{"one frame", "a.mp4", join(moving("320x240", "1", "1"), h264), 320, 240, 0, 5},
		{"60 fps", "a.mp4", join(moving("1280x720", "60", "2"), h264), 1280, 720, 0, 120},
		{"120 fps", "a.mp4", join(moving("320x240", "120", "2"), h264), 320, 240, 0, 60},
		{"smaller than the ladder", "a.mp4", join(moving("160x90", "25", "2"), h264), 160, 90, 0, 50},
		{"audio starts late", "a.mkv", join(moving("320x240", "25", "4"), words("-itsoffset 1"), tone("3"), h264, aac), 320, 240, 1, 100},
		{"video starts late", "a.mkv", join(words("-itsoffset 1"), moving("320x240", "25", "3"), tone("4"), h264, aac), 320, 240, 1, 100},
		{"subtitles that outlast the film", "a.mp4", join(moving("320x240", "25", "3"), tone("3"), words("-i @subtitles"), h264, aac, words("-c:s mov_text")), 320, 240, 1, 75},
		{"the same in Matroska", "a.mkv", join(moving("320x240", "25", "3"), tone("3"), words("-i @subtitles"), h264, aac, words("-c:s srt")), 320, 240, 1, 75},
		{"cover art", "a.mp4", join(moving("320x240", "25", "3"), tone("3"), words("-f lavfi -i color=s=600x600:d=0.04 -map 0 -map 1 -map 2 -c:v:0 libx264 -c:v:1 png -disposition:v:1 attached_pic"), aac), 320, 240, 1, 75},
		{"timestamps far from zero", "a.ts", join(moving("320x240", "25", "3"), tone("3"), h264, aac, words("-output_ts_offset 5000")), 320, 240, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			args := slices.Clone(c.args)
			if i := slices.Index(args, "@subtitles"); i >= 0 {
				args[i] = filepath.Join(t.TempDir(), "s.srt")
				if err := os.WriteFile(args[i], []byte("1\n00:00:01,000 --> 00:00:30,000\nlong\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			file := makeSource(t, c.file, args...)
			req := l.request(file)
			p := l.run(req)
			top := p.Video[0]
			if c.width != 0 && (top.Width != c.width || top.Height != c.height) {
				t.Errorf("picture is %d×%d, want %d×%d", top.Width, top.Height, c.width, c.height)
			}
			// One more where the container's clock puts the first picture a little after zero.
			if c.frames != 0 && top.Frames != c.frames && top.Frames != c.frames+1 {
				t.Errorf("%d frames, want %d", top.Frames, c.frames)
			}
			if got := len(p.Audio); got != 2*c.audio { // in each of the two outputs
				t.Errorf("%d audio renditions, want %d", got, 2*c.audio)
			}
			l.playable(req, p)
			most := 6.0
			if strings.Contains(c.name, "HDR") {
				most = 60 // mapped to SDR
			}
			times := []string{"0.5", "0.9"}
			switch c.name {
			case "one frame":
				times = []string{"0"}
			case "variable frame rate":
				times = []string{"0.5", "1.9", "3.5"}
			case "slide show":
				times = []string{"1", "2.6", "9", "11.5"}
			case "timestamps far from zero", "video starts late":
				return // see TestSoundAndPictureStayTogether
			}
			l.sameLook(req, p, file, most, times...)
		})
	}
}

// Broken sources fail for good with a code, and nothing that refers to a
// segment is in the store.
func TestBrokenSources(t *testing.T) {
	whole := makeSource(t, "whole.mp4", join(moving("640x360", "25", "20"), tone("20"), words("-c:v libx264 -preset ultrafast -g 25 -c:a aac -movflags +faststart"))...)
	body, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	mkv := makeSource(t, "whole.mkv", "-i", whole, "-c", "copy")
	mkvBody, err := os.ReadFile(mkv)
	if err != nil {
		t.Fatal(err)
	}
	audio := makeSource(t, "audio.m4a", join(tone("3"), words("-c:a aac"))...)
	audioBody, err := os.ReadFile(audio)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, code string
		body       []byte
	}{
		{"empty", pipeline.CodeSourceEmpty, nil},
		{"text", pipeline.CodeSourceUnreadable, []byte("hello, I am no film\n")},
		{"playlist under a video's name", pipeline.CodeSourceUnreadable, []byte("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")},
		{"concat list", pipeline.CodeSourceUnreadable, []byte("ffconcat version 1.0\nfile /etc/passwd\n")},
		{"box header and nothing else", pipeline.CodeSourceUnreadable, []byte("\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isomiso2")},
		{"mp4 truncated by half", pipeline.CodeSourceTruncated, body[:len(body)/2]},
		{"mkv truncated by half", pipeline.CodeSourceTruncated, mkvBody[:len(mkvBody)/2]},
		{"mp4 without its index", pipeline.CodeSourceUnreadable, body[len(body)-4096:]},
		{"audio only", pipeline.CodeSourceNoVideo, audioBody},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			file := filepath.Join(t.TempDir(), "bad.mp4")
			if err := os.WriteFile(file, c.body, 0o600); err != nil {
				t.Fatal(err)
			}
			req := l.request(file)
			_, err := l.runner.Run(t.Context(), req)
			var perr *pipeline.Error
			if !errors.As(err, &perr) || perr.Code != c.code || !perr.Permanent || perr.Message == "" {
				t.Fatalf("got %v, want a permanent %s", err, c.code)
			}
			l.nothingPlayable(req)
		})
	}
	t.Run("missing", func(t *testing.T) {
		l := newLab(t)
		req := l.request(whole)
		req.SourceKey = "uploads/nothing"
		_, err := l.runner.Run(t.Context(), req)
		var perr *pipeline.Error
		if !errors.As(err, &perr) || perr.Code != pipeline.CodeSourceNotFound || !perr.Permanent {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("too large", func(t *testing.T) {
		l := newLab(t)
		req := l.request(whole)
		req.MaxSourceBytes = 1000
		_, err := l.runner.Run(t.Context(), req)
		var perr *pipeline.Error
		if !errors.As(err, &perr) || perr.Code != pipeline.CodeSourceTooLarge || !perr.Permanent {
			t.Fatalf("got %v", err)
		}
	})
}

// The packager writes a fragment of one sample without a list of sizes: the
// gate must find the size where it is.
func TestLastSegmentOfOnePicture(t *testing.T) {
	l := newLab(t)
	file := makeSource(t, "a.mp4", join(moving("160x90", "25", "2.04"), words("-c:v libx264 -preset ultrafast"))...)
	req := l.request(file, func(o *pipeline.Options) { o.SegmentSeconds = 2 })
	p := l.run(req)
	if p.Video[0].Frames != 51 {
		t.Errorf("%d frames, want 51", p.Video[0].Frames)
	}
	l.playable(req, p)
}
