package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	hashDigits = 64
	maxTag     = 64           // bytes
	maxTags    = 8            // entries
	maxCust    = 512          // bytes
	maxUnix    = 253402300799 // 9999-12-31T23:59:59Z
)

// Claims are what the application that mints a token says. Empty members do
// not appear in the token. Times have whole seconds on the wire.
type Claims struct {
	Hash      string    // the asset: 64 lower-case hex digits; required
	ExpiresAt time.Time // required; at most MaxTTL ahead when the token is used
	NotBefore time.Time // optional
	IssuedAt  time.Time // optional

	// The rest is carried into audit, limits and revocation.
	JTI, SID, UID string
	Tag           string   // at most 64 bytes
	Tags          []string // at most 8, each at most 64 bytes
	Cust          string   // at most 512 bytes
}

// Grant is what a verified token allows.
type Grant struct {
	Claims
	ID string // names the verified token, for limits: 32 hex digits of its digest
}

// Covers returns an Error with CodeMismatch unless the grant opens the title
// with this hash. It compares byte for byte: no folding, no prefix.
func (g Grant) Covers(hash string) error {
	if g.Hash == "" || g.Hash != hash {
		return Error{CodeMismatch}
	}
	return nil
}

// wireClaims fixes the names and the order in which Mint writes them.
type wireClaims struct {
	Hash string   `json:"hash"`
	Exp  int64    `json:"exp"`
	Nbf  *int64   `json:"nbf,omitempty"`
	Iat  *int64   `json:"iat,omitempty"`
	JTI  string   `json:"jti,omitempty"`
	SID  string   `json:"sid,omitempty"`
	UID  string   `json:"uid,omitempty"`
	Tag  string   `json:"tag,omitempty"`
	Tags []string `json:"tags,omitempty"`
	Cust string   `json:"cust,omitempty"`
}

// reserved are all names that a claim has or will have. First those that
// narrow or widen a token, or choose its secret, and that form H does not
// implement yet: a token that carries one means less than we would grant, so it
// is refused instead of read past. Then those that set knows: what reaches the
// comparison is another spelling of them.
var reserved = []string{
	"sub", "aud", "kid", "ip", "ref", "referer", "domain", "env", "orgawide", "crit_claims",
	"hash", "exp", "nbf", "iat", "iss", "jti", "sid", "uid", "tag", "tags", "cust",
}

func (c Claims) encode() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return json.Marshal(wireClaims{
		Hash: c.Hash, Exp: c.ExpiresAt.Unix(), Nbf: unix(c.NotBefore), Iat: unix(c.IssuedAt),
		JTI: c.JTI, SID: c.SID, UID: c.UID, Tag: c.Tag, Tags: c.Tags, Cust: c.Cust,
	})
}

func decodeClaims(payload []byte) (Claims, error) {
	var c Claims
	members, err := parseObject(payload)
	if err != nil {
		return c, err
	}
	for _, required := range []string{"hash", "exp"} {
		if _, ok := members[required]; !ok {
			return c, fmt.Errorf("%s is missing", required)
		}
	}
	for name, raw := range members {
		if err := c.set(name, raw); err != nil {
			return Claims{}, err
		}
	}
	return c, c.check()
}

// set takes one member of the payload. Names that nobody defined are passed
// over, as RFC 7519, 4 has it; a case variant of a defined name is refused.
func (c *Claims) set(name string, raw json.RawMessage) (err error) {
	switch name {
	case "hash":
		c.Hash, err = parseString(raw)
	case "exp":
		c.ExpiresAt, err = parseTime(raw)
	case "nbf":
		c.NotBefore, err = parseTime(raw)
	case "iat":
		c.IssuedAt, err = parseTime(raw)
	case "iss":
		_, err = parseString(raw) // the secret records no issuer to compare with
	case "jti":
		c.JTI, err = parseString(raw)
	case "sid":
		c.SID, err = parseString(raw)
	case "uid":
		c.UID, err = parseString(raw)
	case "tag":
		c.Tag, err = parseString(raw)
	case "tags":
		c.Tags, err = parseStrings(raw, maxTags)
	case "cust":
		c.Cust, err = parseString(raw)
	default:
		for _, known := range reserved {
			if strings.EqualFold(name, known) {
				return fmt.Errorf("claim %q is not supported", name)
			}
		}
	}
	return err
}

// check holds the rules that do not depend on the clock; Mint and Verify share it.
func (c Claims) check() error {
	if len(c.Hash) != hashDigits || strings.Trim(c.Hash, "0123456789abcdef") != "" {
		return fmt.Errorf("hash: want %d lower-case hex digits", hashDigits)
	}
	if c.ExpiresAt.IsZero() {
		return errors.New("exp is missing")
	}
	for _, t := range []time.Time{c.ExpiresAt, c.NotBefore, c.IssuedAt} {
		if s := t.Unix(); !t.IsZero() && (s < 0 || s > maxUnix) {
			return errors.New("a time is out of range")
		}
	}
	if len(c.Tag) > maxTag || len(c.Tags) > maxTags || len(c.Cust) > maxCust {
		return errors.New("tag, tags or cust is too long")
	}
	for _, s := range append([]string{c.JTI, c.SID, c.UID, c.Tag, c.Cust}, c.Tags...) {
		if !utf8.ValidString(s) || strings.ContainsRune(s, utf8.RuneError) {
			return errors.New("a claim is not valid UTF-8")
		}
	}
	for _, s := range c.Tags {
		if len(s) > maxTag {
			return errors.New("an entry of tags is too long")
		}
	}
	return nil
}

func (c Claims) checkTimes(now time.Time) error {
	switch {
	case !now.Before(c.ExpiresAt):
		return Error{CodeExpired}
	case c.NotBefore.After(now.Add(Leeway)), c.IssuedAt.After(now.Add(Leeway)):
		return Error{CodeNotYetValid}
	case c.ExpiresAt.Sub(now) > MaxTTL:
		return Error{CodeTTLExceeded}
	}
	return nil
}

func unix(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}
