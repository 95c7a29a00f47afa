package pipeline_test

import (
	"bytes"
	"math/bits"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/pipeline"
)

// captioned is an H.264 file with captions in its pictures, 25 of them a second.
// The first caption is shown from 1 s to 3 s, the second one from 5 s to 7 s.
func captioned(t *testing.T, first, second string) string {
	t.Helper()
	plain := makeSource(t, "plain.h264", join(moving("320x180", "25", "8"), words("-an -c:v libx264 -preset ultrafast -g 50 -bf 0 -threads 1"))...)
	stream, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	said := map[int][][2]byte{0: popOn(first), 25: command(endOfCaption), 75: command(eraseDisplayed), 80: popOn(second), 125: command(endOfCaption), 175: command(eraseDisplayed)}
	var out []byte
	var waiting [][2]byte
	picture := 0
	for i, unit := range bytes.Split(stream, []byte{0, 0, 1}) {
		if i == 0 {
			continue
		}
		if kind := unit[0] & 31; kind == 1 || kind == 5 { // a picture of one slice (ITU-T H.264, table 7-1)
			waiting = append(waiting, said[picture]...)
			pair := [2]byte{0x80, 0x80} // nothing
			if len(waiting) > 0 {
				pair, waiting = waiting[0], waiting[1:]
			}
			out = append(out, 0, 0, 0, 1)
			out = append(out, captionSEI(pair)...)
			picture++
		}
		out = append(append(out, 0, 0, 1), unit...)
	}
	if picture != 200 || len(waiting) > 0 {
		t.Fatalf("%d pictures, %d pairs are left", picture, len(waiting))
	}
	file := filepath.Join(t.TempDir(), "captioned.h264")
	if err := os.WriteFile(file, out, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// captionMark is in each message that has captions (ATSC A/53 part 4, 6.2.3).
const captionMark = "GA94\x03"

// captionSEI is a message with a pair of bytes of field 1.
func captionSEI(pair [2]byte) []byte {
	payload := append([]byte("\xb5\x00\x31"+captionMark), 0xc1, 0xff, 0xfc, pair[0], pair[1], 0xff)
	return append(append([]byte{6, 4, byte(len(payload))}, payload...), 0x80)
}

// Commands of channel 1 (ANSI/CTA-608-E, 6.2 and annex B).
const (
	resumeCaptionLoading, endOfCaption, eraseDisplayed, eraseNotDisplayed, rowFifteen = 0x20, 0x2f, 0x2c, 0x2e, 0x70
)

// command is sent twice.
func command(code byte) [][2]byte { return [][2]byte{odd(0x14, code), odd(0x14, code)} }

// popOn loads a text, which endOfCaption shows.
func popOn(text string) (pairs [][2]byte) {
	for _, code := range []byte{resumeCaptionLoading, eraseNotDisplayed, rowFifteen} {
		pairs = append(pairs, command(code)...)
	}
	for text += " "; len(text) > 1; text = text[2:] {
		pairs = append(pairs, odd(text[0], text[1]))
	}
	return pairs
}

// odd gives both bytes odd parity.
func odd(a, b byte) [2]byte {
	pair := [2]byte{a, b}
	for i, x := range pair {
		if bits.OnesCount8(x)%2 == 0 {
			pair[i] |= 0x80
		}
	}
	return pair
}

// Captions in the pictures become a text track. No rendition has them: sample
// encryption leaves SEI in the clear, and playlists say that there are none.
func TestCaptionsInThePictures(t *testing.T) {
	bare := captioned(t, "FIRST WORDS", "and the last")
	const copied = "-c:v copy"
	for _, c := range []struct {
		name, file, args string
		want             string
	}{
		{"in MP4", "a.mp4", copied, "00:00:01.000 --> 00:00:03.000\nFIRST WORDS\n\n00:00:05.000 --> 00:00:07.000\nand the last\n"},
		// The sound begins 3 ms before zero.
		{"pictures begin late", "a.mkv", "-c:v libx264 -preset ultrafast -vf setpts=PTS+0.5/TB", "00:00:01.503 --> 00:00:03.503\nFIRST WORDS\n\n00:00:05.503 --> 00:00:07.503\nand the last\n"},
		// The first key picture is at 2 s, the sound begins 23 ms before zero.
		{"cut out of a broadcast", "a.ts", copied + " -output_ts_offset 5000 -bsf:v noise=drop='lt(n\\,12)'", "00:00:05.023 --> 00:00:07.023\nand the last\n"},
		// The sound begins 11 ms before zero.
		{"MPEG-2", "a.mpg", "-c:v mpeg2video -g 12 -bf 2 -q:v 3 -c:a mp2", "00:00:01.011 --> 00:00:03.011\nFIRST WORDS\n\n00:00:05.011 --> 00:00:07.011\nand the last\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			file := makeSource(t, c.file, join(words("-r 25 -i "+bare+" -f lavfi -i sine=d=8"), words("-c:a aac"), words(c.args))...)
			if body, err := os.ReadFile(file); err != nil || !bytes.Contains(body, []byte(captionMark)) {
				t.Fatalf("the source has no captions, %v", err)
			}
			film := l.request(file, func(o *pipeline.Options) {
				o.Outputs, o.Codecs = []string{pipeline.OutputCMAF}, pipeline.Codecs
			})
			req := pipeline.PartRequest{Hash: film.Hash, Prefix: film.Prefix, SourceKey: film.SourceKey, Part: pipeline.EmbeddedText{}}
			made, err := l.runner.MakePart(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			tracks := tracksOf(t, made.Facts)
			if len(tracks) != 1 || tracks[0].Kind != "captions" {
				t.Fatalf("tracks are %+v, %v", tracks, made.Facts["left_out"])
			}
			if diff := cmp.Diff("WEBVTT\n\n"+c.want, l.made(req, tracks[0].Dir+"/whole.vtt")); diff != "" {
				t.Error(diff)
			}
			film.Prefix = "0123456789abcdef-2"
			pictures := 0
			for _, o := range l.run(film).Objects {
				if strings.HasPrefix(o.Name, "cmaf/v-") && strings.HasSuffix(o.Name, ".m4s") {
					pictures++
					if bytes.Contains(l.object(film, o.Name), []byte(captionMark)) {
						t.Errorf("%s has captions", o.Name)
					}
				}
			}
			if pictures < 3*2 {
				t.Errorf("%d segments of pictures in three codecs", pictures)
			}
		})
	}
}

// Captions that are a stream of their own are a text track like others.
func TestCaptionsAsAStream(t *testing.T) {
	l := newLab(t)
	timed := makeSource(t, "timed.mp4", words("-r 25 -i "+captioned(t, "FIRST WORDS", "and the last")+" -c copy")...)
	file := makeSource(t, "a.mov", join(words("-f lavfi -i"), []string{"movie=" + timed + "[out0+subcc]"},
		words("-map 0 -c:v libx264 -preset ultrafast -a53cc 0 -c:s copy -metadata:s:s:0 language=eng"))...)
	film := l.request(file)
	req := pipeline.PartRequest{Hash: film.Hash, Prefix: film.Prefix, SourceKey: film.SourceKey, Part: pipeline.EmbeddedText{}}
	made, err := l.runner.MakePart(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	tracks := tracksOf(t, made.Facts)
	if len(tracks) != 1 || tracks[0].Cues != 2 || tracks[0].Language != "en" || tracks[0].Kind != "captions" {
		t.Fatalf("tracks are %+v, %v", tracks, made.Facts["left_out"])
	}
	if whole := l.made(req, tracks[0].Dir+"/whole.vtt"); !strings.Contains(whole, "00:00:01.000 --> 00:00:03.000\nFIRST WORDS\n") {
		t.Errorf("got\n%s", whole)
	}
}
