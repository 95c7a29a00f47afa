package texttrack

import "strings"

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
