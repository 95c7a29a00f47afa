// Package cenc holds the words of content protection that every room shares:
// key ids, content keys and protection schemes (ISO/IEC 23001-7, RFC 8216), and
// what the hash of an asset looks like.
// It imports the standard library only.
package cenc

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// KeySize is the size of a content key and of a key id in bytes
// (AES-128; ISO/IEC 23001-7:2016, 7.1).
const KeySize = 16

// KID names a content key. It is public: it stands in playlists, in `tenc`
// boxes and in logs.
type KID [KeySize]byte

// NewKID returns a random key id.
func NewKID() KID {
	var k KID
	_, _ = rand.Read(k[:]) // crypto/rand.Read never fails since Go 1.24
	return k
}

// ParseKID reads 32 lower-case hex digits. Any other spelling is an error, so
// that a key id has one name only.
func ParseKID(s string) (KID, error) {
	var k KID
	if len(s) != 2*KeySize {
		return k, fmt.Errorf("key id: want %d hex digits, got %d characters", 2*KeySize, len(s))
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return k, fmt.Errorf("key id: want lower-case hex digits only")
		}
	}
	_, err := hex.Decode(k[:], []byte(s))
	return k, err
}

// String returns the key id as 32 lower-case hex digits.
func (k KID) String() string { return hex.EncodeToString(k[:]) }

// IsZero reports whether the key id is all zero, which no content key has.
func (k KID) IsZero() bool { return k == KID{} }

// Scheme is a protection scheme.
type Scheme string

// The schemes: cbcs and cenc are those of ISO/IEC 23001-7:2016, 10;
// aes-128 is the full-segment encryption of RFC 8216, 4.3.2.4.
const (
	SchemeCBCS   Scheme = "cbcs"
	SchemeCENC   Scheme = "cenc"
	SchemeAES128 Scheme = "aes-128"
)

// Valid reports whether s is a scheme that sealcast knows.
func (s Scheme) Valid() bool {
	return s == SchemeCBCS || s == SchemeCENC || s == SchemeAES128
}
