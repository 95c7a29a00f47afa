package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestKeysThatAreRefused(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // that is the point
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	even := *testKeys()["rsa"].Public().(*rsa.PublicKey)
	even.E = 2
	one := even
	one.E = 1
	ed := testKeys()["ed"].Public()
	for name, f := range map[string]func() (*Key, error){
		"RSA of 1024 bits": func() (*Key, error) { return NewPublicKey("k", small.Public(), Rules{}) },
		"even exponent":    func() (*Key, error) { return NewPublicKey("k", &even, Rules{}) },
		"exponent 1":       func() (*Key, error) { return NewPublicKey("k", &one, Rules{}) },
		"P-384":            func() (*Key, error) { return NewPublicKey("k", p384.Public(), Rules{}) },
		"private":          func() (*Key, error) { return NewPublicKey("k", testKeys()["ed"], Rules{}) },
		"short Ed25519":    func() (*Key, error) { return NewPublicKey("k", ed25519.PublicKey{1}, Rules{}) },
		"short secret":     func() (*Key, error) { return NewSymmetricKey("k", symmetric[:31], Rules{}) },
		"kid":              func() (*Key, error) { return NewPublicKey("a/b", ed, Rules{}) },
		"kid, empty":       func() (*Key, error) { return NewPublicKey("", ed, Rules{}) },
		"more than year":   func() (*Key, error) { return NewPublicKey("k", ed, Rules{MaxTTL: MaxKeyTTL + 1}) },
	} {
		if k, err := f(); err == nil {
			t.Errorf("%s: accepted as %s", name, k.Alg())
		}
	}
}

func TestSymmetricKeySignsFormHUnderItsKid(t *testing.T) {
	v := verifier(t)
	other, err := NewHMAC(symmetric)
	if err != nil {
		t.Fatal(err)
	}
	claims := Claims{Hash: hash, ExpiresAt: now.Add(time.Minute), KeyID: "sym"}
	mint := func(h *HMAC, kid string) string {
		claims.KeyID = kid
		tok, err := h.Mint(claims)
		if err != nil {
			t.Fatal(err)
		}
		return tok
	}
	for name, tt := range map[string]struct{ tok, code string }{
		"its kid":                          {mint(other, "sym"), ""},
		"no kid":                           {mint(other, ""), CodeInvalid},
		"shared secret under another kid":  {mint(v.Secret, "sym"), CodeInvalid},
		"kid of a public key":              {mint(other, "rsa"), CodeInvalid},
		"public key as the secret":         {mint(v.Secret, "ed"), CodeInvalid},
		"unknown kid, signed with the one": {mint(v.Secret, "zzz"), CodeInvalid},
	} {
		grant, err := v.Verify(tt.tok, now)
		checkCode(t, err, tt.code)
		if err == nil && grant.KeyID != "sym" {
			t.Errorf("%s: KeyID %q", name, grant.KeyID)
		}
	}
}

func TestSignersRedactThemselves(t *testing.T) {
	v := verifier(t)
	for _, x := range []any{signer(t, "sym"), v.Key("sym"), v.Sessions} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%x", "%s"} {
			if s := fmt.Sprintf(verb, x); !strings.HasPrefix(s, "[") || strings.Contains(s, "ssss") || strings.Contains(s, "7373") {
				t.Errorf("%s: %s", verb, s)
			}
		}
	}
}

func TestPEM(t *testing.T) {
	for kid, private := range testKeys() {
		der, err := x509.MarshalPKCS8PrivateKey(private)
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParsePrivateKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
		if err != nil {
			t.Fatalf("%s: %v", kid, err)
		}
		if der, err = x509.MarshalPKIXPublicKey(back.Public()); err != nil {
			t.Fatal(err)
		}
		text := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
		public, err := ParsePublicKey(text)
		if err != nil || !public.(interface{ Equal(crypto.PublicKey) bool }).Equal(private.Public()) {
			t.Errorf("%s: %v", kid, err)
		}
		if _, err := ParsePublicKey(append(text, text...)); err == nil {
			t.Error("two blocks are taken")
		}
	}
	for _, text := range []string{"", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := ParsePublicKey([]byte(text)); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
