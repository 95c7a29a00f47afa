package texttrack

import (
	"strconv"
	"strings"
)

// cleanSettings keeps the settings of W3C WebVTT, 4.5, that are well formed,
// each once. A region is left out: its definition is.
func cleanSettings(s string) string {
	var out []string
	seen := map[string]bool{}
	for i, field := range strings.Fields(s) {
		if i >= 16 {
			break
		}
		name, value, ok := strings.Cut(field, ":")
		if value, ok = cleanSetting(name, value, ok); ok && !seen[name] {
			seen[name] = true
			out = append(out, name+":"+value)
		}
	}
	return strings.Join(out, " ")
}

func cleanSetting(name, value string, ok bool) (string, bool) {
	if !ok {
		return "", false
	}
	switch name {
	case "vertical":
		return value, value == "rl" || value == "lr"
	case "align":
		if value == "middle" { // of an early draft, and still common
			value = "center"
		}
		return value, oneOf(value, "start", "center", "end", "left", "right")
	case "size":
		return percentage(value)
	case "position":
		return aligned(value, percentage, "line-left", "center", "line-right")
	case "line":
		return aligned(value, line, "start", "center", "end")
	}
	return "", false
}

// aligned reads a value that an alignment may follow after a comma.
func aligned(value string, read func(string) (string, bool), alignments ...string) (string, bool) {
	number, alignment, more := strings.Cut(value, ",")
	number, ok := read(number)
	if !more {
		return number, ok
	}
	return number + "," + alignment, ok && oneOf(alignment, alignments...)
}

func percentage(s string) (string, bool) {
	number, ok := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(number, 64)
	ok = ok && err == nil && len(number) <= 8 && strings.Trim(number, "0123456789.") == "" && f <= 100
	return number + "%", ok
}

// line is a percentage or the number of a line, from the bottom if negative.
func line(s string) (string, bool) {
	if strings.HasSuffix(s, "%") {
		return percentage(s)
	}
	_, ok := digits(strings.TrimPrefix(s, "-"))
	return s, ok && len(s) <= 4
}

func oneOf(value string, of ...string) bool {
	for _, v := range of {
		if value == v {
			return true
		}
	}
	return false
}
