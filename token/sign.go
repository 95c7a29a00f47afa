package token

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/golang-jwt/jwt/v5"
)

// Signer mints tokens of form J. It redacts itself and is safe for concurrent
// use.
type Signer struct {
	id, alg  string
	method   jwt.SigningMethod
	material any
}

// NewSigner takes the kid of a signing key and its private key: RSA of 2048 to
// 4096 bits, EC on P-256 or Ed25519.
func NewSigner(id string, private crypto.Signer) (*Signer, error) {
	k, err := NewPublicKey(id, private.Public(), Rules{})
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return &Signer{id: id, alg: k.alg, method: k.method, material: private}, nil
}

// NewSymmetricSigner takes the kid and the secret of a signing key that was
// created as symmetric.
func NewSymmetricSigner(id string, secret []byte) (*Signer, error) {
	k, err := NewSymmetricKey(id, secret, Rules{})
	if err != nil {
		return nil, fmt.Errorf("signing key: %w", err)
	}
	return &Signer{id: id, alg: k.alg, method: k.method, material: k.material}, nil
}

// Mint signs the claims. It refuses claims that Verify would refuse at any
// time; it does not look at the clock.
func (s *Signer) Mint(c Claims) (string, error) {
	payload, err := c.encode(FormJ)
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	header, err := json.Marshal(struct {
		Alg string `json:"alg"`
		Typ string `json:"typ"`
		Kid string `json:"kid"`
	}{s.alg, "JWT", s.id})
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	return s.sign(header, payload)
}

func (s *Signer) sign(header, payload []byte) (string, error) {
	signed := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(payload)
	sig, err := s.method.Sign(signed, s.material)
	if err != nil {
		return "", fmt.Errorf("mint token: %w", err)
	}
	tok := signed + "." + base64.RawURLEncoding.EncodeToString(sig)
	if len(tok) > MaxSize {
		return "", fmt.Errorf("mint token: %d bytes, want at most %d", len(tok), MaxSize)
	}
	return tok, nil
}

// String implements fmt.Stringer with a placeholder.
func (*Signer) String() string { return redactedKey }

// Format implements fmt.Formatter with a placeholder for every verb, %x too.
func (*Signer) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redactedKey)) }

// LogValue implements slog.LogValuer with a placeholder.
func (*Signer) LogValue() slog.Value { return slog.StringValue(redactedKey) }

// MarshalText implements encoding.TextMarshaler with a placeholder.
func (*Signer) MarshalText() ([]byte, error) { return []byte(redactedKey), nil }
