package texttrack

import (
	"encoding/xml"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A cue that spans segments is in each of them, with its own times; a part
// without a cue has a segment, too.
func TestSplit(t *testing.T) {
	cues := []Cue{
		{Start: at(0, 0, 1, 0), End: at(0, 1, 0, 0), Text: "long"}, // ends where the third begins
		{Start: at(0, 0, 29, 999), End: at(0, 0, 30, 1), Text: "on the line"},
		{Start: at(0, 1, 35, 0), End: at(3, 0, 0, 0), Text: "outlasts the film"},
		{Start: at(0, 2, 0, 0), End: at(3, 0, 0, 0), Text: "after the film"},
	}
	segments, err := Split(cues, at(0, 1, 40, 500))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range segments {
		line := clock(s.Start) + " " + clock(s.End)
		for _, c := range s.Cues {
			line += " " + c.Text + ","
		}
		got = append(got, line)
	}
	want := []string{
		"00:00:00.000 00:00:30.000 long, on the line,",
		"00:00:30.000 00:01:00.000 long, on the line,",
		"00:01:00.000 00:01:30.000",
		"00:01:30.000 00:01:40.500 outlasts the film,",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	const playlist = `#EXTM3U
#EXT-X-VERSION:6
#EXT-X-TARGETDURATION:30
#EXT-X-PLAYLIST-TYPE:VOD
#EXTINF:30.000,
1.vtt
#EXTINF:30.000,
2.vtt
#EXTINF:30.000,
3.vtt
#EXTINF:10.500,
4.vtt
#EXT-X-ENDLIST
`
	if diff := cmp.Diff(playlist, string(MediaPlaylist(segments))); diff != "" {
		t.Error(diff)
	}
	const second = `WEBVTT
X-TIMESTAMP-MAP=MPEGTS:90000,LOCAL:00:00:00.000

00:00:01.000 --> 00:01:00.000
long

00:00:29.999 --> 00:00:30.001
on the line
`
	if diff := cmp.Diff(second, string(segments[1].Bytes(90000))); diff != "" {
		t.Error(diff)
	}
}

// Cues that all last for days would fill the store: they are refused.
func TestSplitIsBounded(t *testing.T) {
	cues := slices.Repeat([]Cue{{End: MaxTime, Text: "x"}}, MaxCues)
	_, err := Split(cues, 48*time.Hour)
	var bad *Error
	if !errors.As(err, &bad) || bad.Code != CodeTooLarge {
		t.Errorf("got %v", err)
	}
}

func TestTrackIDs(t *testing.T) {
	for _, c := range []struct{ id, want, name string }{
		{"en", "en", "English"},
		{"ENG", "en", "English"},
		{"pt-br", "pt-BR", "português (Brasil)"},
		{"de_captions", "de_captions", "Deutsch CC"},
		{"de_forced", "de_forced", "Deutsch (forced)"},
		{"zh-hant_captions_forced", "zh-Hant_captions_forced", "繁體中文 CC (forced)"},
		{"und", "und", "und"}, {"", "", ""}, {"english!", "", ""}, {"en_karaoke", "", ""}, {"en/../de", "", ""}, {strings.Repeat("en-a-", 20), "", ""},
	} {
		track, err := ParseID(c.id)
		if (err == nil) != (c.want != "") || err == nil && (track.ID() != c.want || track.Name != c.name) {
			t.Errorf("%q: got %q, name %q, %v; want %q, %q", c.id, track.ID(), track.Name, err, c.want, c.name)
		}
	}
	for _, name := range []string{`a"b`, "a\nb", " a", strings.Repeat("x", 65), "\xff"} {
		if err := (&Track{Language: "en", Name: name}).Check(); err == nil {
			t.Errorf("the name %q is taken", name)
		}
	}
	if err := (&Track{Language: "en", Kind: "chapters"}).Check(); err == nil {
		t.Error("an unknown kind is taken")
	}
}

func entries() []Entry {
	return []Entry{
		{Track{Language: "en", Name: "English", Kind: Subtitles}, "../p/en/index.m3u8"},
		{Track{Language: "de", Name: "English", Kind: Captions, Default: true}, "../p/de/index.m3u8"},
		{Track{Language: "fr", Name: "F & <R>", Kind: Subtitles, Forced: true, Default: true}, "../p/fr/index.m3u8"},
	}
}

func TestAddToMaster(t *testing.T) {
	const doc = `#EXTM3U
#EXT-X-VERSION:7
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="en",DEFAULT=YES,AUTOSELECT=YES,URI="a-0/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=2,CODECS="a,b",AUDIO="audio",CLOSED-CAPTIONS=NONE
v-720p/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=1
v-480p/index.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="i.m3u8"
`
	const want = `#EXTM3U
#EXT-X-VERSION:7
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="audio",NAME="en",DEFAULT=YES,AUTOSELECT=YES,URI="a-0/index.m3u8"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="English",LANGUAGE="en",DEFAULT=NO,AUTOSELECT=YES,FORCED=NO,URI="../p/en/index.m3u8"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="English 2",LANGUAGE="de",DEFAULT=YES,AUTOSELECT=YES,FORCED=NO,CHARACTERISTICS="public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound",URI="../p/de/index.m3u8"
#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID="subs",NAME="F & <R>",LANGUAGE="fr",DEFAULT=NO,AUTOSELECT=YES,FORCED=YES,URI="../p/fr/index.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=2,CODECS="a,b",AUDIO="audio",CLOSED-CAPTIONS=NONE,SUBTITLES="subs"
v-720p/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=1,SUBTITLES="subs"
v-480p/index.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI="i.m3u8"
`
	got, err := AddToMaster([]byte(doc), entries())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if same, err := AddToMaster([]byte(doc), nil); err != nil || string(same) != doc {
		t.Errorf("without tracks it changed: %v", err)
	}
	if _, err := AddToMaster(got, entries()); err == nil {
		t.Error("a second group is taken")
	}
	if _, err := AddToMaster([]byte("#EXTM3U\n"), entries()); err == nil {
		t.Error("a playlist without variants is taken")
	}
}

func TestAddToManifest(t *testing.T) {
	const doc = `<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">
  <Period id="0">
    <AdaptationSet id="0" contentType="video"/>
  </Period>
</MPD>
`
	const want = `<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011">
  <Period id="0">
    <AdaptationSet id="0" contentType="video"/>
    <AdaptationSet contentType="text" mimeType="text/vtt" lang="en">
      <Label>English</Label>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="subtitle"/>
      <Representation id="text-1" bandwidth="256">
        <BaseURL>../p/en/index.m3u8</BaseURL>
      </Representation>
    </AdaptationSet>
    <AdaptationSet contentType="text" mimeType="text/vtt" lang="de">
      <Label>English</Label>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="caption"/>
      <Representation id="text-2" bandwidth="256">
        <BaseURL>../p/de/index.m3u8</BaseURL>
      </Representation>
    </AdaptationSet>
    <AdaptationSet contentType="text" mimeType="text/vtt" lang="fr">
      <Label>F &amp; &lt;R&gt;</Label>
      <Role schemeIdUri="urn:mpeg:dash:role:2011" value="forced-subtitle"/>
      <Representation id="text-3" bandwidth="256">
        <BaseURL>../p/fr/index.m3u8</BaseURL>
      </Representation>
    </AdaptationSet>
  </Period>
</MPD>
`
	got, err := AddToManifest([]byte(doc), entries())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Error(diff)
	}
	if err := xml.Unmarshal(got, new(struct{})); err != nil {
		t.Error(err)
	}
	if same, err := AddToManifest([]byte(doc), nil); err != nil || string(same) != doc {
		t.Errorf("without tracks it changed: %v", err)
	}
	if _, err := AddToManifest([]byte("<MPD><Period></Period><Period></Period></MPD>"), entries()); err == nil {
		t.Error("a manifest of two periods is taken")
	}
}
