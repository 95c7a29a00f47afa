package cenc

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"log/slog"
)

const redacted = "[content key]"

// ContentKey is a 16-byte AES-128 key that redacts itself: every formatter,
// logger and encoder prints a placeholder. Only Bytes gives the key. The bytes
// lie behind a function, because fmt calls no methods on what stands in an
// unexported field and, for some verbs, follows pointers: of a function it can
// print an address only. Compare keys with Equal.
type ContentKey struct{ open func() [KeySize]byte }

func newContentKey(b [KeySize]byte) ContentKey {
	return ContentKey{open: func() [KeySize]byte { return b }}
}

// NewContentKey returns a random content key.
func NewContentKey() ContentKey {
	var b [KeySize]byte
	_, _ = rand.Read(b[:])
	return newContentKey(b)
}

// ContentKeyFrom copies exactly 16 bytes into a content key. The error says
// the length only.
func ContentKeyFrom(b []byte) (ContentKey, error) {
	if len(b) != KeySize {
		return ContentKey{}, fmt.Errorf("content key: want %d bytes, got %d", KeySize, len(b))
	}
	return newContentKey([KeySize]byte(b)), nil
}

// Bytes returns a copy of the key itself. The caller must not print it.
// The zero value gives nil, which no cipher takes.
func (k ContentKey) Bytes() []byte {
	if k.open == nil {
		return nil
	}
	b := k.open()
	return b[:]
}

// Equal compares two keys in constant time.
func (k ContentKey) Equal(other ContentKey) bool {
	return subtle.ConstantTimeCompare(k.Bytes(), other.Bytes()) == 1
}

// IsZero reports whether the key is the zero value, which no Store issues.
func (k ContentKey) IsZero() bool { return k.open == nil || k.open() == [KeySize]byte{} }

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
