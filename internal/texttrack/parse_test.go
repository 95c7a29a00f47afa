package texttrack

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/unicode"
)

func at(h, m, s, ms int) time.Duration {
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second + time.Duration(ms)*time.Millisecond
}

func TestParse(t *testing.T) {
	second := func(text string) []Cue { return []Cue{{Start: time.Second, End: 2 * time.Second, Text: text}} }
	srt := func(text string) string { return "1\n00:00:01,000 --> 00:00:02,000\n" + text + "\n" }
	vtt := func(text string) string { return "WEBVTT\n\n00:01.000 --> 00:02.000\n" + text + "\n" }
	for _, c := range []struct {
		name, doc string
		want      []Cue
		dropped   int
	}{
		{"WebVTT", "WEBVTT - a title\nKind: captions\n\nNOTE\nsecret\n\nSTYLE\n::cue{background:url(//evil)}\n\nREGION\nid:a\n\nid 1\n00:00:01.000 --> 00:00:02.000 position:10%,line-left align:middle region:a size:999%\nhello\nworld\n", []Cue{{time.Second, 2 * time.Second, "position:10%,line-left align:center", "hello\nworld"}}, 0},
		{"WebVTT of CR and no last line end", strings.ReplaceAll(strings.TrimSpace(vtt("a\nb")), "\n", "\r"), second("a\nb"), 0},
		{"WebVTT with a byte order mark", "\ufeff" + vtt("ä"), second("ä"), 0},
		{"WebVTT cues in disorder, and two at once", "WEBVTT\n\n00:03.000 --> 00:04.000\nthird\n\n00:01.000 --> 00:09.000\nfirst\n\n00:01.000 --> 00:02.000\nsecond\n", []Cue{
			{Start: at(0, 0, 1, 0), End: at(0, 0, 9, 0), Text: "first"}, {Start: at(0, 0, 1, 0), End: at(0, 0, 2, 0), Text: "second"}, {Start: at(0, 0, 3, 0), End: at(0, 0, 4, 0), Text: "third"},
		}, 0},
		{"WebVTT beyond a day", "WEBVTT\n\n25:00:00.000 --> 30:59:59.999\nlate\n", []Cue{{Start: at(25, 0, 0, 0), End: at(30, 59, 59, 999), Text: "late"}}, 0},
		{"WebVTT tags", vtt(`<v.loud Ann & "Bob">Hi <b>there</v> <x onclick=1>you</x> <c.yellow.b:g>c</c> <00:00:01.500>&lt;now&gt; R&amp;D &nbsp;`), second("<v.loud Ann &amp; \"Bob\">Hi <b>there</b></v> you <c.yellow>c</c> <00:00:01.500>&lt;now&gt; R&amp;D"), 0},
		{"WebVTT tag without an end", vtt("a<b"), second("a"), 0},
		{"WebVTT cues that show nothing", "WEBVTT\n\n00:01.000 --> 00:02.000\n<b></b>\n\n00:02.000 --> 00:01.000\nback\n\n00:01.000 --> 00:02.000\nx\n", second("x"), 2},
		{"SubRip", "1\r\n00:00:01,000 --> 00:00:02,000 X1:1 X2:2 Y1:3 Y2:4\r\n{\\an8}<I>Hello</I> <font color=\"red\">red</font>\r\n\r\n2\r\n00:00:03,5 --> 00:00:04\r\n5 < 6 & 7 > 2 {x}\r\n", []Cue{
			{Start: at(0, 0, 1, 0), End: at(0, 0, 2, 0), Settings: "line:0", Text: "<i>Hello</i> red"},
			{Start: at(0, 0, 3, 500), End: at(0, 0, 4, 0), Text: "5 &lt; 6 &amp; 7 &gt; 2 {x}"},
		}, 0},
		{"SubRip without numbers, with dots, and an empty line in a text", "00:00:01.000 --> 00:00:02.000\na\n\nb\n00:00:03.000 --> 00:00:04.000\n1984\n", []Cue{
			{Start: at(0, 0, 1, 0), End: at(0, 0, 2, 0), Text: "a\nb"}, {Start: at(0, 0, 3, 0), End: at(0, 0, 4, 0), Text: "1984"},
		}, 0},
		{"SubRip entity of an empty line", srt("a&#10;&#10;b --&gt; c"), second("a\nb --&gt; c"), 0},
		{"SubRip in the corner", srt(`{\an1}x`), []Cue{{time.Second, 2 * time.Second, "align:left", "x"}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			doc, err := Parse([]byte(c.doc))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, doc.Cues); diff != "" || doc.Dropped != c.dropped {
				t.Errorf("dropped %d, want %d\n%s", doc.Dropped, c.dropped, diff)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct {
		name, doc, code string
		line            int
	}{
		{"nothing", "", CodeUnreadable, 0},
		{"prose", "Once upon a time.\n", CodeUnreadable, 0},
		{"JSON", `{"a":"00:00:01,000 --> 00:00:02,000"}`, CodeUnreadable, 0},
		{"a header only", "WEBVTT\n", CodeEmpty, 0},
		{"a time of words", "WEBVTT\n\n00:01.000 --> soon\nx\n", CodeUnreadable, 3},
		{"61 seconds", "WEBVTT\n\n00:61.000 --> 01:02.000\nx\n", CodeUnreadable, 3},
		{"negative times", "WEBVTT\n\n-00:01.000 --> 00:02.000\nx\n", CodeUnreadable, 3},
		{"a block without times", "WEBVTT\n\nx\ny\n", CodeUnreadable, 3},
		{"times in a text", "WEBVTT\n\n00:01.000 --> 00:02.000\nx\n00:03.000 --> 00:04.000\ny\n", CodeUnreadable, 5},
		{"SubRip whose second cue is broken", "1\n00:00:01,000 --> 00:00:02,000\nx\n\n2\n00:00:03,000 --> 0x\ny\n", CodeUnreadable, 6},
		{"the end of time", "WEBVTT\n\n00:01.000 --> 9999:02:00.000\nx\n", CodeTooLarge, 3},
		{"a long text", "WEBVTT\n\n00:01.000 --> 00:02.000\n" + strings.Repeat("x", MaxCueText+1), CodeTooLarge, 3},
		{"too many cues", "WEBVTT\n" + strings.Repeat("\n00:01.000 --> 00:02.000\nx\n", MaxCues+1), CodeTooLarge, 3*MaxCues + 3},
		{"too many bytes", "WEBVTT\n" + strings.Repeat("\n", MaxBytes), CodeTooLarge, 0},
		{"binary", "\x00\x01\x02\x03\xff\xfe\x00\x00", CodeUnreadable, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse([]byte(c.doc))
			var bad *Error
			if !errors.As(err, &bad) || bad.Code != c.code || bad.Line != c.line {
				t.Errorf("got %v, want %s in line %d", err, c.code, c.line)
			}
		})
	}
}

// The same words in each character set are the same cues.
func TestCharacterSets(t *testing.T) {
	const doc = "1\r\n00:00:01,000 --> 00:00:02,000\r\nÄpfel für 3 €\r\n"
	encode := func(b []byte, err error) []byte {
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, data := range map[string][]byte{
		"UTF-8":                       []byte(doc),
		"UTF-8 with its mark":         []byte("\ufeff" + doc),
		"UTF-16LE with its mark":      encode(unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().Bytes([]byte(doc))),
		"UTF-16BE with its mark":      encode(unicode.UTF16(unicode.BigEndian, unicode.UseBOM).NewEncoder().Bytes([]byte(doc))),
		"UTF-16LE without":            encode(unicode.UTF16(unicode.LittleEndian, unicode.IgnoreBOM).NewEncoder().Bytes([]byte(doc))),
		"UTF-16BE without":            encode(unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM).NewEncoder().Bytes([]byte(doc))),
		"Windows-1252, of DOS' heirs": encode(charmap.Windows1252.NewEncoder().Bytes([]byte(doc))),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(data)
			if err != nil || len(got.Cues) != 1 || got.Cues[0].Text != "Äpfel für 3 €" {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// What is written of a document that was read is read as the same cues, in
// whole and from the segments.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"WEBVTT\n\n1\n00:00:01.000 --> 00:01:02.000 line:0 align:start\n<v Ann>a<b>c</b>\n&lt;\n",
		"1\n00:00:01,000 --> 25:00:02,000\n{\\an8}<i>x\n\n2\n00:00:03,000 --> 00:00:04,000\na < b\n",
		"\xff\xfe1\x00\n\x00", "WEBVTT\n\n00:01.000 --> 00:02.000\n<lang.a en><ruby>a<rt>b</ruby><00:00:01.000>\n",
		"WEBVTT\n\n00:01.000 --> 00:02.000\n&#10;&#10;&#x2028;&zwnj;\n<c.a.b.c></c>x\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := Parse(data)
		if err != nil {
			var bad *Error
			if !errors.As(err, &bad) {
				t.Fatalf("%v is no *Error", err)
			}
			return
		}
		again, err := Parse(Whole(doc.Cues))
		if err != nil {
			t.Fatalf("%v of our own\n%s", err, Whole(doc.Cues))
		}
		if diff := cmp.Diff(doc.Cues, again.Cues); diff != "" || again.Dropped != 0 {
			t.Fatalf("read again they differ:\n%s", diff)
		}
		segments, err := Split(doc.Cues, 5*time.Minute)
		if err != nil {
			return
		}
		for i, s := range segments {
			if s.End-s.Start > Grid || s.Start != time.Duration(i)*Grid {
				t.Fatalf("segment %d is %v to %v", i, s.Start, s.End)
			}
			for _, c := range s.Cues {
				if c.Start >= s.End || c.End <= s.Start {
					t.Fatalf("a cue of %v to %v in the segment %v to %v", c.Start, c.End, s.Start, s.End)
				}
			}
			if len(s.Cues) > 0 {
				if got, err := Parse(s.Bytes(90000)); err != nil || !cmp.Equal(got.Cues, s.Cues) {
					t.Fatalf("segment %d: %v", i, err)
				}
			}
		}
	})
}
