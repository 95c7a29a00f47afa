package main

import (
	"context"
	"flag"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/sealcast/sealcast/token"
)

// defaultTokenTTL is how long a minted token lives unless told otherwise.
const defaultTokenTTL = 5 * time.Minute

var hashRE = regexp.MustCompile(`^[0-9a-f]{64}$`)

func tokenCommand() *command {
	return &command{
		name: "token", args: "HASH",
		summary: "mint a playback token for a title, to try things out",
		long: `Prints a token that opens the title with this hash (64 lower-case hex digits: the
SHA-256 of its source). Players send it as "Authorization: Bearer TOKEN" to
/api/key/HASH. Only the token is printed on stdout. Applications mint their own:
see the package token.`,
		needs: func(c *config) []any { return []any{&c.Token} },
		exits: []int{exitOK, exitFailure, exitUsage},
		newFlags: func(fs *flag.FlagSet) action {
			ttl := fs.Duration("ttl", defaultTokenTTL, "how long the token is valid, at most "+shortDuration(token.MaxTTL))
			return func(_ context.Context, s *session) error { return printToken(s, *ttl) }
		},
	}
}

func printToken(s *session, ttl time.Duration) error {
	if len(s.args) != 1 {
		return usageError{"give exactly one HASH"}
	}
	tok, err := mintToken(s.cfg.Token.Secret, s.args[0], ttl)
	if err != nil {
		return err
	}
	for _, w := range s.cfg.warnings() {
		fmt.Fprintf(s.stderr, "sealcast token: warning: %s\n", w)
	}
	_, err = fmt.Fprintln(s.stdout, tok)
	return err
}

// mintToken mints a token of form H that is valid for ttl from now.
func mintToken(key tokenSecret, hash string, ttl time.Duration) (string, error) {
	switch {
	case !hashRE.MatchString(hash) && hashRE.MatchString(strings.ToLower(hash)):
		return "", usageError{"the hash must be in lower case"}
	case !hashRE.MatchString(hash):
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
