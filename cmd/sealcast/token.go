package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/token"
)

// defaultTokenTTL is how long a minted token lives unless told otherwise.
const defaultTokenTTL = 5 * time.Minute

func tokenCommand() *command {
	return &command{
		name: "token", args: "HASH | -signing-key FILE -kid KID SUBJECT",
		summary: "mint a playback token, to try things out",
		long: `Prints a token that opens the title with this hash (64 lower-case hex digits: the
SHA-256 of its source), under KEY_TOKEN_SECRET. With -signing-key and -kid it is a
JWT under that private key (PEM, as POST /api/signing-keys shows it), and SUBJECT
is a playback key, a hash, an external id or *. Players send a token as
"Authorization: Bearer TOKEN". Only the token is printed on stdout. Applications
mint their own: see "Minting tokens" in the README.`,
		needs: func(c *config) []any { return []any{&c.Mint} },
		exits: []int{exitOK, exitFailure, exitUsage},
		newFlags: func(fs *flag.FlagSet) action {
			var m minting
			fs.DurationVar(&m.ttl, "ttl", defaultTokenTTL, "how long the token is valid, at most "+shortDuration(token.MaxTTL)+", with -signing-key 365 days")
			fs.StringVar(&m.keyFile, "signing-key", "", "file of a private signing key in PEM; without it KEY_TOKEN_SECRET signs")
			fs.StringVar(&m.kid, "kid", "", "the signing key's kid")
			fs.StringVar(&m.scope, "scope", "v", "with -signing-key: v all playback, or some of k t s c d by comma")
			fs.StringVar(&m.issuer, "issuer", "", "with -signing-key: the claim iss")
			return func(_ context.Context, s *session) error { return m.print(s) }
		},
	}
}

// minting is what the flags ask for.
type minting struct {
	ttl                         time.Duration
	keyFile, kid, scope, issuer string
}

func (m minting) print(s *session) error {
	if len(s.args) != 1 {
		return usageError{"give exactly one HASH or SUBJECT"}
	}
	mint := m.shared
	if m.keyFile != "" || m.kid != "" {
		mint = m.signed
	}
	tok, err := mint(s)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(s.stdout, tok)
	return err
}

// shared mints form H under KEY_TOKEN_SECRET.
func (m minting) shared(s *session) (string, error) {
	if m.issuer != "" || m.scope != "v" {
		return "", usageError{"-scope and -issuer go with -signing-key"}
	}
	s.cfg.Token.Secret = s.cfg.Mint.Secret
	if s.cfg.Token.Secret.reveal() == "" {
		return "", &configError{[]fault{{"KEY_TOKEN_SECRET", "is not set", "it, or give -signing-key and -kid"}}}
	}
	tok, err := mintToken(s.cfg.Token.Secret, s.args[0], m.ttl)
	if err != nil {
		return "", err
	}
	for _, w := range s.cfg.warnings() {
		fmt.Fprintf(s.stderr, "sealcast token: warning: %s\n", w)
	}
	return tok, nil
}

// signed mints form J.
func (m minting) signed(s *session) (string, error) {
	switch {
	case m.keyFile == "" || m.kid == "":
		return "", usageError{"-signing-key and -kid go together"}
	case m.ttl < time.Second || m.ttl > token.MaxKeyTTL:
		return "", usageError{"-ttl must be from 1s to 8760h, and at most the signing key's max_ttl"}
	}
	text, err := os.ReadFile(m.keyFile)
	if err != nil {
		return "", fmt.Errorf("read the signing key: %w", err)
	}
	private, err := token.ParsePrivateKey(text)
	if err != nil {
		return "", fmt.Errorf("read the signing key %s: %w", m.keyFile, err)
	}
	signer, err := token.NewSigner(m.kid, private)
	if err != nil {
		return "", err
	}
	now := time.Now()
	return signer.Mint(token.Claims{
		Subject: s.args[0], Audience: strings.Split(m.scope, ","), Issuer: m.issuer, IssuedAt: now, ExpiresAt: now.Add(m.ttl),
	})
}

// mintToken mints a token of form H that is valid for ttl from now.
func mintToken(key tokenSecret, hash string, ttl time.Duration) (string, error) {
	switch {
	case !cenc.IsHash(hash) && cenc.IsHash(strings.ToLower(hash)):
		return "", usageError{"the hash must be in lower case"}
	case !cenc.IsHash(hash):
		return "", usageError{fmt.Sprintf("%q is no hash: want 64 hex digits, the SHA-256 of the source", hash)}
	case ttl < time.Second:
		return "", usageError{"-ttl must be at least 1s"}
	case ttl > token.MaxTTL:
		return "", usageError{fmt.Sprintf("-ttl must be at most %s", shortDuration(token.MaxTTL))}
	}
	h, err := token.NewHMAC([]byte(key.reveal()))
	if err != nil {
		return "", err
	}
	return h.Mint(token.Claims{Hash: hash, ExpiresAt: time.Now().Add(ttl)})
}
