package keystore

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/cenc"
)

func testRing(t testing.TB) *Keyring {
	t.Helper()
	keys, err := NewKeyring(2, map[int][]byte{
		1: bytes.Repeat([]byte{1}, KEKSize),
		2: bytes.Repeat([]byte{2}, KEKSize),
	})
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func testBinding() binding {
	return binding{
		kekVersion: 2,
		kid:        cenc.KID{0: 0xab, 15: 0xcd},
		hash:       strings.Repeat("0f", 32),
		jobID:      "job-1", attempt: 3, track: "cmaf", scheme: cenc.SchemeCBCS,
	}
}

// The format is frozen: a row sealed by any release opens with every later one.
// The sealed bytes were made by another implementation (Python, cryptography).
func TestSealedRowOfVersion1Opens(t *testing.T) {
	const aad = "00000017" + "7365616c636173742f636f6e74656e742d6b65792f7631" + // sealcast/content-key/v1
		"00000008" + "0000000000000002" + // KEK version
		"00000010" + "ab0000000000000000000000000000cd" + // KID
		"00000040" + // hash, 32 times "0f"
		"3066306630663066306630663066306630663066306630663066306630663066" +
		"3066306630663066306630663066306630663066306630663066306630663066" +
		"00000005" + "6a6f622d31" + // job-1
		"00000008" + "0000000000000003" + // attempt
		"00000004" + "636d6166" + // cmaf
		"00000004" + "63626373" // cbcs
	if got := hex.EncodeToString(testBinding().aad()); got != aad {
		t.Errorf("AAD\n got %s\nwant %s", got, aad)
	}
	nonce, _ := hex.DecodeString("000102030405060708090a0b")
	wrapped, _ := hex.DecodeString("2828969fa23dab370bfb2575ecdb1188483f0e69b8f5f685c1c52ad250886d36")
	key, err := testRing(t).unwrap(t.Context(), testBinding(), nonce, wrapped)
	if err != nil || string(key.Bytes()) != "a test's secrets" {
		t.Errorf("unwrap: %v", err)
	}
}

func TestWrapUsesAFreshNonce(t *testing.T) {
	keys, key := testRing(t), cenc.NewContentKey()
	n1, w1, err1 := keys.wrap(t.Context(), testBinding(), key)
	n2, w2, err2 := keys.wrap(t.Context(), testBinding(), key)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(n1, n2) || bytes.Equal(w1, w2) {
		t.Error("two seals have one nonce")
	}
	if len(n1) != 12 || len(w1) != 32 {
		t.Errorf("nonce of %d and wrapped key of %d bytes; the schema wants 12 and 32", len(n1), len(w1))
	}
	if bytes.Contains(w1, key.Bytes()) {
		t.Error("the wrapped key shows the key")
	}
}

// Fields are length-prefixed: moving a character over a border is a change.
func TestAADHasNoAmbiguity(t *testing.T) {
	a, b := testBinding(), testBinding()
	a.jobID, a.track = "job", "1-cmaf"
	b.jobID, b.track = "job1", "-cmaf"
	if bytes.Equal(a.aad(), b.aad()) {
		t.Error("two bindings have one AAD")
	}
}

func TestPurposesDoNotMix(t *testing.T) {
	keys := testRing(t)
	nonce, value, err := keys.sealCheck(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	if keys.fits(t.Context(), 2, nonce, value) != nil {
		t.Error("own check value does not fit")
	}
	if keys.fits(t.Context(), 1, nonce, value) == nil || keys.fits(t.Context(), 3, nonce, value) == nil {
		t.Error("check value of version 2 fits another version")
	}
	if _, err := keys.unwrap(t.Context(), testBinding(), nonce, value); !errors.Is(err, ErrIntegrity) {
		t.Errorf("check value opens as a content key: %v", err)
	}
	nonce, wrapped, err := keys.wrap(t.Context(), testBinding(), cenc.NewContentKey())
	if err != nil {
		t.Fatal(err)
	}
	if keys.fits(t.Context(), 2, nonce, wrapped) == nil {
		t.Error("content key passes as a check value")
	}
}

func TestUnwrapRefusesOddSizes(t *testing.T) {
	keys := testRing(t)
	for _, size := range []int{0, 1, 11, 13, 16, 32} {
		if _, err := keys.unwrap(t.Context(), testBinding(), make([]byte, size), make([]byte, 32)); !errors.Is(err, ErrIntegrity) {
			t.Errorf("nonce of %d bytes: %v", size, err)
		}
		if _, err := keys.unwrap(t.Context(), testBinding(), make([]byte, nonceSize), make([]byte, size)); !errors.Is(err, ErrIntegrity) {
			t.Errorf("wrapped key of %d bytes: %v", size, err)
		}
	}
	// What opens, but is no content key.
	for name, plain := range map[string][]byte{"short": make([]byte, 15), "zero": make([]byte, 16), "long": make([]byte, 17)} {
		aead, err := keys.aead(2)
		if err != nil {
			t.Fatal(err)
		}
		nonce, sealed, err := aead.Seal(t.Context(), plain, testBinding().aad())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := keys.unwrap(t.Context(), testBinding(), nonce, sealed); !errors.Is(err, ErrIntegrity) {
			t.Errorf("%s: %v, want ErrIntegrity", name, err)
		}
	}
	b := testBinding()
	b.kekVersion = 7
	if _, _, err := keys.wrap(t.Context(), b, cenc.NewContentKey()); !errors.Is(err, ErrKEKMissing) {
		t.Errorf("wrap under an absent version: %v", err)
	}
}

// FuzzUnwrap states: what was sealed opens to the same key under the same
// binding, and under no other binding, nonce or ciphertext.
func FuzzUnwrap(f *testing.F) {
	f.Add(1, []byte("0123456789abcdef"), "hash", "job-1", 1, "cmaf", "cbcs", []byte("a content key 16"), uint(0), byte(1), uint8(0))
	f.Add(2, make([]byte, 16), "", "", 0, "", "", []byte("another one's 16"), uint(43), byte(0x80), uint8(5))
	f.Add(1, []byte("0123456789abcdef"), "a", "b", math.MinInt, "ts", "aes-128", []byte("a content key 16"), uint(9), byte(0), uint8(7))
	keys := testRing(f)
	f.Fuzz(func(t *testing.T, version int, kid []byte, hash, job string, attempt int, track, scheme string,
		secret []byte, at uint, mask byte, field uint8,
	) {
		key, err := cenc.ContentKeyFrom(secret)
		if err != nil || key.IsZero() || len(kid) != cenc.KeySize {
			return
		}
		b := binding{
			kekVersion: version, kid: cenc.KID(kid), hash: hash, jobID: job,
			attempt: attempt, track: track, scheme: cenc.Scheme(scheme),
		}
		nonce, wrapped, err := keys.wrap(t.Context(), b, key)
		if err != nil {
			if (version == 1 || version == 2) || !errors.Is(err, ErrKEKMissing) {
				t.Fatal(err)
			}
			return
		}
		if got, err := keys.unwrap(t.Context(), b, nonce, wrapped); err != nil || !got.Equal(key) {
			t.Fatalf("round trip: %v", err)
		}

		// One bit or more of nonce or wrapped key.
		if mask != 0 {
			row := append(bytes.Clone(nonce), wrapped...)
			row[at%uint(len(row))] ^= mask
			if _, err := keys.unwrap(t.Context(), b, row[:nonceSize], row[nonceSize:]); !errors.Is(err, ErrIntegrity) {
				t.Fatalf("changed row: %v", err)
			}
		}
		if _, err := keys.unwrap(t.Context(), b, nonce, wrapped[:at%uint(len(wrapped))]); !errors.Is(err, ErrIntegrity) {
			t.Fatalf("truncated row: %v", err)
		}

		// One field.
		c := b
		switch field % 7 {
		case 0:
			c.kekVersion = 3 - version
		case 1:
			c.kid[at%cenc.KeySize] ^= mask | 1
		case 2:
			c.hash += "0"
		case 3:
			c.jobID, c.track = c.jobID+c.track, ""
		case 4:
			c.attempt++
		case 5:
			c.track += "\x00"
		case 6:
			c.scheme, c.track = c.scheme+"x", strings.TrimSuffix(c.track, "x")
		}
		if c == b {
			return
		}
		if _, err := keys.unwrap(t.Context(), c, nonce, wrapped); !errors.Is(err, ErrIntegrity) {
			t.Fatalf("changed field %d: %v", field%7, err)
		}
	})
}
