package texttrack

import (
	"html"
	"strings"
	"unicode"
)

// cueText spells a cue's text anew as WebVTT (W3C WebVTT, 4.2): the tags that
// it knows stay, balanced; everything else of markup is left out, and what is
// text is escaped. SubRip has b, i and u, and its other angle brackets are text
// unless they look like a tag.
func cueText(s string, subrip bool) string {
	m := &markup{subrip: subrip}
	ends := tagEnds{s: s}
	for at := 0; at < len(s); {
		i := strings.IndexByte(s[at:], '<')
		if i < 0 {
			m.text(s[at:])
			break
		}
		m.text(s[at : at+i])
		at += i
		end := ends.after(at)
		switch {
		case subrip && (end < 0 || !looksLikeTag(s[at:])):
			m.text("<")
			at++
		case end < 0: // a tag without an end: the rest is part of it
			at = len(s)
		default:
			m.tag(s[at+1 : end])
			at = end + 1
		}
	}
	return m.finish()
}

// tagEnds looks for the ends of tags from left to right; it looks at each byte
// once, however many beginnings there are.
type tagEnds struct {
	s    string
	seen int // bytes that were looked at
	next int // where the last one that was found is
	none bool
}

// after gives where the first > after at is, or -1. at never falls.
func (e *tagEnds) after(at int) int {
	if !e.none && e.next <= at {
		e.seen = max(e.seen, at)
		i := strings.IndexByte(e.s[e.seen:], '>')
		if e.none = i < 0; e.none {
			e.seen = len(e.s)
		} else {
			e.next = e.seen + i
			e.seen = e.next + 1
		}
	}
	if e.none {
		return -1
	}
	return e.next
}

// looksLikeTag reports whether a SubRip text that begins with < begins with a
// tag, when it has an end.
func looksLikeTag(s string) bool {
	s = strings.TrimPrefix(s[1:], "/")
	return s != "" && (s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z')
}

type markup struct {
	out    strings.Builder
	open   []string
	subrip bool
	shown  bool // something that can be seen
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func (m *markup) text(s string) {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\u200e' || r == '\u200f': // &lrm; and &rlm;
			return r
		case r == '\t':
			return ' '
		case unicode.IsControl(r):
			return -1
		}
		return r
	}, html.UnescapeString(s))
	m.shown = m.shown || strings.TrimSpace(s) != ""
	m.out.WriteString(escaper.Replace(s))
}

// maxOpen bounds the tags that are open at once.
const maxOpen = 16

func (m *markup) tag(s string) {
	if name, ok := strings.CutPrefix(s, "/"); ok {
		m.close(strings.ToLower(strings.TrimSpace(name)))
		return
	}
	head, annotation := s, ""
	if i := strings.IndexAny(s, " \t\n"); i >= 0 {
		head, annotation = s[:i], cleanAnnotation(s[i:])
	}
	name, classes, _ := strings.Cut(head, ".")
	if m.subrip {
		name, classes, annotation = strings.ToLower(name), "", ""
	}
	if len(m.open) == maxOpen {
		return
	}
	known := []string{"b", "i", "u"}
	if !m.subrip {
		if at, ok := timestamp(head); ok && at <= MaxTime {
			m.out.WriteString("<" + clock(at) + ">") // what follows is shown from then on
			return
		}
		known = []string{"b", "i", "u", "c", "v", "lang", "ruby", "rt"}
	}
	if !oneOf(name, known...) {
		return
	}
	m.out.WriteString("<" + name + cleanClasses(classes))
	if annotation != "" && (name == "v" || name == "lang") {
		m.out.WriteString(" " + annotation)
	}
	m.out.WriteByte('>')
	m.open = append(m.open, name)
}

// close ends a tag and those inside it; one that is not open is left out.
func (m *markup) close(name string) {
	for i := len(m.open) - 1; i >= 0; i-- {
		if m.open[i] == name {
			m.closeFrom(i)
			return
		}
	}
}

func (m *markup) closeFrom(i int) {
	for n := len(m.open) - 1; n >= i; n-- {
		m.out.WriteString("</" + m.open[n] + ">")
	}
	m.open = m.open[:i]
}

func (m *markup) finish() string {
	if !m.shown {
		return ""
	}
	m.closeFrom(0)
	var lines []string
	for line := range strings.SplitSeq(m.out.String(), "\n") {
		// An empty line would end the cue.
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// cleanClasses keeps class names of letters, digits, - and _.
func cleanClasses(s string) string {
	var out strings.Builder
	for i, class := range strings.Split(s, ".") {
		if i < 8 && class != "" && len(class) <= 32 && strings.Trim(class, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") == "" {
			out.WriteString("." + class)
		}
	}
	return out.String()
}

// cleanAnnotation makes the name of a voice, or a language, fit for a tag.
func cleanAnnotation(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, html.UnescapeString(s))
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > 128 {
		s = string(r[:128])
	}
	return escaper.Replace(s)
}
