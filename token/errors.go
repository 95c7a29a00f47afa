package token

// Codes of the errors that Verify and Covers give. They are part of the wire
// contract: the API answers with them.
const (
	CodeInvalid     = "invalid_token"       // malformed, bad signature, unknown or unsupported claim: told apart by nobody
	CodeTooLarge    = "token_too_large"     // more than MaxSize bytes
	CodeExpired     = "token_expired"       // exp is now or in the past
	CodeNotYetValid = "token_not_yet_valid" // nbf or iat lies in the future
	CodeTTLExceeded = "token_ttl_exceeded"  // exp lies more than MaxTTL ahead
	CodeMismatch    = "token_mismatch"      // a good token of another title
)

// Error is a refusal. It compares by value: errors.Is(err, Error{CodeExpired}).
// Its text is the same for every token that is refused with one code, so that
// a stranger learns nothing about where a forgery went wrong.
type Error struct{ Code string }

var texts = map[string]string{
	CodeInvalid:     "the token is not valid",
	CodeTooLarge:    "the token is too large",
	CodeExpired:     "the token has expired",
	CodeNotYetValid: "the token is not valid yet",
	CodeTTLExceeded: "the token lives longer than allowed",
	CodeMismatch:    "the token is for another title",
}

// Error implements error with one sentence per code.
func (e Error) Error() string {
	if text, ok := texts[e.Code]; ok {
		return text
	}
	return texts[CodeInvalid]
}
