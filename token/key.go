package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// The algorithms of form J (RFC 7518, 3.1; RFC 8037, 3.1).
const (
	RS256 = "RS256"
	ES256 = "ES256"
	EdDSA = "EdDSA"
	HS256 = "HS256"
)

// MaxKeyTTL is the longest that a signing key may let its tokens live.
const MaxKeyTTL = 365 * 24 * time.Hour

// Rules are what a signing key's record says beside the key.
type Rules struct {
	Issuer        string        // empty: iss is not compared
	MaxTTL        time.Duration // how far exp may lie ahead; 0: the default, 24 h; at most MaxKeyTTL
	AllowWildcard bool          // tokens for every title are allowed
	Record        string        // names the record; a kid may pass from one to another, this does not
}

// Key verifies the tokens of one signing key. Its algorithm is fixed when it is
// made: what a token's header says is compared with it, never believed.
type Key struct {
	id, alg  string
	method   jwt.SigningMethod
	material any // as the method takes it
	rules    Rules
}

// NewPublicKey takes an RSA key of 2048 to 4096 bits (RS256), an EC key on
// P-256 (ES256) or an Ed25519 key (EdDSA).
func NewPublicKey(id string, public crypto.PublicKey, rules Rules) (*Key, error) {
	k := &Key{id: id, material: public, rules: rules}
	switch p := public.(type) {
	case *rsa.PublicKey:
		if bits := p.N.BitLen(); bits < 2048 || bits > 4096 {
			return nil, fmt.Errorf("an RSA key of %d bits: want 2048 to 4096", bits)
		}
		if p.E < 3 || p.E%2 == 0 {
			return nil, fmt.Errorf("an RSA key with the exponent %d", p.E)
		}
		k.alg, k.method = RS256, jwt.SigningMethodRS256
	case *ecdsa.PublicKey:
		if p.Curve != elliptic.P256() {
			return nil, errors.New("an EC key that is not on P-256")
		}
		if _, err := p.ECDH(); err != nil {
			return nil, errors.New("an EC key that is not a point of P-256")
		}
		k.alg, k.method = ES256, jwt.SigningMethodES256
	case ed25519.PublicKey:
		if len(p) != ed25519.PublicKeySize {
			return nil, errors.New("an Ed25519 key of another size")
		}
		k.alg, k.method = EdDSA, jwt.SigningMethodEdDSA
	default:
		return nil, fmt.Errorf("a key of the type %T: want RSA, EC P-256 or Ed25519", public)
	}
	return k, k.check()
}

// NewSymmetricKey takes the secret of a signing key that was created as
// symmetric, at least 32 bytes: HS256, and form H under its kid.
func NewSymmetricKey(id string, secret []byte, rules Rules) (*Key, error) {
	if len(secret) < strongSecret {
		return nil, fmt.Errorf("a symmetric key of %d bytes: want %d or more", len(secret), strongSecret)
	}
	k := &Key{id: id, alg: HS256, method: jwt.SigningMethodHS256, material: append([]byte(nil), secret...), rules: rules}
	return k, k.check()
}

func (k *Key) check() error {
	if !kidPattern.MatchString(k.id) {
		return fmt.Errorf("kid %q: want 1 to 64 of A-Z a-z 0-9 _ -", k.id)
	}
	if k.rules.MaxTTL < 0 || k.rules.MaxTTL > MaxKeyTTL {
		return fmt.Errorf("max_ttl: want at most %s", MaxKeyTTL)
	}
	return nil
}

// ID is the key's kid.
func (k *Key) ID() string { return k.id }

// Alg is the one algorithm of the key.
func (k *Key) Alg() string { return k.alg }

func (r Rules) maxTTL() time.Duration {
	if r.MaxTTL == 0 {
		return MaxTTL
	}
	return r.MaxTTL
}

// hmac is the key as form H takes it; nil for one that is not symmetric.
func (k *Key) hmac() *HMAC {
	if secret, ok := k.material.([]byte); ok && k.alg == HS256 {
		return &HMAC{secret: secret}
	}
	return nil
}

// ParsePublicKey reads a public key in PEM: PKIX ("PUBLIC KEY") or PKCS #1
// ("RSA PUBLIC KEY").
func ParsePublicKey(text []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("not a PEM block")
	case len(rest) > 0 && nextPEM(rest):
		return nil, errors.New("more than one PEM block")
	case block.Type == "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case block.Type == "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	}
	return nil, fmt.Errorf("a PEM block of the type %q: want PUBLIC KEY", block.Type)
}

// ParsePrivateKey reads a private key in PEM: PKCS #8 ("PRIVATE KEY"), PKCS #1
// ("RSA PRIVATE KEY") or SEC 1 ("EC PRIVATE KEY").
func ParsePrivateKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("not a PEM block")
	}
	var key any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("a PEM block of the type %q: want PRIVATE KEY", block.Type)
	}
	if err != nil {
		return nil, errors.New("a private key that cannot be read")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("a private key that does not sign")
	}
	return signer, nil
}

func nextPEM(rest []byte) bool {
	block, _ := pem.Decode(rest)
	return block != nil
}

const redactedKey = "[signing key]"

// String implements fmt.Stringer with a placeholder.
func (*Key) String() string { return redactedKey }

// Format implements fmt.Formatter with a placeholder for every verb, %x too.
func (*Key) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redactedKey)) }

// LogValue implements slog.LogValuer with a placeholder.
func (*Key) LogValue() slog.Value { return slog.StringValue(redactedKey) }

// MarshalText implements encoding.TextMarshaler with a placeholder.
func (*Key) MarshalText() ([]byte, error) { return []byte(redactedKey), nil }

// MaxTTL is how far the exp of its tokens may lie ahead.
func (k *Key) MaxTTL() time.Duration { return k.rules.maxTTL() }
