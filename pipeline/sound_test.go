package pipeline_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/pipeline"
)

// withCover is sound with a cover, as music has it.
func withCover(codecs string) []string {
	return join(tone("5"), words("-f lavfi -i color=red:s=64x64:d=0.04 -map 0 -map 1 -c:v mjpeg -disposition:v attached_pic "+codecs))
}

// Sound alone becomes a presentation that the strict client accepts, in every
// bit rate, whatever it comes in; a cover is no video. Its downloads last as
// long as the default track does.
func TestSoundAlone(t *testing.T) {
	both := []string{pipeline.OutputCMAF, pipeline.OutputCMAFAES128}
	for _, c := range []struct {
		file   string
		args   []string
		tracks int
		more   func(*pipeline.Options)
	}{
		{"a.m4a", withCover("-c:a aac"), 1, func(o *pipeline.Options) { o.BitRates = []int{64, 128} }},
		{"a.mp3", withCover("-c:a libmp3lame -write_xing 0"), 1, func(o *pipeline.Options) { o.Encrypt, o.Outputs = false, both[:1] }},
		{"a.mka", join(tone("5"), silent("1", "5.8"), words("-map 0 -map 1 -c:a libopus -metadata:s:a:0 language=eng -metadata:s:a:1 language=deu")), 2, func(o *pipeline.Options) {
			o.BitRates, o.Outputs, o.KeyPeriodSeconds = []int{96, 48}, both[1:], 2
		}},
		{"a.flac", withCover("-c:a flac"), 1, func(o *pipeline.Options) { o.Outputs = both[:1]; o.Scheme = "cenc" }},
		{"a.aac", join(tone("5"), words("-c:a aac -f adts")), 1, func(o *pipeline.Options) { o.Encrypt, o.Outputs = false, both[:1] }},
		{"a.wav", tone("5"), 1, func(o *pipeline.Options) {
			o.Encrypt, o.Outputs, o.Clip = false, both[:1], &pipeline.Clip{Start: 1, End: 3.5}
		}},
		{"a.ogg", join(tone("5"), words("-c:a libvorbis")), 1, func(o *pipeline.Options) {
			l := pipeline.DefaultLoudness()
			o.Encrypt, o.Outputs, o.Loudness = false, both[:1], &l
		}},
	} {
		t.Run(c.file, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			req := l.request(makeSource(t, c.file, c.args...), func(o *pipeline.Options) {
				*o = pipeline.DefaultSoundOptions()
				o.SegmentSeconds = 2
				c.more(o)
			})
			p := l.run(req)
			want := 5.0
			if req.Options.Clip != nil {
				want = 2.5
			}
			if c.file == "a.mka" {
				want = 5.8 // of the second track: the downloads are of the first
			}
			if d := p.Duration.Seconds(); d < want-0.05 || d > want+0.15 || len(p.Video) != 0 {
				t.Errorf("%.3f s and %d renditions of pictures, want %.1f s and none", d, len(p.Video), want)
			}
			if got, want := len(p.Audio), c.tracks*len(req.Options.BitRates)*len(p.Outputs); got != want {
				t.Errorf("%d renditions, want %d", got, want)
			}
			for _, r := range l.accepted(req, p) {
				if len(r.Renditions) != c.tracks*len(req.Options.BitRates) {
					t.Errorf("%s: the client saw %+v", r.URL, r.Renditions)
				}
				for _, x := range r.Renditions {
					if x.Sounds == 0 || x.Pictures != 0 || x.Fetched != x.Segments {
						t.Errorf("the client decoded %+v", x)
					}
				}
			}
			if c.file == "a.ogg" && p.Audio[0].GainDB == 0 {
				t.Error("the loudness was not changed")
			}
			if n := len(req.Options.BitRates); n == 2 && p.Audio[0].AverageBandwidth <= p.Audio[1].AverageBandwidth {
				t.Errorf("bit rates %+v", p.Audio)
			}
			if c.file == "a.m4a" || c.file == "a.mka" {
				l.downloads(req, p)
			}
		})
	}
}

// downloads wants both downloads, of the default track.
func (l *lab) downloads(req pipeline.Request, p *pipeline.Presentation) {
	l.t.Helper()
	want, _ := loudnessOf(l.t, l.clear(req, p.Outputs[0].Name, "a-0"))
	for format, kind := range map[string]string{pipeline.FormatM4A: "audio/mp4", pipeline.FormatMP3: "audio/mpeg"} {
		part := l.download(req, p, pipeline.Download{Format: format})
		part.Prefix += format
		made := l.makePart(part)
		if len(made.Objects) != 1 || made.Objects[0].Name != "static/audio."+format || made.Objects[0].ContentType != kind || made.Facts["static"] != "static/audio."+format {
			l.t.Errorf("made %+v", made)
		}
		file := l.partFile(part, "static/audio."+format)
		got, _ := loudnessOf(l.t, file)
		if got < want-0.5 || got > want+0.5 {
			l.t.Errorf("%s: %.1f LUFS, want %.1f", format, got, want)
		}
		frame := map[string]float64{pipeline.FormatM4A: 1024.0 / 48000, pipeline.FormatMP3: 1152.0 / 48000}[format]
		if d := float64(len(frameHashes(l.t, file, "a"))) * frame; d < 4.9 || d > 5.1 {
			l.t.Errorf("%s decodes to %.3f s, want 5", format, d)
		}
	}
}

