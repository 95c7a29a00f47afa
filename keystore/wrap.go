package keystore

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
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
	var a aad
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

func (a *aad) text(field string) { a.bytes([]byte(field)) }

func (a *aad) number(n int) {
	a.bytes(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// wrap seals a content key under the KEK version that b names.
func (k *Keyring) wrap(b binding, key cenc.ContentKey) (nonce, wrapped []byte, err error) {
	aead, err := k.aead(b.kekVersion)
	if err != nil {
		return nil, nil, err
	}
	plain := key.Bytes()
	defer clear(plain)
	nonce, wrapped = seal(aead, plain, b.aad())
	return nonce, wrapped, nil
}

// unwrap opens what wrap sealed to the same binding. ErrKEKMissing when the
// keyring lacks the version, ErrIntegrity for every other reason: a tag that
// does not fit says no more, and a caller could do no more with it.
func (k *Keyring) unwrap(b binding, nonce, wrapped []byte) (cenc.ContentKey, error) {
	aead, err := k.aead(b.kekVersion)
	if err != nil {
		return cenc.ContentKey{}, err
	}
	plain, err := open(aead, nonce, wrapped, b.aad())
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
func (k *Keyring) sealCheck(version int) (nonce, value []byte, err error) {
	aead, err := k.aead(version)
	if err != nil {
		return nil, nil, err
	}
	nonce, value = seal(aead, []byte(checkText), checkAAD(version))
	return nonce, value, nil
}

// fits says whether the keyring's KEK of that version made the check value.
func (k *Keyring) fits(version int, nonce, value []byte) bool {
	aead, err := k.aead(version)
	if err != nil {
		return false
	}
	text, err := open(aead, nonce, value, checkAAD(version))
	return err == nil && string(text) == checkText
}

func seal(aead cipher.AEAD, plain, aad []byte) (nonce, sealed []byte) {
	nonce = make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // never fails since Go 1.24
	return nonce, aead.Seal(nil, nonce, plain, aad)
}

func open(aead cipher.AEAD, nonce, sealed, aad []byte) ([]byte, error) {
	if len(nonce) != nonceSize || len(sealed) < tagSize {
		return nil, ErrIntegrity // a wrong nonce size would panic in Open
	}
	plain, err := aead.Open(nil, nonce, sealed, aad)
	if err != nil {
		return nil, ErrIntegrity
	}
	return plain, nil
}
