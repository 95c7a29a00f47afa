// Package token mints and verifies sealcast playback tokens.
//
// Form H is the only form so far: an HMAC bearer token,
//
//	b64url(JSON) "." b64url(HMAC-SHA256(secret, first part))
//
// with base64url as in RFC 4648, 5, without padding, and a payload of at least
//
//	{"hash":"<64 hex digits: the asset>","exp":<seconds since 1970>}
//
// A token has one spelling: padding, trailing bits, line breaks, duplicate or
// case-variant names and trailing data are refused. A token is access control,
// it is not DRM: who holds it gets the keys of the title until it expires.
//
// The package imports nothing of sealcast, so that applications can import it.
package token
