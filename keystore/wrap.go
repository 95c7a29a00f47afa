package keystore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/sealcast/sealcast/internal/cenc"
)

// Purpose and format version open every AAD, so that a seal made for one
// purpose never opens as another. A change of the fields or of their encoding
// is a new version.
const (
	purposeContentKey = "sealcast/content-key/v1"
	purposeKEKCheck   = "sealcast/kek-check/v1"

	checkText = "sealcast: this is the right KEK."
)

const (
	nonceSize = 12 // bytes; random (NIST SP 800-38D, 8.2.2)
	tagSize   = 16
)

// binding is what a wrapped key is sealed to: exchange a field, or the sealed
// bytes of two rows, and the key does not open.
type binding struct {
	kekVersion int
	kid        cenc.KID
	hash       string
	jobID      string
	attempt    int
	track      string
	scheme     cenc.Scheme
}

func (b binding) aad() []byte {
	a := make(aad, 0, 256)
	a.text(purposeContentKey)
	a.number(b.kekVersion)
	a.bytes(b.kid[:])
	a.text(b.hash)
	a.text(b.jobID)
	a.number(b.attempt)
	a.text(b.track)
	a.text(string(b.scheme))
	return a
}

// aad collects fields, each behind its length (4 bytes, big-endian), so that
// no two lists of fields have the same bytes. Numbers are 8 bytes, big-endian.
type aad []byte

func (a *aad) bytes(field []byte) {
	*a = binary.BigEndian.AppendUint32(*a, uint32(len(field)))
	*a = append(*a, field...)
}

func (a *aad) text(field string) {
	*a = binary.BigEndian.AppendUint32(*a, uint32(len(field)))
	*a = append(*a, field...)
}

func (a *aad) number(n int) {
	*a = binary.BigEndian.AppendUint32(*a, 8)
	*a = binary.BigEndian.AppendUint64(*a, uint64(n))
}

// wrap seals a content key under the KEK version that b names.
func (k *Keyring) wrap(ctx context.Context, b binding, key cenc.ContentKey) (nonce, wrapped []byte, err error) {
	aead, err := k.aead(b.kekVersion)
	if err != nil {
		return nil, nil, err
	}
	plain := key.Bytes()
	defer clear(plain)
	return aead.Seal(ctx, plain, b.aad())
}

// unwrap opens what wrap sealed to the same binding. ErrKEKMissing when the
// keyring lacks the version, ErrUnavailable when its KEK does not answer,
// ErrIntegrity for every other reason: a tag that does not fit says no more,
// and a caller could do no more with it.
func (k *Keyring) unwrap(ctx context.Context, b binding, nonce, wrapped []byte) (cenc.ContentKey, error) {
	aead, err := k.aead(b.kekVersion)
	if err != nil {
		return cenc.ContentKey{}, err
	}
	plain, err := aead.Open(ctx, nonce, wrapped, b.aad())
	if err != nil {
		return cenc.ContentKey{}, err
	}
	defer clear(plain)
	key, err := cenc.ContentKeyFrom(plain)
	if err != nil || key.IsZero() {
		return cenc.ContentKey{}, fmt.Errorf("%w: not a content key", ErrIntegrity)
	}
	return key, nil
}

func checkAAD(version int) []byte {
	var a aad
	a.text(purposeKEKCheck)
	a.number(version)
	return a
}

// sealCheck makes the check value of a version: a fixed text under its KEK.
func (k *Keyring) sealCheck(ctx context.Context, version int) (nonce, value []byte, err error) {
	aead, err := k.aead(version)
	if err != nil {
		return nil, nil, err
	}
	return aead.Seal(ctx, []byte(checkText), checkAAD(version))
}

// fits is nil when the keyring's KEK of that version made the check value,
// ErrKEKMismatch when another one did.
func (k *Keyring) fits(ctx context.Context, version int, nonce, value []byte) error {
	aead, err := k.aead(version)
	if err != nil {
		return err
	}
	text, err := aead.Open(ctx, nonce, value, checkAAD(version))
	if errors.Is(err, ErrIntegrity) || (err == nil && string(text) != checkText) {
		return ErrKEKMismatch
	}
	return err
}
