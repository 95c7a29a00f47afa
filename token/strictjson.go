package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

const maxDepth = 8

var errJSON = errors.New("not a strict JSON object")

// parseObject reads one JSON object (RFC 8259) whose names are unique at every
// depth, in valid UTF-8, with nothing behind it. Names keep their exact
// spelling: decoding into a struct would fold case and keep the last of two.
func parseObject(data []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(data) {
		return nil, errJSON
	}
	if err := checkNames(data); err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil || members == nil {
		return nil, errJSON
	}
	return members, nil
}

// checkNames walks all tokens and refuses a name that an object has twice, a
// name with a lone surrogate, and deep nesting. Syntax is json.Unmarshal's.
func checkNames(data []byte) error {
	type level struct {
		names map[string]bool // nil in an array
		value bool            // in an object: the next token is a value
	}
	var stack []level
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	for {
		tok, err := dec.Token()
		if err != nil {
			return errJSON
		}
		if d, ok := tok.(json.Delim); ok && (d == '}' || d == ']') {
			stack = stack[:len(stack)-1]
		} else {
			if n := len(stack); n > 0 && stack[n-1].names != nil && !stack[n-1].value {
				name, _ := tok.(string)
				if stack[n-1].names[name] || strings.ContainsRune(name, utf8.RuneError) {
					return errJSON
				}
				stack[n-1].names[name], stack[n-1].value = true, true
				continue
			}
			switch {
			case ok && len(stack) == maxDepth:
				return errJSON
			case ok && d == '{':
				stack = append(stack, level{names: map[string]bool{}})
				continue
			case ok:
				stack = append(stack, level{})
				continue
			}
		}
		if len(stack) == 0 {
			return nil // one value is complete; Unmarshal refuses what follows it
		}
		stack[len(stack)-1].value = false
	}
}

func parseString(raw json.RawMessage) (string, error) {
	var s *string
	if err := json.Unmarshal(raw, &s); err != nil || s == nil || strings.ContainsRune(*s, utf8.RuneError) {
		return "", errJSON
	}
	return *s, nil
}

func parseStrings(raw json.RawMessage, most int) ([]string, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || list == nil || len(list) > most {
		return nil, errJSON
	}
	var out []string
	for _, item := range list {
		s, err := parseString(item)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// parseTime reads seconds since 1970 as a JSON integer: digits alone, no sign,
// fraction or exponent, at most the year 9999.
func parseTime(raw json.RawMessage) (time.Time, error) {
	s := string(raw)
	if s == "" || len(s) > 12 || strings.Trim(s, "0123456789") != "" {
		return time.Time{}, errJSON
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n > maxUnix {
		return time.Time{}, errJSON
	}
	return time.Unix(n, 0), nil
}
