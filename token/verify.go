package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"
)

// Form is how a token is spelt and verified.
type Form byte

// The forms.
const (
	FormH Form = 'H' // HMAC bearer
	FormJ Form = 'J' // JWT
	FormS Form = 'S' // session
)

// Grant is what a verified token allows.
type Grant struct {
	Claims
	Form  Form
	KeyID string // the signing key; empty: the shared secret. A session has its token's
	// Record is the Rules' Record of the signing key that verified the token. A
	// session has its token's: another key may have its kid by now.
	Record string
	// ID names the verified token, for limits and revocation: 32 hex digits of
	// a digest of what was signed, not of the signature, of which ECDSA has
	// more than one. A session has its token's.
	ID string
}

// Check is one step of verifying and its outcome.
type Check struct {
	Name string
	Err  error // nil: passed
}

// The checks of Verify, in their order.
const (
	CheckSize      = "size"
	CheckEncoding  = "encoding"    // one spelling, strict JSON
	CheckHeader    = "header"      // of form J
	CheckKey       = "signing_key" // found by kid
	CheckSignature = "signature"
	CheckClaims    = "claims" // types and bounds
	CheckTimes     = "times"  // exp, nbf, iat
	CheckTTL       = "max_ttl"
	CheckIssuer    = "issuer"
	CheckWildcard  = "wildcard" // the signing key allows it
)

// Verifier verifies tokens of all forms. It is safe for concurrent use when
// Key is.
type Verifier struct {
	Secret   *HMAC                 // of form H without a kid; nil: none
	Key      func(kid string) *Key // a map look-up and nothing else; nil: it is not known
	Sessions *Sealer               // nil: no sessions
	Memo     *Memo                 // nil: every token is verified from the start each time
}

// Verify checks a token in the order of the Check constants. It returns an
// Error, never the claims of a refused token. What the grant opens is asked
// afterwards: Claims.Title, Claims.Allows.
func (v *Verifier) Verify(tok string, now time.Time) (Grant, error) {
	grant, err := v.Inspect(tok, now, nil)
	if err != nil {
		return Grant{}, err
	}
	return grant, nil
}

// Inspect is Verify that also tells each check as it is made; tell may be nil.
// The grant has the claims once the signature and their types are good, of a
// refused token too.
func (v *Verifier) Inspect(tok string, now time.Time, tell func(Check)) (Grant, error) {
	made := func(name string, err error) error {
		if tell != nil {
			tell(Check{name, err})
		}
		return err
	}
	test := func(name string, good bool, code string) error {
		if good {
			return made(name, nil)
		}
		return made(name, Error{code})
	}
	if err := test(CheckSize, len(tok) <= MaxSize, CodeTooLarge); err != nil {
		return Grant{}, err
	}
	s, claims, failed := v.read(tok)
	for _, name := range s.checks {
		if err := test(name, name != failed, CodeInvalid); err != nil {
			return Grant{}, err
		}
	}
	if err := test(CheckClaims, failed == "", CodeInvalid); err != nil {
		return Grant{}, err
	}
	grant := Grant{Claims: claims, Form: s.form, KeyID: s.keyID, Record: s.rules.Record, ID: s.id}
	err := made(CheckTimes, claims.checkTimes(now))
	if err != nil || s.form == FormS { // a session's token has passed the rest
		return grant, err
	}
	if err := test(CheckTTL, claims.ExpiresAt.Sub(now) <= s.rules.maxTTL(), CodeTTLExceeded); err != nil {
		return grant, err
	}
	if err := test(CheckIssuer, s.rules.Issuer == "" || s.rules.Issuer == claims.Issuer, CodeIssuer); err != nil {
		return grant, err
	}
	return grant, test(CheckWildcard, claims.Subject != Wildcard || s.rules.AllowWildcard, CodeNotAllowed)
}

// opened is a token whose signature is good, or the checks up to the one that
// failed.
type opened struct {
	form    Form
	checks  []string
	members map[string]json.RawMessage
	key     *Key // that verified it; nil: the shared secret, or none with a kid
	keyID   string
	id      string
	rules   Rules
}

