package corpus_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/corpus"
)

// legalSources: at least forty sources are odd and legal; of each flash and beep are measured,
// or it says why not, and for no other reason than that there is nothing to measure.
func legalSources(t *testing.T, media []corpus.Medium) {
	t.Helper()
	legal, measured := map[string]bool{}, 0
	for _, m := range media {
		if !m.Legal {
			continue
		}
		legal[m.Name] = true
		if m.Want != corpus.Pass {
			t.Errorf("%s: want %s of a legal source", m.Name, m.Want)
		}
		switch {
		case m.Flashes > 0 && m.Unmeasured == "" && m.Audio > 0:
			measured++
		case m.Flashes > 0 || m.Unmeasured == "" || m.Audio > 0:
			t.Errorf("%s: %d flashes, %d tracks, unmeasured because %q", m.Name, m.Flashes, m.Audio, m.Unmeasured)
		default:
			t.Logf("%s: not measured, because %s", m.Name, m.Unmeasured)
		}
	}
	t.Logf("%d legal sources, flash and beep of %d measured", len(legal), measured)
	if measured < 40 {
		t.Errorf("flash and beep of only %d", measured)
	}
	// Twelve hours of black are a test of their own (pipeline.TestLongBlack): no flash, and too long for this one.
	for oddity, names := range map[string][]string{
		"no audio": {"no audio"}, "mono": {"mono"}, "5.1": {"5.1 of AC-3", "5.1 of E-AC-3 in TS"}, "7.1": {"7.1 of AAC"},
		"rotation": {"portrait with rotation", "turned by 180 degrees", "turned by 270 degrees", "mirrored", "upside down", "turned and mirrored"},
		"sizes":    {"odd size", "anamorphic", "16×16", "as wide as a ticker"}, "variable rate": {"variable frame rate", "slide show"},
		"10 bit": {"10 bit", "4:2:2 of 10 bit, H.264", "4:2:2 of 10 bit, ProRes HQ"}, "HDR": {"HDR10", "HLG"},
		"interlaced": {"interlaced H.264 in TS", "interlaced MPEG-2 in TS"}, "index": {"moov at the end", "AVI without its index", "AVI whose index leads nowhere", "Matroska whose cues lead nowhere"},
		"containers": {"chapters", "timecode track", "VP9 with alpha, Opus", "DNxHR", "DV in AVI", "DV without a container", "Windows Media", "cover art"},
		"tracks":     {"two languages", "four sound tracks", "two mono tracks"}, "one picture": {"one picture"},
		"time": {
			"negative time stamps", "negative time stamps in MP4", "an edit that begins in the middle", "an edit that begins late",
			"two edits of one film", "120 fps", "sound late, MP4", "picture late, Matroska",
		},
	} {
		for _, name := range names {
			if !legal[name] {
				t.Errorf("%s: there is no legal source %q", oddity, name)
			}
		}
	}
}

// The corpus has at least 250 cases, of which damage by luck (bits flipped,
// files cut off) is at most 80; no two are called the same, and the clips
// are the same each time.
func TestCorpusIsLargeAndTheSame(t *testing.T) {
	clips, err := corpus.MakeClips(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	can := corpus.Canary{URL: "http://127.0.0.1:1", File: "/nonexistent/canary"}
	first, err := clips.Media(t.Context(), can)
	if err != nil {
		t.Fatal(err)
	}
	legalSources(t, first)
	names := map[string]bool{}
	name := func(kind, n string) {
		if names[kind+n] || n == "" {
			t.Errorf("two cases of %s are called %q", kind, n)
		}
		names[kind+n] = true
	}
	damaged := 0
	for _, m := range first {
		name("media ", m.Name)
		if m.Want == corpus.Any || strings.Contains(m.Name, " cut at ") {
			damaged++
		}
	}
	for _, c := range corpus.Payloads() {
		name("payload ", c.Name)
	}
	for _, c := range corpus.Requests() {
		name("request ", c.Name)
	}
	for _, c := range corpus.Targets() {
		name("target ", c.URL)
	}
	for _, c := range corpus.Texts() {
		name("text ", c.Name)
	}
	t.Logf("%d cases: %d of media (%d of them damage), %d payloads, %d raw requests, %d webhook targets",
		len(names), len(first), damaged, len(corpus.Payloads()), len(corpus.Requests()), len(corpus.Targets()))
	if len(names)-damaged < 250 {
		t.Errorf("only %d cases beside the damage", len(names)-damaged)
	}
	if damaged > 80 {
		t.Errorf("%d cases are damage by luck", damaged)
	}
	again, err := corpus.MakeClips(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2][]byte{
		"mp4": {clips.MP4, again.MP4}, "mkv": {clips.MKV, again.MKV}, "ts": {clips.TS, again.TS}, "avi": {clips.AVI, again.AVI}, "flv": {clips.FLV, again.FLV},
		"ogg": {clips.Ogg, again.Ogg}, "asf": {clips.ASF, again.ASF}, "mxf": {clips.MXF, again.MXF}, "mpg": {clips.PS, again.PS},
	} {
		if !bytes.Equal(pair[0], pair[1]) {
			t.Errorf("the %s clip differs when it is made again", name)
		}
	}
}
