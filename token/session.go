package token

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
)

const (
	sessionPrefix = "st_"
	sessionAAD    = "sealcast session 1"
)

// Sealer makes and opens sessions, form S: what a token granted, sealed for
// ourselves (AES-256-GCM), to be carried in paths and cookies.
type Sealer struct {
	aead  cipher.AEAD
	nonce []byte // key of the nonces
}

// NewSealer takes a secret of at least 16 bytes, which may serve other
// purposes as well: its own keys are derived from it (HKDF, RFC 5869).
func NewSealer(secret []byte) (*Sealer, error) {
	if len(secret) < minSecret {
		return nil, fmt.Errorf("session secret: want at least %d bytes, got %d", minSecret, len(secret))
	}
	keys, err := hkdf.Key(sha256.New, secret, nil, sessionAAD, 64)
	if err != nil {
		return nil, fmt.Errorf("session secret: %w", err)
	}
	block, err := aes.NewCipher(keys[:32])
	if err != nil {
		return nil, fmt.Errorf("session secret: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("session secret: %w", err)
	}
	return &Sealer{aead: aead, nonce: keys[32:]}, nil
}

// wireSession is what a session says: the claims of its token, and which one
// that was.
type wireSession struct {
	wireClaims
	GrantID string `json:"gid"`
	GrantBy string `json:"gby,omitempty"` // kid
	Record  string `json:"gre,omitempty"` // of the signing key
}

// Seal makes the session of a grant. One grant has one session: a player that
// asks twice gets the same, and keeps its keys. The nonce follows from the
// content (a keyed digest), so that it never serves two contents.
func (s *Sealer) Seal(g Grant) (string, error) {
	g.Claims.KeyID = "" // it chose the secret, and says nothing any more
	if err := g.check(FormS); err != nil {
		return "", fmt.Errorf("seal session: %w", err)
	}
	w := wireSession{wireClaims: g.wire(), GrantID: g.ID, GrantBy: g.KeyID, Record: g.Record}
	plain, err := json.Marshal(w)
	if err != nil {
		return "", fmt.Errorf("seal session: %w", err)
	}
	m := hmac.New(sha256.New, s.nonce)
	_, _ = m.Write(plain)
	nonce := m.Sum(nil)[:s.aead.NonceSize()]
	tok := sessionPrefix + base64.RawURLEncoding.EncodeToString(s.aead.Seal(nonce, nonce, plain, []byte(sessionAAD)))
	if len(tok) > MaxPathSize {
		return "", Error{CodeTooLarge}
	}
	return tok, nil
}

func (v *Verifier) openSession(tok string) (opened, string) {
	o := opened{form: FormS, checks: []string{CheckEncoding, CheckKey, CheckSignature}}
	sealed, ok := decodeStrict(strings.TrimPrefix(tok, sessionPrefix))
	if !ok {
		return o, CheckEncoding
	}
	if v.Sessions == nil {
		return o, CheckKey
	}
	aead := v.Sessions.aead
	if len(sealed) < aead.NonceSize() {
		return o, CheckEncoding
	}
	plain, err := aead.Open(nil, sealed[:aead.NonceSize()], sealed[aead.NonceSize():], []byte(sessionAAD))
	if err != nil {
		return o, CheckSignature
	}
	members, err := parseObject(plain)
	if err != nil {
		return o, CheckSignature
	}
	for name, into := range map[string]*string{"gid": &o.id, "gby": &o.keyID, "gre": &o.rules.Record} {
		if raw, given := members[name]; given {
			if *into, err = parseString(raw); err != nil {
				return o, CheckSignature
			}
			delete(members, name)
		}
	}
	o.members = members
	return o, ""
}

const redactedSealer = "[session secret]"

// String implements fmt.Stringer with a placeholder.
func (*Sealer) String() string { return redactedSealer }

// Format implements fmt.Formatter with a placeholder for every verb, %x too.
func (*Sealer) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redactedSealer)) }

// LogValue implements slog.LogValuer with a placeholder.
func (*Sealer) LogValue() slog.Value { return slog.StringValue(redactedSealer) }

// MarshalText implements encoding.TextMarshaler with a placeholder.
func (*Sealer) MarshalText() ([]byte, error) { return []byte(redactedSealer), nil }
