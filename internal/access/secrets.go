package access

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"github.com/sealcast/sealcast/token"
)

// The signing keys that have no row: KEY_TOKEN_SECRET, which applications share,
// and what we mint with.
const (
	SharedKey = "shared"
	OwnKey    = "sealcast"
)

// secrets are those that follow from KEY_TOKEN_SECRET (HKDF, RFC 5869), so that
// no secret of ours has to be stored: with it they all change.
type secrets struct {
	root     []byte
	shared   *token.HMAC
	own      *token.Signer
	ownKey   *token.Key
	sessions *token.Sealer
}

func newSecrets(root []byte) (*secrets, error) {
	s := &secrets{root: append([]byte(nil), root...)}
	var err error
	if s.shared, err = token.NewHMAC(root); err != nil {
		return nil, err
	}
	if s.sessions, err = token.NewSealer(root); err != nil {
		return nil, err
	}
	own, err := s.derive(OwnKey, nil)
	if err != nil {
		return nil, err
	}
	if s.own, err = token.NewSymmetricSigner(OwnKey, own); err != nil {
		return nil, err
	}
	s.ownKey, err = token.NewSymmetricKey(OwnKey, own, token.Rules{MaxTTL: token.MaxKeyTTL, AllowWildcard: true, Record: OwnKey})
	return s, err
}

// derive gives the 32 bytes of a symmetric signing key.
func (s *secrets) derive(kid string, salt []byte) ([]byte, error) {
	secret, err := hkdf.Key(sha256.New, s.root, salt, "sealcast signing key "+kid, 32)
	if err != nil {
		return nil, fmt.Errorf("derive the secret of %s: %w", kid, err)
	}
	return secret, nil
}
