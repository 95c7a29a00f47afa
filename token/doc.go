// Package token mints and verifies sealcast playback tokens. It imports nothing
// of sealcast, no HTTP and no database, so that applications can import it.
//
// There are three forms, told apart by the number of dots and a prefix alone:
//
//	H  b64url(JSON) "." b64url(HMAC-SHA256(secret, first part))    type HMAC
//	J  a JWT (RFC 7519): RS256, ES256, EdDSA, or HS256 for a       type Signer
//	   signing key that was created as symmetric
//	S  "st_" and a sealed session, which sealcast makes from a     type Sealer
//	   valid H or J for itself
//
// with base64url as in RFC 4648, 5, without padding. The least that they say is
//
//	H  {"hash":"<64 hex digits: the asset>","exp":<seconds since 1970>}
//	J  {"sub":"<playback key, hash or external id>","aud":"v","exp":…}
//
// What a token says has one spelling: padding, trailing bits, line breaks,
// duplicate or case-variant names and trailing data are refused, and so is a
// claim that narrows a token in a way that is not known here. The signing key
// fixes the algorithm; a JOSE header may name it, the key and "typ":"JWT",
// nothing else. A token is access control, it is not DRM: who holds it gets
// the keys of the title until it expires.
package token
