package keystore

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
)

// AEAD seals and opens under one KEK version: AES-256-GCM with a 96-bit nonce
// and a 128-bit tag, wherever the KEK lies. In memory it is this package's own;
// keystore/vault asks a server that keeps the KEK to itself.
type AEAD interface {
	// Seal encrypts plain, bound to aad, under a nonce that it never uses again.
	Seal(ctx context.Context, plain, aad []byte) (nonce, sealed []byte, err error)
	// Open gives back plain. ErrIntegrity when nonce, sealed and aad do not
	// belong together, ErrUnavailable when that could not be found out.
	Open(ctx context.Context, nonce, sealed, aad []byte) (plain []byte, err error)
}

// local is the AEAD of a KEK in memory.
type local struct{ gcm cipher.AEAD }

// Seal implements AEAD with a random nonce (NIST SP 800-38D, 8.2.2).
func (l local) Seal(_ context.Context, plain, aad []byte) (nonce, sealed []byte, err error) {
	nonce = make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // never fails since Go 1.24
	return nonce, l.gcm.Seal(nil, nonce, plain, aad), nil
}

// Open implements AEAD.
func (l local) Open(_ context.Context, nonce, sealed, aad []byte) ([]byte, error) {
	if len(nonce) != nonceSize || len(sealed) < tagSize {
		return nil, ErrIntegrity // a wrong nonce size would panic in Open
	}
	plain, err := l.gcm.Open(nil, nonce, sealed, aad)
	if err != nil {
		return nil, ErrIntegrity
	}
	return plain, nil
}
