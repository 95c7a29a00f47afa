package corpus

import (
	"fmt"
	"strings"
	"unicode/utf16"
)

// Text is a document of subtitles and what must become of it.
type Text struct {
	Name string
	Body []byte
	// Code that it is refused with; empty: it is taken.
	Code string
	// Cues of what is taken, and how many more are dropped; −1: not said.
	Cues, Dropped int
	// Says must stand in what is written of it, Never must not; empty: not said.
	Says, Never string
}

// Texts are subtitles as strangers hand them in.
func Texts() []Text {
	const (
		unreadable = "text_unreadable"
		tooLarge   = "text_too_large"
		empty      = "text_empty"
		head       = "WEBVTT\n\n"
		one        = "00:01.000 --> 00:02.000\n"
		srt        = "1\n00:00:01,000 --> 00:00:02,000\n"
	)
	wide := func(s string, mark, big bool) []byte {
		units := utf16.Encode([]rune(s))
		if mark {
			units = append([]uint16{0xfeff}, units...)
		}
		var out []byte
		for _, u := range units {
			pair := []byte{byte(u), byte(u >> 8)}
			if big {
				pair = []byte{byte(u >> 8), byte(u)}
			}
			out = append(out, pair...)
		}
		return out
	}
	taken := func(name, body string, cues, dropped int, says, never string) Text {
		return Text{Name: name, Body: []byte(body), Cues: cues, Dropped: dropped, Says: says, Never: never}
	}
	refused := func(name, body, code string) Text { return Text{Name: name, Body: []byte(body), Code: code} }
	many := func(n int, text string) string {
		var out strings.Builder
		out.WriteString(head)
		for i := range n {
			fmt.Fprintf(&out, "%02d:%02d.000 --> %02d:%02d.500\n%s\n\n", i/60%60, i%60, i/60%60, i%60, text)
		}
		return out.String()
	}
	return []Text{
		// Character sets.
		{Name: "UTF-16LE with a mark", Body: wide(head+one+"grün\n", true, false), Cues: 1, Says: "grün"},
		{Name: "UTF-16BE with a mark", Body: wide(head+one+"grün\n", true, true), Cues: 1, Says: "grün"},
		{Name: "UTF-16LE without a mark", Body: wide(srt+"grün\n", false, false), Cues: 1, Says: "grün"},
		{Name: "half of a UTF-16 character at the end", Body: append(wide(srt+"x\n", true, false), 0xd8), Cues: 1, Says: "x"},
		{Name: "a lone surrogate", Body: append(wide(srt+"x", true, false), 0x00, 0xd8), Cues: 1, Says: "x\ufffd"},
		taken("Windows-1252", srt+"gr\xfcn \x80\n", 1, 0, "grün €", ""),
		taken("UTF-8 cut in a character", srt+"x \xe2\x82\n", 1, 0, "x ", ""),
		taken("a mark and bytes that are no UTF-8", "\xef\xbb\xbf"+srt+"x \xff\n", 1, 0, "x \ufffd", ""),
		taken("NUL within a text", head+one+"a\x00b\n", 1, 0, "a\ufffdb", "\x00"),
		taken("lines that end with CR alone", strings.ReplaceAll(head+one+"x\n", "\n", "\r"), 1, 0, "x", "\r"),

		// What it is not.
		refused("nothing", "", unreadable),
		refused("empty lines", "\n\n\n", unreadable),
		refused("a playlist", "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", unreadable),
		refused("HTML", "<html><body>00:01.000 --> 00:02.000</body></html>", unreadable),
		refused("a program", "\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00", unreadable),
		refused("Sub Station Alpha", "[Script Info]\nTitle: x\n[Events]\nDialogue: 0,0:00:01.00,0:00:02.00,x\n", unreadable),
		refused("TTML", "<?xml version=\"1.0\"?><tt xmlns=\"http://www.w3.org/ns/ttml\"/>", unreadable),
		taken("WEBVTT in a word, which is a SubRip of odd numbers", "WEBVTTX\n\n"+one+"x\n", 1, 0, "x", "WEBVTTX"),

		// Times.
		refused("a time below zero", head+"-00:01.000 --> 00:02.000\nx\n", unreadable),
		refused("a SubRip time below zero", "1\n-00:00:01,000 --> 00:00:02,000\nx\n", unreadable),
		refused("a time of words", head+"one --> two\nx\n", unreadable),
		refused("a time without end", head+"00:01.000 -->\nx\n", unreadable),
		refused("seconds of three digits", head+"00:100.000 --> 00:200.000\nx\n", unreadable),
		refused("a year", head+"00:01.000 --> 8760:00:00.000\nx\n", tooLarge),
		refused("a number that runs over", head+"99999999999999999999:00:01.000 --> 99999999999999999999:00:02.000\nx\n", unreadable),
		refused("cues that end before they begin, all of them", head+"00:02.000 --> 00:01.000\nx\n", empty),
		taken("one cue ends before it begins", head+"00:02.000 --> 00:01.000\ngone\n\n"+one+"stays\n", 1, 1, "stays", "gone"),
		taken("a cue of no time", head+"00:01.000 --> 00:01.000\ngone\n\n"+one+"stays\n", 1, 1, "stays", "gone"),
		taken("cues that overlap", head+"00:01.000 --> 00:09.000\na\n\n00:02.000 --> 00:03.000\nb\n\n00:01.000 --> 00:09.000\nc\n", 3, 0, "b", ""),
		taken("cues backwards", head+"00:03.000 --> 00:04.000\nb\n\n"+one+"a\n", 2, 0, "00:00:01.000 --> 00:00:02.000\na\n\n00:00:03.000", ""),

		// Bombs.
		refused("five MiB", head+one+strings.Repeat("x\n", 5<<19), tooLarge),
		refused("a cue of 9 KiB", head+one+strings.Repeat("x", 9<<10)+"\n", tooLarge),
		refused("sixty thousand cues", many(60_000, "x"), tooLarge),
		taken("four thousand cues", many(3600, "x"), 3600, 0, "00:59:59.000", ""),
		refused("nothing but cues without text", many(100, ""), empty),
		refused("an arrow on each of a hundred thousand lines", head+strings.Repeat("-->\n", 100_000), unreadable),
		taken("tags within tags", head+one+strings.Repeat("<i>", 1000)+"x"+strings.Repeat("</i>", 1000)+"\n", 1, 0, "x", ""),
		taken("a tag that does not end", head+one+"x"+strings.Repeat("<", 5000)+"\n", 1, 0, "x", ""),
		taken("settings of 100 kB", head+"00:01.000 --> 00:02.000 "+strings.Repeat("line:0 ", 14_000)+"\nx\n", 1, 0, "x", "line:0 line:0"),
		taken("a header of 100 kB", "WEBVTT "+strings.Repeat("x", 100_000)+"\n\n"+one+"stays\n", 1, 0, "stays", "xxxx"),
		taken("a comment of 100 kB", head+"NOTE\n"+strings.Repeat("x", 100_000)+"\n\n"+one+"stays\n", 1, 0, "stays", "xxxx"),

		// What browsers would run, and what would break a segment.
		taken("a script", head+one+"<script>alert(1)</script>x\n", 1, 0, "x", "<script"),
		taken("a script in SubRip", srt+"<script src=//evil.example/x.js></script>x\n", 1, 0, "x", "<script"),
		taken("a picture with a handler", srt+"<img src=x onerror=alert(1)>x\n", 1, 0, "x", "<img"),
		taken("a frame", srt+"<iframe src=javascript:alert(1)></iframe>x\n", 1, 0, "x", "<iframe"),
		taken("a style sheet that fetches", head+"STYLE\n::cue{background:url(https://evil.example/)}\n\n"+one+"x\n", 1, 0, "x", "evil"),
		taken("a region", head+"REGION\nid:fred\nwidth:40%\n\n"+one+"x\n", 1, 0, "x", "REGION"),
		taken("a clock of its own", "WEBVTT\nX-TIMESTAMP-MAP=MPEGTS:900000,LOCAL:00:00:00.000\n\n"+one+"x\n", 1, 0, "x", "900000"),
		taken("an arrow in a text", srt+"a --&gt; b\n", 1, 0, "--&gt;", "a --> b"),
		taken("colours and fonts", srt+"<font color=\"red\" face=\"x\">x</font>\n", 1, 0, "x", "<font"),
		taken("commands of Sub Station Alpha", srt+"{\\an8\\pos(1,1)}{\\p1}x\n", 1, 0, "x", "{\\"),
		taken("entities of all kinds", head+one+"&lt;script&gt;&amp;&nbsp;x\n", 1, 0, "&lt;script&gt;", "<script"),
	}
}