// What is no sound is told, and a film is told what sound alone is for.
func TestSoundAloneRefuses(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	sound := func(o *pipeline.Options) { *o = pipeline.DefaultSoundOptions() }
	mute := makeSource(t, "mute.mp4", join(moving("64x64", "5", "1"), words("-c:v mpeg4"))...)
	mp3 := makeSource(t, "a.mp3", tone("1")...)
	m4a := makeSource(t, "a.m4a", withCover("-c:a aac -t 1")...)
	text := filepath.Join(t.TempDir(), "text.mp3")
	if err := os.WriteFile(text, []byte("ID3 or not, I am no music\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		file, code, says string
		change           func(*pipeline.Options)
	}{
		{mute, pipeline.CodeSourceNoAudio, "no audio stream", sound},
		{text, pipeline.CodeSourceUnreadable, "", sound},
		{m4a, pipeline.CodeSourceNoVideo, "audio:transcode", nil},
		{mp3, pipeline.CodeSourceUnreadable, "audio:transcode", nil},
	} {
		req := l.request(c.file, func(o *pipeline.Options) {
			if c.change != nil {
				c.change(o)
			}
		})
		_, err := l.runner.Run(t.Context(), req)
		var e *pipeline.Error
		if !errors.As(err, &e) || e.Code != c.code || !e.Permanent || !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: %v, want %s that says %q", filepath.Base(c.file), err, c.code, c.says)
		}
		l.nothingPlayable(req)
	}
}

func TestSoundOptions(t *testing.T) {
	for name, change := range map[string]func(*pipeline.Options){
		"three":     func(o *pipeline.Options) { o.BitRates = []int{64, 96, 128} },
		"twice":     func(o *pipeline.Options) { o.BitRates = []int{64, 64} },
		"too low":   func(o *pipeline.Options) { o.BitRates = []int{16} },
		"too high":  func(o *pipeline.Options) { o.BitRates = []int{512} },
		"ts":        func(o *pipeline.Options) { o.Outputs = []string{pipeline.OutputTS} },
		"a ladder":  func(o *pipeline.Options) { o.Ladder = []string{"720p"} },
		"watermark": func(o *pipeline.Options) { w := pipeline.DefaultWatermark(); w.Source = "x"; o.Watermark = &w },
	} {
		o := pipeline.DefaultSoundOptions()
		change(&o)
		var e *pipeline.Error
		if err := o.Validate(); !errors.As(err, &e) || e.Code != pipeline.CodeOptionsInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if o := pipeline.DefaultSoundOptions(); o.Validate() != nil || !o.SoundOnly() {
		t.Errorf("the default is refused: %v", o.Validate())
	}
}

// The padding of a source's last frame of sound gets no segment of its own when
// the film is whole segments long: GStreamer ends with an error at one that is
// three packets of MPEG-TS.
func TestPaddingOfSoundIsNoSegment(t *testing.T) {
	for _, c := range []struct {
		name, length string
		clip         *pipeline.Clip
	}{
		{"a.mp4", "4", nil},
		{"a.mkv", "4", nil},
		{"a.ts", "4", nil},
		{"clip.mp4", "6", &pipeline.Clip{Start: 2}},
		{"clip.mkv", "6", &pipeline.Clip{Start: 2}},
		{"clip.ts", "6", &pipeline.Clip{Start: 2, End: 10}},
		// One picture of it is in a second segment, and so is the sound beside it.
		{"part.mp4", "6", &pipeline.Clip{Start: 0.01, End: 2.025}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			// Its sound ends within a frame, the rest of which is padding.
			file := makeSource(t, c.name, words("-f lavfi -i testsrc2=s=128x72:r=25:d="+c.length+" -f lavfi -i sine=440:d="+c.length+" -c:v libx264 -preset ultrafast -c:a aac")...)
			req := l.request(file, func(o *pipeline.Options) {
				o.Encrypt, o.SegmentSeconds, o.Outputs, o.Clip = false, 2, []string{pipeline.OutputCMAF, pipeline.OutputTS}, c.clip
			})
			l.run(req)
			for _, output := range req.Options.Outputs {
				list := string(l.object(req, output+"/a-0/index.m3u8"))
				if n := strings.Count(list, "#EXTINF"); n != 2 {
					t.Errorf("%s: %d segments of sound beside two of pictures:\n%s", output, n, list)
				}
			}
		})
	}
}

// Sound is cut where a film ends with its last segment, and nowhere else: not
// before pictures that go on, not what is said to go on, not what has no pictures.
func TestWhereSoundIsCut(t *testing.T) {
	const ms = time.Millisecond
	r25, r60 := pipeline.Rational{Num: 25, Den: 1}, pipeline.Rational{Num: 60, Den: 1}
	for _, c := range []struct {
		name            string
		rate            pipeline.Rational
		pictures, sound time.Duration
		want            string
	}{
		{"whole segments", r25, 12000 * ms, 12000 * ms, ",atrim=end=12.000000"},
		{"sound of whole frames", r25, 12000 * ms, 12023 * ms, ",atrim=end=12.000000"},
		{"a clock that rounds", r60, 11999 * ms, 12001 * ms, ",atrim=end=12.000000"},
		{"sound that ends before", r25, 12000 * ms, 11800 * ms, ",atrim=end=12.000000"},
		{"no whole segments", r25, 13000 * ms, 13023 * ms, ""},
		{"one picture more", r60, 12017 * ms, 12017 * ms, ""},
		{"sound that goes on", r25, 12000 * ms, 12060 * ms, ""},
		{"sound without an end", r25, 12000 * ms, 0, ""},
		{"no pictures", pipeline.Rational{}, 0, 12010 * ms, ""},
		{"shorter than half a segment", r25, 10 * ms, 10 * ms, ""},
	} {
		if got := pipeline.WholeSegments(c.rate, c.pictures, c.sound); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
