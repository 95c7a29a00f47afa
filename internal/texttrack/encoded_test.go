package texttrack

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What ffmpeg 5.1 makes of ASS and SubRip: empty lines, arrows and angle
// brackets inside a text lose no cue.
func TestParseEncoded(t *testing.T) {
	doc, err := ParseEncoded([]byte("WEBVTT\n\n00:01.000 --> 00:02.000\none\n\ntwo\n\n00:03.000 --> 00:04.000\nx --> y\n<i>z</i>\n\n" +
		"00:05.000 --> 00:06.000\nthree\n00:00:07.000 --> 00:00:08.000\nfour\n\n01:00:09.000 --> 01:00:10.000\na < b & c <3 you <font>x</font>\n\n" +
		"00:11.000 --> 00:12.000\n" + strings.Repeat("long ", MaxCueText) + "\n\n00:13.000 --> 00:14.000\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := time.Second
	want := Document{Format: WebVTT, Dropped: 2, Cues: []Cue{
		{Start: 1 * s, End: 2 * s, Text: "one\ntwo"},
		{Start: 3 * s, End: 4 * s, Text: "x --&gt; y\n<i>z</i>"},
		{Start: 5 * s, End: 6 * s, Text: "three\n00:00:07.000 --&gt; 00:00:08.000\nfour"},
		{Start: time.Hour + 9*s, End: time.Hour + 10*s, Text: "a &lt; b &amp; c &lt;3 you x"},
	}}
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Error(diff)
	}
	for _, none := range []string{"", "WEBVTT", "WEBVTT\n\n", "1\n00:01.000 --> 00:02.000\nx", "\xff\xfe\x00"} {
		var bad *Error
		if _, err := ParseEncoded([]byte(none)); !errors.As(err, &bad) {
			t.Errorf("%q: %v", none, err)
		}
	}
}

// A text of nothing but beginnings of tags is looked at once, not once for each
// of them: the largest document would take minutes.
func TestTagsWithoutEnds(t *testing.T) {
	const head = "1\n00:00:01,000 --> 00:00:02,000\n"
	for _, hostile := range []string{
		strings.Repeat("<a", MaxBytes/2-len(head)), strings.Repeat("<1", MaxBytes/2-len(head)) + ">", strings.Repeat("</", MaxBytes/2-len(head)),
	} {
		var bad *Error
		if _, err := Parse([]byte(head + hostile)); !errors.As(err, &bad) || bad.Code != CodeTooLarge {
			t.Errorf("%.10s: %v", hostile, err)
		}
	}
	for text, want := range map[string]string{
		"a <b>c</b> <d": "a <b>c</b> &lt;d", "1 < 2 > 0": "1 &lt; 2 &gt; 0", "<<i>x</i>": "&lt;<i>x</i>", "x<a<b>y": "xy", "<": "&lt;",
	} {
		if got := cueText(text, true); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
