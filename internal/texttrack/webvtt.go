package texttrack

import (
	"regexp"
	"strings"
)

// isHeader tells the first line of a WebVTT file (W3C WebVTT, 4.1).
func isHeader(line string) bool {
	rest, ok := strings.CutPrefix(line, "WEBVTT")
	return ok && (rest == "" || rest[0] == ' ' || rest[0] == '\t')
}

// webvtt reads the blocks after the header. Comments, style sheets and regions
// are left out.
func (r *reader) webvtt() error {
	r.block() // the header and its metadata
	for {
		lines, first := r.block()
		if len(lines) == 0 {
			return nil
		}
		if err := r.webvttBlock(lines, first); err != nil {
			return err
		}
	}
}

func (r *reader) webvttBlock(lines []string, first int) error {
	at := 0
	if !strings.Contains(lines[0], arrow) {
		switch word, _, _ := strings.Cut(strings.TrimSpace(lines[0]), " "); word {
		case "NOTE", "STYLE", "REGION":
			return nil
		}
		if len(lines) == 1 || !strings.Contains(lines[1], arrow) {
			return unreadable(first, "a block that is neither a cue nor a NOTE, STYLE or REGION")
		}
		at = 1 // an identifier
	}
	start, end, settings, ok := timing(lines[at])
	if !ok {
		return unreadable(first+at, "want times such as 00:00:01.000 --> 00:00:03.500")
	}
	text := lines[at+1:]
	for i, line := range text {
		if strings.Contains(line, arrow) {
			return unreadable(first+at+1+i, "an empty line is missing before the times of a cue")
		}
	}
	return r.add(Cue{Start: start, End: end, Settings: cleanSettings(settings), Text: cueText(strings.Join(text, "\n"), false)}, first+at)
}

// encoderTimes is the line of times as ffmpeg's WebVTT muxer writes it.
var encoderTimes = regexp.MustCompile(`^(?:\d{2,}:)?\d{2}:\d{2}\.\d{3} --> (?:\d{2,}:)?\d{2}:\d{2}\.\d{3}(?: .*)?$`)

// ParseEncoded reads WebVTT that ffmpeg wrote. It spells subtitles of other
// formats as they come: with empty lines and arrows inside a text, and angle
// brackets that are no markup but b, i and u. A cue begins with times after an
// empty line, everything up to the next one is its text; one that is too long
// is left out and counted. Its error is an *Error.
func ParseEncoded(data []byte) (Document, error) {
	text, err := decodeText(data)
	if err != nil {
		return Document{}, err
	}
	lines := strings.Split(text, "\n")
	if !isHeader(lines[0]) {
		return Document{}, unreadable(1, "want WEBVTT")
	}
	doc := Document{Format: WebVTT}
	r := &reader{lines: lines, doc: &doc}
	begins := func(i int) bool {
		return strings.TrimSpace(lines[i-1]) == "" && encoderTimes.MatchString(lines[i])
	}
	for at := 1; at < len(lines); {
		if !begins(at) {
			at++ // the header's metadata
			continue
		}
		first := at
		for at++; at < len(lines) && !begins(at); at++ {
		}
		start, end, settings, ok := timing(lines[first])
		said := cueText(strings.Join(lines[first+1:at], "\n"), true)
		if !ok || len(said) > MaxCueText || end > MaxTime {
			doc.Dropped++
			continue
		}
		if err := r.add(Cue{Start: start, End: end, Settings: cleanSettings(settings), Text: said}, first+1); err != nil {
			return Document{}, err
		}
	}
	return doc.finish()
}
