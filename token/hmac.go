package token

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"time"
)

// Limits of tokens.
const (
	MaxSize     = 4096           // bytes of a token
	MaxPathSize = 2048           // bytes of a token in a path
	MaxTTL      = 24 * time.Hour // how far exp may lie ahead, unless the signing key says more or less
	Leeway      = time.Minute    // for nbf and iat; exp has none

	minSecret    = 16
	strongSecret = 32
)

const redacted = "[token secret]"

// HMAC mints and verifies tokens of form H under one secret. It redacts
// itself: every formatter, logger and encoder prints a placeholder. It is safe
// for concurrent use.
type HMAC struct{ secret []byte }

// NewHMAC takes the bytes of the secret as they are configured, at least 16.
// The error says the length only.
func NewHMAC(secret []byte) (*HMAC, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("token secret: want at least %d bytes, got %d", minSecret, len(secret))
	}
	return &HMAC{secret: append([]byte(nil), secret...)}, nil
}

// Weak reports whether the secret is shorter than the 32 bytes that
// HMAC-SHA256 wants (RFC 2104, 3): worth a warning at start-up.
func (h *HMAC) Weak() bool { return len(h.secret) < strongSecret }

// Mint signs the claims. Equal claims give equal tokens. It refuses claims
// that Verify would refuse at any time; it does not look at the clock.
func (h *HMAC) Mint(c Claims) (string, error) {
	payload, err := c.encode(FormH)
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	tok := h.sign(payload)
	if len(tok) > MaxSize {
		return "", fmt.Errorf("mint token: %d bytes, want at most %d", len(tok), MaxSize)
	}
	return tok, nil
}

// Verify checks a token of form H under this one secret, as a Verifier does
// that has no other key.
func (h *HMAC) Verify(tok string, now time.Time) (Grant, error) {
	return (&Verifier{Secret: h}).Verify(tok, now)
}

func (h *HMAC) sign(payload []byte) string {
	first := base64.RawURLEncoding.EncodeToString(payload)
	return first + "." + base64.RawURLEncoding.EncodeToString(h.mac(first))
}

func (h *HMAC) mac(first string) []byte {
	m := hmac.New(sha256.New, h.secret)
	_, _ = m.Write([]byte(first))
	return m.Sum(nil)
}

// String implements fmt.Stringer with a placeholder.
func (*HMAC) String() string { return redacted }

// GoString implements fmt.GoStringer with a placeholder.
func (*HMAC) GoString() string { return redacted }

// Format implements fmt.Formatter with a placeholder for every verb, %x too.
func (*HMAC) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer with a placeholder.
func (*HMAC) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText implements encoding.TextMarshaler with a placeholder.
func (*HMAC) MarshalText() ([]byte, error) { return []byte(redacted), nil }
