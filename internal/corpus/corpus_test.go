package corpus_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/corpus"
)

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
