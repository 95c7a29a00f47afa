package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// wireClaims fixes the names and the order in which claims are written.
type wireClaims struct {
	Hash string   `json:"hash,omitempty"`
	Iss  string   `json:"iss,omitempty"`
	Sub  string   `json:"sub,omitempty"`
	Aud  any      `json:"aud,omitempty"`
	Exp  int64    `json:"exp"`
	Nbf  *int64   `json:"nbf,omitempty"`
	Iat  *int64   `json:"iat,omitempty"`
	JTI  string   `json:"jti,omitempty"`
	SID  string   `json:"sid,omitempty"`
	UID  string   `json:"uid,omitempty"`
	Tag  string   `json:"tag,omitempty"`
	Tags []string `json:"tags,omitempty"`
	Cust string   `json:"cust,omitempty"`
	IP   []string `json:"ip,omitempty"`
	Ref  []string `json:"ref,omitempty"`
	Env  string   `json:"env,omitempty"`
	Kid  string   `json:"kid,omitempty"`
}

// known are all names that a claim has. What is none of them, in no case, is
// passed over, as RFC 7519, 4 has it; a case variant of one is refused.
var known = []string{
	"hash", "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "uid", "tag", "tags", "cust",
	"ip", "ref", "referer", "domain", "env", "kid", "orgawide", "crit_claims",
}

func (c Claims) encode(form Form) ([]byte, error) {
	if err := c.check(form); err != nil {
		return nil, err
	}
	return json.Marshal(c.wire())
}

func (c Claims) wire() wireClaims {
	w := wireClaims{
		Hash: c.Hash, Iss: c.Issuer, Sub: c.Subject,
		Exp: c.ExpiresAt.Unix(), Nbf: unix(c.NotBefore), Iat: unix(c.IssuedAt),
		JTI: c.JTI, SID: c.SID, UID: c.UID, Tag: c.Tag, Tags: c.Tags, Cust: c.Cust,
		Ref: c.Ref, Env: c.Env, Kid: c.KeyID,
	}
	switch len(c.Audience) {
	case 0:
	case 1:
		w.Aud = c.Audience[0]
	default:
		w.Aud = c.Audience
	}
	for _, p := range c.IP {
		w.IP = append(w.IP, FormatPrefix(p))
	}
	return w
}

// FormatPrefix writes a prefix as the claim ip has it: one host as its address.
func FormatPrefix(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// decodeClaims takes the members of a payload whose signature is good.
func decodeClaims(form Form, members map[string]json.RawMessage) (Claims, error) {
	var c Claims
	required := map[Form][]string{FormH: {"hash", "exp"}, FormJ: {"aud", "exp"}, FormS: {"exp"}}[form]
	for _, name := range required {
		if _, ok := members[name]; !ok {
			return c, fmt.Errorf("%s is missing", name)
		}
	}
	for name, raw := range members {
		if err := c.set(form, name, raw, members); err != nil {
			return Claims{}, err
		}
	}
	return c, c.check(form)
}

// set takes one member of the payload.
func (c *Claims) set(form Form, name string, raw json.RawMessage, all map[string]json.RawMessage) (err error) {
	switch name {
	case "hash":
		c.Hash, err = parseString(raw)
	case "iss":
		c.Issuer, err = parseString(raw)
	case "sub":
		if form == FormH {
			return errors.New("sub has no meaning in form H")
		}
		c.Subject, err = parseString(raw)
	case "aud":
		if c.Audience, err = parseList(raw, maxAudience); err == nil && len(c.Audience) == 0 {
			err = errors.New("aud is empty")
		}
	case "exp":
		c.ExpiresAt, err = parseTime(raw)
	case "nbf":
		c.NotBefore, err = parseTime(raw)
	case "iat":
		c.IssuedAt, err = parseTime(raw)
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
		return c.setNarrowing(form, name, raw, all)
	}
	return err
}

// setNarrowing takes what narrows or widens a token, and refuses what is
// another spelling of a name that has a meaning.
func (c *Claims) setNarrowing(form Form, name string, raw json.RawMessage, all map[string]json.RawMessage) (err error) {
	switch name {
	case "ip":
		c.IP, err = parsePrefixes(raw)
	case "ref", "referer", "domain":
		if c.Ref != nil {
			return errors.New("ref, referer and domain are one claim")
		}
		c.Ref, err = parseHosts(raw)
	case "env":
		if c.Env, err = parseString(raw); err == nil && c.Env == "" {
			err = errors.New("env is empty")
		}
	case "kid":
		// In form J the key has been found by it; in form H it chose the secret.
		kid, err := parseString(raw)
		if form == FormH {
			c.KeyID = kid
		}
		return err
	case "orgawide":
		return c.setWide(form, raw, all)
	case "crit_claims":
		return checkCritical(raw)
	default:
		if i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(name, k) }); i >= 0 {
			return fmt.Errorf("claim %q is not supported", name)
		}
	}
	return err
}

// setWide takes orgawide: true is the same as sub "*".
func (c *Claims) setWide(form Form, raw json.RawMessage, all map[string]json.RawMessage) error {
	if form == FormH {
		return errors.New("form H is for one title")
	}
	switch string(raw) {
	case "false":
		return nil
	case "true":
	default:
		return errJSON
	}
	if sub, given := all["sub"]; given {
		if s, err := parseString(sub); err != nil || s != Wildcard {
			return errors.New("orgawide and a sub of its own")
		}
	}
	c.Subject = Wildcard
	return nil
}

// checkCritical refuses what we would pass over and the minter must not have
// passed over.
func checkCritical(raw json.RawMessage) error {
	names, err := parseStrings(raw, len(known))
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("critical claim %q is not supported", name)
		}
	}
	return err
}

func parsePrefixes(raw json.RawMessage) ([]netip.Prefix, error) {
	list, err := parseList(raw, maxIP)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("ip is empty") // nobody, or everybody? it is not for us to guess
	}
	var out []netip.Prefix
	for _, s := range list {
		p, err := ParsePrefix(s)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func parseHosts(raw json.RawMessage) ([]string, error) {
	list, err := parseList(raw, maxRef)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("ref is empty")
	}
	for i, s := range list {
		if list[i], err = ParseHost(s); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// parseList reads one string or a list of them.
func parseList(raw json.RawMessage, most int) ([]string, error) {
	if one, err := parseString(raw); err == nil {
		return []string{one}, nil
	}
	return parseStrings(raw, most)
}

func unix(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	s := t.Unix()
	return &s
}
