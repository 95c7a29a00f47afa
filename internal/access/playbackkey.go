package access

import (
	"crypto/rand"
	"encoding/base64"
	"net/netip"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/token"
)

// The states of a playback key.
const (
	StatusActive   = "active"
	StatusDisabled = "disabled" // for the time being
	StatusRevoked  = "revoked"  // for ever
)

// EnvironmentAll is the environment of keys that are not bound to one.
const EnvironmentAll = "all"

// Policy is what a playback key allows, whatever a token says beside it.
type Policy struct {
	Private        bool           // nothing without a token
	Hosts          []string       // of pages; none: any
	AllowNoReferer bool           // clients that name no page pass Hosts, and ref in tokens
	IPs            []netip.Prefix // of clients; none: any
	Downloads      bool
	NotBefore      *time.Time
	NotAfter       *time.Time
	MaxTTL         time.Duration // of its tokens; 0: as the signing key says
}

// PlaybackKey is a handle of an asset that viewers see.
type PlaybackKey struct {
	ID          string
	Hash        string // the asset
	Label       string
	Environment string
	Status      string
	Policy
	CreatedAt, UpdatedAt time.Time
	RevokedAt            *time.Time
}

// The most that a policy lists.
const (
	maxHosts = 10
	maxIPs   = 32
	maxLabel = 200 // characters
)

var (
	idPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{3,64}$`)

	externalPattern = regexp.MustCompile(`^[A-Za-z0-9_.:-]{3,128}$`) // an asset's external id, or a playback key
)

// IsPlaybackKeyID reports whether id can be one: 3 to 64 of A-Z a-z 0-9 _ -,
// and not an asset's hash.
func IsPlaybackKeyID(id string) bool {
	return idPattern.MatchString(id) && !cenc.IsHash(id)
}

// newID makes an id of 22 characters that nobody guesses.
func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}

func (k *PlaybackKey) check() error {
	switch {
	case !IsPlaybackKeyID(k.ID):
		return invalid("id", "want 3 to 64 of A-Z a-z 0-9 _ -, and not a hash")
	case !cenc.IsHash(k.Hash):
		return invalid("hash", "want 64 lower-case hex digits")
	case !slices.Contains(token.Environments, k.Environment):
		return invalid("environment", "want development, staging or production")
	case k.Status != StatusActive && k.Status != StatusDisabled:
		return invalid("status", "want active or disabled")
	case len(k.Hosts) > maxHosts:
		return invalid("hosts", "want at most %d", maxHosts)
	case len(k.IPs) > maxIPs:
		return invalid("ips", "want at most %d", maxIPs)
	case k.NotBefore != nil && k.NotAfter != nil && !k.NotAfter.After(*k.NotBefore):
		return invalid("not_after", "want a time after not_before")
	case k.MaxTTL < 0 || k.MaxTTL > token.MaxKeyTTL || k.MaxTTL%time.Second != 0:
		return invalid("max_ttl", "want 1 to %d seconds", int(token.MaxKeyTTL.Seconds()))
	}
	return checkLabel(k.Label)
}

func checkLabel(s string) error {
	if utf8.RuneCountInString(s) > maxLabel || !utf8.ValidString(s) || slices.Contains([]rune(s), 0) {
		return invalid("label", "want at most %d characters", maxLabel)
	}
	return nil
}

// active is the refusal of a playback key that is not active now; nil: it is.
func (k *PlaybackKey) active(now time.Time) error {
	switch {
	case k.Status == StatusRevoked:
		return token.Error{Code: token.CodeKeyRevoked}
	case k.Status != StatusActive,
		k.NotBefore != nil && now.Before(*k.NotBefore),
		k.NotAfter != nil && !now.Before(*k.NotAfter):
		return token.Error{Code: token.CodeKeyNotActive}
	}
	return nil
}
