package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	secretPrefix = "whsec_"
	// The bounds of the specification for a symmetric secret's bytes.
	minSecret, maxSecret = 24, 64
)

// ParseSecret reads whsec_<base64>. Its error never repeats any of it.
func ParseSecret(text string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(text, secretPrefix)
	if !ok {
		return nil, errors.New("does not begin with " + secretPrefix)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	switch {
	case err != nil || strings.ContainsAny(encoded, "\r\n"):
		return nil, errors.New("is not base64 with padding after " + secretPrefix)
	case len(key) < minSecret, len(key) > maxSecret:
		return nil, fmt.Errorf("has %d bytes after decoding, needs %d to %d", len(key), minSecret, maxSecret)
	}
	return key, nil
}

// Signer signs messages with one secret, or with two while receivers change
// from one to the other. It holds its secrets where no formatter gets at them.
type Signer struct {
	sums []func(message []byte) []byte
}

// NewSigner takes the secrets, the newest first.
func NewSigner(secrets ...string) (*Signer, error) {
	if len(secrets) == 0 {
		return nil, errors.New("sign webhooks: no secret")
	}
	s := &Signer{}
	for _, text := range secrets {
		key, err := ParseSecret(text)
		if err != nil {
			return nil, fmt.Errorf("sign webhooks: the secret %w", err)
		}
		s.sums = append(s.sums, func(message []byte) []byte {
			mac := hmac.New(sha256.New, key)
			_, _ = mac.Write(message) // a hash never fails
			return mac.Sum(nil)
		})
	}
	return s, nil
}

// Sign gives the value of webhook-signature: a signature for each secret.
func (s *Signer) Sign(id string, at time.Time, body []byte) string {
	message := append([]byte(id+"."+strconv.FormatInt(at.Unix(), 10)+"."), body...)
	signatures := make([]string, 0, len(s.sums))
	for _, sum := range s.sums {
		signatures = append(signatures, "v1,"+base64.StdEncoding.EncodeToString(sum(message)))
	}
	return strings.Join(signatures, " ")
}
