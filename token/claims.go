package token

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxTag      = 64           // bytes
	maxTags     = 8            // entries
	maxCust     = 512          // bytes
	maxAudience = 8            // entries
	maxIP       = 8            // entries
	maxRef      = 10           // entries
	maxUnix     = 253402300799 // 9999-12-31T23:59:59Z
)

// Scopes of aud: what a token opens. Each is one character and a subject has at
// least three, so that the two cannot be taken for each other.
const (
	ScopeAll        = 'v' // all playback; downloads only where the playback key's policy says so
	ScopeKey        = 'k' // content keys
	ScopePoster     = 't' // posters and thumbnails
	ScopeStoryboard = 's'
	ScopeText       = 'c' // text tracks
	ScopeDownload   = 'd'
)

// Wildcard is the subject of a token for every title.
const Wildcard = "*"

// Environments of resources, and of signing keys.
var Environments = []string{"development", "staging", "production"}

// Claims are what the application that mints a token says. Empty members do
// not appear in the token. Times have whole seconds on the wire.
type Claims struct {
	Hash     string   // form H: the asset, 64 lower-case hex digits
	Subject  string   // form J: a playback key, an asset's hash or external id, or Wildcard
	Audience []string // scopes, or the subject for all playback; required in J
	Issuer   string   // compared if the signing key records one

	ExpiresAt time.Time // required; at most the signing key's maximum ahead when the token is used
	NotBefore time.Time // optional
	IssuedAt  time.Time // optional; revocation by time needs it

	// What narrows a token further.
	IP  []netip.Prefix // client addresses, at most 8
	Ref []string       // hosts of pages, at most 10; "*.x.com" is any depth below x.com
	Env string         // one of Environments

	// The rest is carried into audit, limits and revocation.
	JTI, SID, UID string
	Tag           string   // at most 64 bytes
	Tags          []string // at most 8, each at most 64 bytes
	Cust          string   // at most 512 bytes

	// KeyID chooses, in form H, a symmetric signing key in place of the shared
	// secret. Form J names its key in the header.
	KeyID string
}

// Title is what the token opens: the hash of form H, or the subject.
func (c Claims) Title() string {
	if c.Hash != "" {
		return c.Hash
	}
	return c.Subject
}

// Allows reports whether aud covers a scope. Without aud (form H) and by the
// subject itself it is as ScopeAll; downloads says whether that includes
// ScopeDownload.
func (c Claims) Allows(scope byte, downloads bool) bool {
	all := len(c.Audience) == 0
	for _, a := range c.Audience {
		if a == string(rune(scope)) {
			return true
		}
		all = all || a == string(rune(ScopeAll)) || (len(a) > 1 && a == c.Title()) || (a == Wildcard && c.Subject == Wildcard)
	}
	return all && (scope != ScopeDownload || downloads)
}

var (
	hashPattern    = regexp.MustCompile(`^[0-9a-f]{64}$`)
	subjectPattern = regexp.MustCompile(`^[A-Za-z0-9_.:-]{3,128}$`)
	kidPattern     = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	hostPattern    = regexp.MustCompile(`^(\*\.)?[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)
)

// check holds the rules that do not depend on the clock; minting and verifying
// share it.
func (c Claims) check(form Form) error {
	switch {
	case form == FormH && !hashPattern.MatchString(c.Hash):
		return errors.New("hash: want 64 lower-case hex digits")
	case form == FormH && c.Subject != "":
		return errors.New("sub has no meaning in form H")
	case form == FormJ && c.Hash != "":
		return errors.New("hash has no meaning in form J, say sub")
	case form == FormJ && len(c.Audience) == 0:
		return errors.New("aud is missing")
	case form != FormH && c.Subject != "" && c.Subject != Wildcard && !subjectPattern.MatchString(c.Subject):
		return errors.New("sub: want a playback key, an asset's hash or external id, or *")
	case c.Title() == "":
		return errors.New("sub is missing")
	case c.KeyID != "" && (form != FormH || !kidPattern.MatchString(c.KeyID)):
		return errors.New("kid: want 1 to 64 of A-Z a-z 0-9 _ -, in form H alone")
	case c.Env != "" && !slices.Contains(Environments, c.Env):
		return errors.New("env: want development, staging or production")
	}
	return errors.Join(c.checkTimesAlone(), c.checkNarrowing(), c.checkTexts())
}

func (c Claims) checkTimesAlone() error {
	if c.ExpiresAt.IsZero() {
		return errors.New("exp is missing")
	}
	for _, t := range []time.Time{c.ExpiresAt, c.NotBefore, c.IssuedAt} {
		if s := t.Unix(); !t.IsZero() && (s < 0 || s > maxUnix) {
			return errors.New("a time is out of range")
		}
	}
	return nil
}

func (c Claims) checkNarrowing() error {
	if len(c.Audience) > maxAudience || len(c.IP) > maxIP || len(c.Ref) > maxRef {
		return errors.New("aud, ip or ref has too many entries")
	}
	for _, a := range c.Audience {
		if len(a) > 128 || a == "" {
			return errors.New("an entry of aud is empty or too long")
		}
	}
	for _, p := range c.IP {
		if !p.IsValid() || p != p.Masked() || p.Addr().Is4In6() {
			return errors.New("ip: want addresses or CIDRs")
		}
	}
	for _, host := range c.Ref {
		if len(host) > 253 || !hostPattern.MatchString(host) {
			return errors.New("ref: want hosts in lower case, such as www.example.com or *.example.com")
		}
	}
	return nil
}

func (c Claims) checkTexts() error {
	if len(c.Tag) > maxTag || len(c.Tags) > maxTags || len(c.Cust) > maxCust {
		return errors.New("tag, tags or cust is too long")
	}
	texts := slices.Concat([]string{c.Issuer, c.JTI, c.SID, c.UID, c.Tag, c.Cust}, c.Tags, c.Audience)
	for _, s := range texts {
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
	}
	return nil
}

// ParsePrefix reads an address or a CIDR as the claim ip has it. An IPv4
// address that is mapped into IPv6 is the IPv4 address.
func ParsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || (p.Addr().Is4In6() && p.Bits() < 96) {
		return netip.Prefix{}, fmt.Errorf("%q is neither an address nor a CIDR", s)
	}
	if p.Addr().Is4In6() {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), nil
}

// ParseHost reads a host as the claim ref has it, in lower case.
func ParseHost(s string) (string, error) {
	host := strings.ToLower(s)
	if len(host) > 253 || !hostPattern.MatchString(host) {
		return "", fmt.Errorf("%q is neither a host nor *. and a host", s)
	}
	return host, nil
}
