package pipeline

import (
	"errors"
	"fmt"
)

// Error is a fault with a stable code and a sentence that a stranger may read.
// Err is the full story and belongs in the log.
type Error struct {
	Code      string
	Message   string
	Permanent bool // another attempt would fail the same way
	Err       error
}

// Error implements error with code, sentence and cause.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s: %v", e.Code, e.Message, e.Err)
	}
	return e.Code + ": " + e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// The codes that Run answers with. Source faults and option faults are
// permanent, all others may pass with another attempt.
const (
	CodeOptionsInvalid     = "options_invalid"
	CodeSourceNotFound     = "source_not_found"
	CodeSourceEmpty        = "source_empty"
	CodeSourceTooLarge     = "source_too_large"
	CodeSourceUnreadable   = "source_unreadable"
	CodeSourceUnsupported  = "source_unsupported"
	CodeSourceNoVideo      = "source_no_video"
	CodeSourceNoAudio      = "source_no_audio" // of sound alone
	CodeSourceTruncated    = "source_truncated"
	CodeSourceChanged      = "source_changed"
	CodeSourceHashMismatch = "source_hash_mismatch"
	CodeTimeBudget         = "time_budget_exceeded"
	CodeEncodeFailed       = "encode_failed"
	CodeStalled            = "stalled"
	CodePackFailed         = "pack_failed"
	CodeVerifyFailed       = "verify_failed"
	CodeStoreUnavailable   = "store_unavailable"
	CodeKeyUnavailable     = "key_unavailable"
	CodeOutOfMemory        = "out_of_memory" // a light attempt may succeed
)

func permanent(code, message string, err error) *Error {
	return &Error{Code: code, Message: message, Permanent: true, Err: err}
}

func transient(code, message string, err error) *Error {
	return &Error{Code: code, Message: message, Err: err}
}

// asError makes sure that what leaves Run is an Error; what has no code yet
// gets the given one and may be tried again.
func asError(err error, code, message string) error {
	var e *Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return transient(code, message, err)
}
