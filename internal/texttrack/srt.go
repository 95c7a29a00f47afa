package texttrack

import (
	"regexp"
	"strings"
)

// subrip reads cues: a number, which may be missing, the times, and lines of
// text until the next cue. Empty lines inside a text are left out, as they would
// end it in WebVTT.
func (r *reader) subrip() error {
	for {
		line, ok := r.nextTimes()
		if !ok {
			return nil
		}
		start, end, _, ok := timing(r.lines[line]) // what follows are coordinates
		if !ok {
			return unreadable(line+1, "want times such as 00:00:01,000 --> 00:00:03,500")
		}
		settings, text := alignment(strings.Join(r.subripText(), "\n"))
		if err := r.add(Cue{Start: start, End: end, Settings: settings, Text: cueText(text, true)}, line+1); err != nil {
			return err
		}
	}
}

// nextTimes steps over the next line with times.
func (r *reader) nextTimes() (int, bool) {
	for ; r.at < len(r.lines); r.at++ {
		if strings.Contains(r.lines[r.at], arrow) {
			r.at++
			return r.at - 1, true
		}
	}
	return 0, false
}

// subripText returns the lines until the next cue's times, without its number.
func (r *reader) subripText() []string {
	var text []string
	for ; r.at < len(r.lines) && !strings.Contains(r.lines[r.at], arrow); r.at++ {
		if line := strings.TrimSpace(r.lines[r.at]); line != "" {
			text = append(text, line)
		}
	}
	if n := len(text); n > 0 && r.at < len(r.lines) && r.at > 0 {
		if _, ok := digits(strings.TrimSpace(r.lines[r.at-1])); ok {
			return text[:n-1]
		}
	}
	return text
}

// override is a command of Sub Station Alpha that SubRip files carry.
var override = regexp.MustCompile(`\{\\[^{}\n]{0,64}\}`)

// alignment takes the commands out of a text; \an1 to \an9, the place on the
// number pad, becomes settings.
func alignment(text string) (settings, rest string) {
	place := byte('2')
	rest = override.ReplaceAllStringFunc(text, func(s string) string {
		if strings.HasPrefix(s, `{\an`) && len(s) == len(`{\an8}`) && s[4] >= '1' && s[4] <= '9' {
			place = s[4]
		}
		return ""
	})
	var list []string
	switch {
	case place >= '7':
		list = append(list, "line:0")
	case place >= '4':
		list = append(list, "line:50%")
	}
	switch (place - '0') % 3 {
	case 1:
		list = append(list, "align:left")
	case 0:
		list = append(list, "align:right")
	}
	return strings.Join(list, " "), rest
}
