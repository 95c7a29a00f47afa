package texttrack

import (
	"fmt"
	"time"
)

// What a document may have. A feature film has some 1,500 cues in 100 KB.
const (
	MaxBytes   = 4 << 20         // of a document as it comes
	MaxCues    = 50_000          // of a document
	MaxCueText = 8 << 10         // bytes of one cue, markup included
	MaxTime    = 100 * time.Hour // the end of the last cue
	maxOutput  = 64 << 20        // bytes of all segments: a cue is repeated in each that it spans
)

// Cue is a text and when it is shown.
type Cue struct {
	Start, End time.Duration // whole milliseconds from the beginning of the film; End is after Start
	Settings   string        // WebVTT cue settings, in our spelling; may be empty
	Text       string        // WebVTT cue text, in our spelling; lines end with \n, the last one does not
}

// Document is what was read of a stranger's file.
type Document struct {
	Format  Format
	Cues    []Cue // by their start
	Dropped int   // cues that show nothing, or end before they start
}

// Format is how a document is spelled.
type Format string

// The formats.
const (
	WebVTT Format = "webvtt" // W3C WebVTT
	SubRip Format = "srt"
)

// The codes of an Error.
const (
	CodeTooLarge   = "text_too_large"  // more bytes, cues or output than is allowed
	CodeUnreadable = "text_unreadable" // neither WebVTT nor SubRip, or a line that is wrong
	CodeEmpty      = "text_empty"      // no cue that shows something
)

// Error says why a document is refused. The message is fit for strangers.
type Error struct {
	Code    string
	Line    int // from 1 on; 0: the document as a whole
	Message string
}

// Error implements error.
func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("%s: line %d: %s", e.Code, e.Line, e.Message)
	}
	return e.Code + ": " + e.Message
}

func unreadable(line int, format string, args ...any) *Error {
	return &Error{CodeUnreadable, line, fmt.Sprintf(format, args...)}
}

func tooLarge(line int, format string, args ...any) *Error {
	return &Error{CodeTooLarge, line, fmt.Sprintf(format, args...)}
}
