package texttrack

import (
	"slices"
	"strings"
	"time"
)

// Parse reads a document, whichever format it has. Its error is an *Error.
// What cannot be meant otherwise is taken as it is in the wild (line ends,
// character sets, SubRip with dots for commas); a time that cannot be read
// refuses the document and names the line, for a cue left out is not noticed.
func Parse(data []byte) (Document, error) {
	text, err := decodeText(data)
	if err != nil {
		return Document{}, err
	}
	lines := strings.Split(text, "\n")
	doc := Document{Format: sniff(lines)}
	r := &reader{lines: lines, doc: &doc}
	switch doc.Format {
	case WebVTT:
		err = r.webvtt()
	case SubRip:
		err = r.subrip()
	default:
		return Document{}, unreadable(0, "neither WebVTT, whose first line is WEBVTT, nor SubRip, which has lines such as 00:00:01,000 --> 00:00:03,500")
	}
	if err != nil {
		return Document{}, err
	}
	return doc.finish()
}

// finish sorts the cues by their start.
func (d Document) finish() (Document, error) {
	if len(d.Cues) == 0 {
		return Document{}, &Error{Code: CodeEmpty, Message: "the document has no cue that shows something"}
	}
	slices.SortStableFunc(d.Cues, func(a, b Cue) int { return int((a.Start - b.Start).Milliseconds()) })
	return d, nil
}

// sniff looks at the first lines: WebVTT says what it is, SubRip shows it.
func sniff(lines []string) Format {
	if len(lines) > 0 && isHeader(lines[0]) {
		return WebVTT
	}
	seen := 0
	for _, line := range lines {
		if strings.TrimSpace(line) == "" {
			continue
		}
		if seen++; seen > 2 { // a number and the times
			return ""
		}
		if strings.Contains(line, arrow) {
			if _, _, _, ok := timing(line); ok {
				return SubRip
			}
			return ""
		}
	}
	return ""
}

const arrow = "-->"

// reader walks the lines of a document.
type reader struct {
	lines []string
	at    int
	doc   *Document
}

// block returns the lines until the next empty one and the number of the first.
func (r *reader) block() (lines []string, first int) {
	for r.at < len(r.lines) && strings.TrimSpace(r.lines[r.at]) == "" {
		r.at++
	}
	start := r.at
	for r.at < len(r.lines) && strings.TrimSpace(r.lines[r.at]) != "" {
		r.at++
	}
	return r.lines[start:r.at], start + 1
}

// add keeps a cue, or counts it as dropped.
func (r *reader) add(c Cue, line int) error {
	switch {
	case len(c.Text) > MaxCueText:
		return tooLarge(line, "a cue has more than %d bytes of text", MaxCueText)
	case c.End > MaxTime:
		return tooLarge(line, "a cue ends after %d hours", int(MaxTime.Hours()))
	case c.End <= c.Start || c.Text == "":
		r.doc.Dropped++
		return nil
	case len(r.doc.Cues) == MaxCues:
		return tooLarge(line, "more than %d cues", MaxCues)
	}
	r.doc.Cues = append(r.doc.Cues, c)
	return nil
}

// timing reads "start --> end" and returns what follows.
func timing(line string) (start, end time.Duration, rest string, ok bool) {
	from, to, ok := strings.Cut(line, arrow)
	if !ok {
		return 0, 0, "", false
	}
	to = strings.TrimLeft(to, " \t")
	if i := strings.IndexAny(to, " \t"); i >= 0 {
		to, rest = to[:i], strings.TrimSpace(to[i:])
	}
	start, ok1 := timestamp(strings.TrimSpace(from))
	end, ok2 := timestamp(to)
	return start, end, rest, ok1 && ok2
}

// timestamp reads [hours:]minutes:seconds.milliseconds (W3C WebVTT, 4.3), with
// a comma in SubRip. A fraction may be shorter or missing, as it is in the wild.
func timestamp(s string) (time.Duration, bool) {
	whole, fraction, _ := strings.Cut(strings.Replace(s, ",", ".", 1), ".")
	parts := strings.Split(whole, ":")
	if len(parts) < 2 || len(parts) > 3 || len(fraction) > 3 {
		return 0, false
	}
	sum := 0
	for i, p := range parts {
		n, ok := digits(p)
		if !ok || i > 0 && (n > 59 || len(p) > 2) || len(p) > 4 {
			return 0, false
		}
		sum = sum*60 + n
	}
	ms := 0
	if fraction != "" {
		n, ok := digits((fraction + "00")[:3])
		if !ok {
			return 0, false
		}
		ms = n
	}
	return time.Duration(sum)*time.Second + time.Duration(ms)*time.Millisecond, true
}

func digits(s string) (int, bool) {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, s != "" && len(s) < 10
}
