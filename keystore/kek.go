package keystore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
)

const (
	// KEKSize is the size of a KEK in bytes (AES-256).
	KEKSize = 32

	// MaxWraps is how often one KEK version may seal with random 96-bit
	// nonces (NIST SP 800-38D, 8.3).
	MaxWraps = 1 << 32

	maxInt4 = math.MaxInt32 // versions and attempts are Postgres integers
)

// Keyring holds the KEK versions of this process: one primary, which seals new
// keys, and older ones, which still open what they sealed. It is immutable and
// redacts itself in every formatter.
type Keyring struct {
	// A pointer, because fmt and reflect walk through unexported fields
	// without asking for methods, but print a nested pointer as an address.
	in *ring
}

type ring struct {
	primary int
	aeads   map[int]AEAD // the KEK bytes live on in the cipher only
}

// NewKeyring makes a keyring of KEKs by version (1 and up), 32 bytes each. The
// bytes are not kept; the caller may clear them. Errors name versions, never
// bytes.
func NewKeyring(primary int, keks map[int][]byte) (*Keyring, error) {
	if len(keks) == 0 {
		return nil, fmt.Errorf("keyring: no KEK is set; set KEK_1 to 64 hex digits and KEK_PRIMARY to 1")
	}
	aeads, err := Local(keks)
	if err != nil {
		return nil, fmt.Errorf("keyring: %w", err)
	}
	return NewKeyringOf(primary, aeads)
}

// NewKeyringOf makes a keyring of AEADs by KEK version, which may lie in
// different places.
func NewKeyringOf(primary int, aeads map[int]AEAD) (*Keyring, error) {
	versions := slices.Sorted(maps.Keys(aeads))
	for _, v := range versions {
		if v < 1 || v > maxInt4 {
			return nil, fmt.Errorf("keyring: KEK version %d: versions count from 1 to %d", v, maxInt4)
		}
	}
	if _, ok := aeads[primary]; !ok {
		return nil, fmt.Errorf("keyring: primary KEK version %d is not among the versions %v; set KEK_%d or another KEK_PRIMARY",
			primary, versions, primary)
	}
	bounded := make(map[int]AEAD, len(aeads))
	for v, a := range aeads {
		if _, here := a.(local); !here {
			a = patient{a}
		}
		bounded[v] = a
	}
	return &Keyring{in: &ring{primary: primary, aeads: bounded}}, nil
}

// Local gives the AEADs of KEKs in memory, 32 bytes each, by version. The bytes
// are not kept.
func Local(keks map[int][]byte) (map[int]AEAD, error) {
	versions := slices.Sorted(maps.Keys(keks))
	aeads := make(map[int]AEAD, len(keks))
	for i, v := range versions {
		if n := len(keks[v]); n != KEKSize {
			return nil, fmt.Errorf("KEK version %d: want %d bytes, got %d", v, KEKSize, n)
		}
		if subtle.ConstantTimeCompare(keks[v], make([]byte, KEKSize)) == 1 {
			return nil, fmt.Errorf("KEK version %d: all bytes are zero; use random bytes", v)
		}
		for _, w := range versions[:i] {
			if subtle.ConstantTimeCompare(keks[v], keks[w]) == 1 {
				return nil, fmt.Errorf("KEK versions %d and %d are the same key; every version needs its own", w, v)
			}
		}
		aead, err := newAEAD(keks[v])
		if err != nil {
			return nil, fmt.Errorf("KEK version %d: %w", v, err)
		}
		aeads[v] = aead
	}
	return aeads, nil
}

func newAEAD(kek []byte) (AEAD, error) {
	block, err := aes.NewCipher(kek)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	return local{gcm}, err
}

// Primary is the version that seals new keys.
func (k *Keyring) Primary() int { return k.in.primary }

// Versions lists the versions, lowest first.
func (k *Keyring) Versions() []int { return slices.Sorted(maps.Keys(k.in.aeads)) }

func (k *Keyring) aead(version int) (AEAD, error) {
	a, ok := k.in.aeads[version]
	if !ok {
		return nil, fmt.Errorf("%w: version %d", ErrKEKMissing, version)
	}
	return a, nil
}

const redactedKeyring = "[keyring]"

// String implements fmt.Stringer with a placeholder.
func (Keyring) String() string { return redactedKeyring }

// GoString implements fmt.GoStringer with a placeholder.
func (Keyring) GoString() string { return redactedKeyring }

// Format implements fmt.Formatter with a placeholder for every verb.
func (Keyring) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redactedKeyring)) }

// LogValue implements slog.LogValuer with a placeholder.
func (Keyring) LogValue() slog.Value { return slog.StringValue(redactedKeyring) }

// MarshalJSON implements json.Marshaler with a placeholder.
func (Keyring) MarshalJSON() ([]byte, error) { return []byte(`"` + redactedKeyring + `"`), nil }

// MarshalText implements encoding.TextMarshaler with a placeholder.
func (Keyring) MarshalText() ([]byte, error) { return []byte(redactedKeyring), nil }
