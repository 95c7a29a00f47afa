package pipeline

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"

	"github.com/sealcast/sealcast/internal/cenc"
)

// sealSegment encrypts a whole segment with AES-128-CBC and PKCS #7 padding
// under a random IV of its own (RFC 8216, 5.2; RFC 5652, 6.3). Random, because
// one key serves every rendition of the output.
func sealSegment(key cenc.ContentKey, segment []byte) (sealed []byte, iv [16]byte, err error) {
	block, err := aes.NewCipher(key.Bytes())
	if err != nil {
		return nil, iv, fmt.Errorf("seal segment: %w", err)
	}
	_, _ = rand.Read(iv[:])
	pad := aes.BlockSize - len(segment)%aes.BlockSize
	sealed = segment // encrypted in place
	for range pad {
		sealed = append(sealed, byte(pad))
	}
	cipher.NewCBCEncrypter(block, iv[:]).CryptBlocks(sealed, sealed)
	return sealed, iv, nil
}

// openSegment reverses sealSegment in place.
func openSegment(key cenc.ContentKey, iv [16]byte, sealed []byte) ([]byte, error) {
	block, err := aes.NewCipher(key.Bytes())
	if err != nil {
		return nil, fmt.Errorf("open segment: %w", err)
	}
	if len(sealed) == 0 || len(sealed)%aes.BlockSize != 0 {
		return nil, fmt.Errorf("open segment: %d bytes are no whole number of blocks", len(sealed))
	}
	cipher.NewCBCDecrypter(block, iv[:]).CryptBlocks(sealed, sealed)
	pad := int(sealed[len(sealed)-1])
	if pad < 1 || pad > aes.BlockSize {
		return nil, fmt.Errorf("open segment: bad padding")
	}
	for _, b := range sealed[len(sealed)-pad:] {
		if int(b) != pad {
			return nil, fmt.Errorf("open segment: bad padding")
		}
	}
	return sealed[:len(sealed)-pad], nil
}
