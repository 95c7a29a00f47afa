package cenc

import (
	"crypto/rand"
	"fmt"
	"log/slog"
)

const redacted = "[content key]"

// ContentKey is a 16-byte AES-128 key that redacts itself: every formatter,
// logger and encoder prints a placeholder. Only Bytes gives the key.
type ContentKey struct{ b [KeySize]byte }

// NewContentKey returns a random content key.
func NewContentKey() ContentKey {
	var k ContentKey
	_, _ = rand.Read(k.b[:])
	return k
}

// ContentKeyFrom copies exactly 16 bytes into a content key. The error says
// the length only.
func ContentKeyFrom(b []byte) (ContentKey, error) {
	var k ContentKey
	if len(b) != KeySize {
		return k, fmt.Errorf("content key: want %d bytes, got %d", KeySize, len(b))
	}
	copy(k.b[:], b)
	return k, nil
}

// Bytes returns a copy of the key itself. The caller must not print it.
func (k ContentKey) Bytes() []byte { return append([]byte(nil), k.b[:]...) }

// IsZero reports whether the key is the zero value, which no Store issues.
func (k ContentKey) IsZero() bool { return k.b == [KeySize]byte{} }

// String implements fmt.Stringer with a placeholder.
func (ContentKey) String() string { return redacted }

// GoString implements fmt.GoStringer with a placeholder.
func (ContentKey) GoString() string { return redacted }

// Format implements fmt.Formatter with a placeholder for every verb, %x too.
func (ContentKey) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redacted)) }

// LogValue implements slog.LogValuer with a placeholder.
func (ContentKey) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON implements json.Marshaler with a placeholder.
func (ContentKey) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// MarshalText implements encoding.TextMarshaler with a placeholder.
func (ContentKey) MarshalText() ([]byte, error) { return []byte(redacted), nil }
