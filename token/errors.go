package token

// Codes of the errors that Verify gives, and those that whoever holds a grant
// against a resource adds. They are part of the wire contract: the API answers
// with them.
const (
	CodeInvalid      = "invalid_token"       // malformed, bad signature, unknown or unsupported claim: told apart by nobody
	CodeTooLarge     = "token_too_large"     // more than MaxSize bytes, or MaxPathSize in a path
	CodeExpired      = "token_expired"       // exp is now or in the past
	CodeNotYetValid  = "token_not_yet_valid" // nbf or iat lies in the future
	CodeTTLExceeded  = "token_ttl_exceeded"  // exp lies further ahead than the signing key or the policy allows
	CodeIssuer       = "issuer_mismatch"     // the signing key records another issuer
	CodeRevoked      = "token_revoked"       // it, its session, user, tag or signing key has been revoked
	CodeMismatch     = "token_mismatch"      // a good token of another title
	CodeScope        = "insufficient_scope"  // aud does not cover the route
	CodeNotAllowed   = "scope_not_allowed"   // a wildcard or an environment that the signing key may not
	CodeIP           = "ip_denied"           // the client's address
	CodeReferer      = "referer_denied"      // the page that asks
	CodeKeyRevoked   = "playback_key_revoked"
	CodeKeyNotActive = "playback_key_inactive" // disabled, or outside of its not_before and not_after
)

// Error is a refusal. It compares by value: errors.Is(err, Error{CodeExpired}).
// Its text is the same for every token that is refused with one code, so that
// a stranger learns nothing about where a forgery went wrong.
type Error struct{ Code string }

var texts = map[string]string{
	CodeInvalid:      "the token is not valid",
	CodeTooLarge:     "the token is too large",
	CodeExpired:      "the token has expired",
	CodeNotYetValid:  "the token is not valid yet",
	CodeTTLExceeded:  "the token lives longer than allowed",
	CodeIssuer:       "the token's issuer is not the one of its signing key",
	CodeRevoked:      "the token has been revoked",
	CodeMismatch:     "the token is for another title",
	CodeScope:        "the token does not cover this",
	CodeNotAllowed:   "the token claims more than its signing key may give",
	CodeIP:           "the token is not for this client address",
	CodeReferer:      "the token is not for this page",
	CodeKeyRevoked:   "the playback key has been revoked",
	CodeKeyNotActive: "the playback key is not active now",
}

// Error implements error with one sentence per code.
func (e Error) Error() string {
	if text, ok := texts[e.Code]; ok {
		return text
	}
	return texts[CodeInvalid]
}