// open reads a token up to its signature and names the check that failed.
func (v *Verifier) open(tok string) (o opened, failed string) {
	switch dots := strings.Count(tok, "."); {
	case strings.HasPrefix(tok, sessionPrefix) && dots == 0:
		return v.openSession(tok)
	case dots == 1:
		return v.openHMAC(tok)
	case dots == 2:
		return v.openJWT(tok)
	}
	return opened{checks: []string{CheckEncoding}}, CheckEncoding
}

func (v *Verifier) openHMAC(tok string) (opened, string) {
	o := opened{form: FormH, checks: []string{CheckEncoding, CheckKey, CheckSignature}}
	first, second, _ := strings.Cut(tok, ".")
	payload, ok1 := decodeStrict(first)
	mac, ok2 := decodeStrict(second)
	if !ok1 || !ok2 {
		return o, CheckEncoding
	}
	o.id = grantID(first)
	signed := v.Secret != nil && hmac.Equal(mac, v.Secret.mac(first))
	members, err := parseObject(payload)
	if err != nil {
		return o, CheckEncoding
	}
	o.members = members
	raw, given := members["kid"]
	if !given {
		if !signed {
			return o, CheckSignature
		}
		return o, ""
	}
	key := v.key(raw)
	if key == nil || key.hmac() == nil {
		return o, CheckKey
	}
	if !hmac.Equal(mac, key.hmac().mac(first)) {
		return o, CheckSignature
	}
	o.key, o.keyID, o.rules = key, key.id, key.rules
	return o, ""
}

func (v *Verifier) openJWT(tok string) (opened, string) {
	o := opened{form: FormJ, checks: []string{CheckEncoding, CheckHeader, CheckKey, CheckSignature}}
	parts := strings.Split(tok, ".")
	var raw [3][]byte
	for i, part := range parts {
		b, ok := decodeStrict(part)
		if !ok {
			return o, CheckEncoding
		}
		raw[i] = b
	}
	header, err1 := parseObject(raw[0])
	members, err2 := parseObject(raw[1])
	if err1 != nil || err2 != nil {
		return o, CheckEncoding
	}
	alg, kid, ok := readHeader(header, members)
	if !ok {
		return o, CheckHeader
	}
	key := v.key(kid)
	if key == nil || key.alg != alg {
		return o, CheckKey
	}
	signed := tok[:len(tok)-1-len(parts[2])]
	if err := key.method.Verify(signed, raw[2], key.material); err != nil {
		return o, CheckSignature
	}
	o.members, o.key, o.keyID, o.rules, o.id = members, key, key.id, key.rules, grantID(signed)
	return o, ""
}

// readHeader takes the JOSE header (RFC 7515, 4): alg, kid and typ, and no
// other member. Without a kid there it is the one of the claims.
func readHeader(header, claims map[string]json.RawMessage) (alg string, kid json.RawMessage, ok bool) {
	for name, raw := range header {
		s, err := parseString(raw)
		if err != nil {
			return "", nil, false
		}
		switch name {
		case "alg":
			alg = s
		case "kid":
			kid = raw
		case "typ":
			if !strings.EqualFold(s, "JWT") { // RFC 7519, 5.1; another type is a token for something else (RFC 8725, 3.11)
				return "", nil, false
			}
		default:
			return "", nil, false
		}
	}
	inClaims, given := claims["kid"]
	if kid == nil {
		return alg, inClaims, given
	}
	if given {
		a, err1 := parseString(kid)
		b, err2 := parseString(inClaims)
		if err1 != nil || err2 != nil || a != b {
			return "", nil, false
		}
	}
	return alg, kid, true
}

// key finds a signing key by a kid as JSON.
func (v *Verifier) key(raw json.RawMessage) *Key {
	kid, err := parseString(raw)
	if err != nil || !kidPattern.MatchString(kid) || v.Key == nil {
		return nil
	}
	return v.Key(kid)
}

func grantID(signed string) string {
	sum := sha256.Sum256([]byte(signed))
	return hex.EncodeToString(sum[:16])
}

// decodeStrict takes the one spelling that the encoder writes. The decoder of
// encoding/base64 skips line breaks even when it is strict.
func decodeStrict(s string) ([]byte, bool) {
	if s == "" || strings.ContainsAny(s, "\r\n") {
		return nil, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	return b, err == nil
}
