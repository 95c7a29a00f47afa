package keystore

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"time"
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

// kekTimeout is how long a KEK that lies elsewhere may take for a call.
const kekTimeout = 5 * time.Second

// patient is an AEAD that has to ask somebody, and waits for kekTimeout at most;
// an earlier deadline of its caller holds.
type patient struct{ AEAD }

// Seal implements AEAD.
func (p patient) Seal(ctx context.Context, plain, aad []byte) (nonce, sealed []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, kekTimeout)
	defer cancel()
	return p.AEAD.Seal(ctx, plain, aad)
}

// Open implements AEAD.
func (p patient) Open(ctx context.Context, nonce, sealed, aad []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, kekTimeout)
	defer cancel()
	return p.AEAD.Open(ctx, nonce, sealed, aad)
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
