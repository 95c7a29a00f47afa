package pipeline_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/internal/texttrack"
	"github.com/sealcast/sealcast/pipeline"
)

// made reads an object of a part.
func (l *lab) made(req pipeline.PartRequest, name string) string {
	return string(l.object(pipeline.Request{Hash: req.Hash, Prefix: req.Prefix}, name))
}

func tracksOf(t *testing.T, facts pipeline.Facts) []pipeline.TextFact {
	t.Helper()
	tracks, ok := facts["tracks"].([]pipeline.TextFact)
	if !ok {
		t.Fatalf("facts are %v", facts)
	}
	return tracks
}

// A track beside the source, in the character set of its time, becomes whole
// text and segments on both clocks; the film's own source is not asked for.
func TestTextBesideTheSource(t *testing.T) {
	l := newLab(t)
	body := []byte("1\r\n00:00:01,000 --> 00:00:35,500\r\n<i>\xc4pfel</i>\r\n\r\n2\r\n00:00:40,000 --> 00:10:00,000\r\nto the end\r\n")
	if _, err := l.source.Put(t.Context(), "texts/de.srt", body, "text/plain", ""); err != nil {
		t.Fatal(err)
	}
	req := pipeline.PartRequest{
		Hash: strings.Repeat("ab", 32), Prefix: "0123456789abcdef-1", SourceKey: "nothing/is/there", Film: pipeline.Film{Length: 61 * time.Second},
		Part: pipeline.Text{Track: texttrack.Track{Language: "de", Name: "Deutsch", Kind: texttrack.Subtitles}, Source: "texts/de.srt"},
	}
	made, err := l.runner.MakePart(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	tracks := tracksOf(t, made.Facts)
	if len(tracks) != 1 || tracks[0].ID != "de" || tracks[0].Cues != 2 || tracks[0].Dir != "text/de" || tracks[0].Format != texttrack.SubRip {
		t.Errorf("tracks are %+v", tracks)
	}
	if len(made.Objects) != 1+2*(1+3) {
		t.Errorf("objects are %v", made.Objects)
	}
	for _, o := range made.Objects {
		want := "text/vtt"
		if strings.HasSuffix(o.Name, ".m3u8") {
			want = "application/vnd.apple.mpegurl"
		}
		if !strings.HasPrefix(o.ContentType, want) {
			t.Errorf("%s is %s", o.Name, o.ContentType)
		}
	}
	const second = "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:90000,LOCAL:00:00:00.000\n\n00:00:01.000 --> 00:00:35.500\n<i>Äpfel</i>\n\n00:00:40.000 --> 00:10:00.000\nto the end\n"
	if diff := cmp.Diff(second, l.made(req, "text/de/ts/2.vtt")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(strings.Replace(second, "90000", "0", 1), l.made(req, "text/de/fmp4/2.vtt")); diff != "" {
		t.Error(diff)
	}
	if got := l.made(req, "text/de/ts/index.m3u8"); !strings.HasSuffix(got, "#EXTINF:1.000,\n3.vtt\n#EXT-X-ENDLIST\n") {
		t.Errorf("the playlist is\n%s", got)
	}
}

// The streams of a source become tracks of one part; pictures of text are left
// out and told.
func TestTextOfTheSource(t *testing.T) {
	l := newLab(t)
	dir := t.TempDir()
	srt := filepath.Join(dir, "s.srt")
	if err := os.WriteFile(srt, []byte("1\n00:00:00,500 --> 00:00:01,500\nHello <b>you</b>\n\n2\n00:00:02,000 --> 00:00:20,000\nlong\nx --> y\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	// A Presentation Graphic Stream of nothing: two segments, of which the second ends the first.
	pgs := filepath.Join(dir, "s.sup")
	if err := os.WriteFile(pgs, []byte("PG\x00\x01\x5f\x90\x00\x00\x00\x00\x16\x00\x0b\x00\xa0\x00\x5a\x10\x00\x00\x80\x00\x00\x00"+
		"PG\x00\x01\x5f\x90\x00\x00\x00\x00\x80\x00\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	video := join(moving("160x90", "25", "3"), words("-i "+srt+" -i "+pgs+" -map 0 -map 1 -map 1 -map 1 -c:v libx264 -preset ultrafast"))
	for _, c := range []struct {
		name, file, args string
		want             []string
		left             int
	}{
		{
			"Matroska", "a.mkv", "-map 2 -c:s:0 srt -c:s:1 ass -c:s:2 webvtt -c:s:3 copy -metadata:s:s:0 language=eng -metadata:s:s:1 language=ger -metadata:s:s:1 title=Director's " +
				"-metadata:s:s:2 language=eng -disposition:s:0 default -disposition:s:1 forced -disposition:s:2 0",
			[]string{"en English", "de_forced Directors forced", "en_2 English"},
			1,
		},
		{"MP4", "a.mp4", "-c:s mov_text -metadata:s:s:0 language=fra", []string{"fr français default", "und Subtitles 2", "und_2 Subtitles 3"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := makeSource(t, c.file, join(video, words("-s 160x90"), words(c.args))...)
			film := l.request(file)
			req := pipeline.PartRequest{Hash: film.Hash, Prefix: film.Prefix, SourceKey: film.SourceKey, Part: pipeline.EmbeddedText{}}
			made, err := l.runner.MakePart(t.Context(), req)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, track := range tracksOf(t, made.Facts) {
				name := track.ID + " " + track.Name
				if track.Forced {
					name += " forced"
				}
				if track.Default && c.name == "MP4" {
					name += " default"
				}
				got = append(got, name)
				whole := l.made(req, track.Dir+"/whole.vtt")
				if !strings.Contains(whole, "00:00:00.500 --> 00:00:01.500\nHello ") || !strings.Contains(whole, "00:00:02.000 --> 00:00:20.000\nlong\nx --") {
					t.Errorf("%s is\n%s", track.ID, whole)
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
			var index struct {
				LeftOut []pipeline.LeftOut `json:"left_out"`
			}
			if err := json.Unmarshal([]byte(l.made(req, "text/embedded.json")), &index); err != nil || len(index.LeftOut) != c.left {
				t.Errorf("left out are %+v, %v", index.LeftOut, err)
			}
		})
	}
}

// A source without text has a part that says so.
func TestNoTextInTheSource(t *testing.T) {
	l := newLab(t)
	film := l.request(makeSource(t, "a.mp4", join(moving("160x90", "25", "1"), words("-c:v libx264 -preset ultrafast"))...))
	made, err := l.runner.MakePart(t.Context(), pipeline.PartRequest{Hash: film.Hash, Prefix: film.Prefix, SourceKey: film.SourceKey, Part: pipeline.EmbeddedText{}})
	if err != nil || len(tracksOf(t, made.Facts)) != 0 || len(made.Objects) != 1 {
		t.Errorf("got %+v, %v", made, err)
	}
}

func TestTextRefused(t *testing.T) {
	l := newLab(t)
	english := texttrack.Track{Language: "en"}
	film := pipeline.Film{Length: time.Second}
	for key, body := range map[string]string{"broken": "WEBVTT\n\n00:01 --> 0x\nx\n", "large": strings.Repeat("x", texttrack.MaxBytes+1)} {
		if _, err := l.source.Put(t.Context(), key, []byte(body), "text/plain", ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, code, says string
		part             pipeline.Text
		film             pipeline.Film
	}{
		{"no language", pipeline.CodeOptionsInvalid, "options.language", pipeline.Text{Source: "broken"}, film},
		{"no text", pipeline.CodeOptionsInvalid, "options.source", pipeline.Text{Track: english}, film},
		{"no film", pipeline.CodeOptionsInvalid, "not published", pipeline.Text{Track: english, Source: "broken"}, pipeline.Film{}},
		{"not there", pipeline.CodeSourceNotFound, "", pipeline.Text{Track: english, Source: "nothing"}, film},
		{"too large", pipeline.CodeSourceTooLarge, "", pipeline.Text{Track: english, Source: "large"}, film},
		{"broken", pipeline.CodeSourceUnreadable, "line 3", pipeline.Text{Track: english, Source: "broken"}, film},
	} {
		_, err := l.runner.MakePart(t.Context(), pipeline.PartRequest{Hash: strings.Repeat("ab", 32), Prefix: "0123456789abcdef-1", Part: c.part, Film: c.film})
		var perr *pipeline.Error
		if !errors.As(err, &perr) || perr.Code != c.code || !perr.Permanent || !strings.Contains(perr.Message, c.says) {
			t.Errorf("%s: got %v", c.name, err)
		}
	}
}
