package token_test

import (
	"fmt"
	"os"
	"time"

	"github.com/sealcast/sealcast/token"
)

// An application mints a token of form J for one of its viewers.
func ExampleSigner_Mint() {
	const signingKey = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----` // the example of RFC 8037, A.1; yours comes from a secret store
	private, err := token.ParsePrivateKey([]byte(signingKey))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	signer, err := token.NewSigner("app-2026", private)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	tok, err := signer.Mint(token.Claims{
		Subject: "film-1", Audience: []string{"v"}, UID: "user-17", ExpiresAt: time.Unix(1_800_000_000, 0),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	key, err := token.NewPublicKey("app-2026", private.Public(), token.Rules{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	verifier := token.Verifier{Key: func(string) *token.Key { return key }}
	grant, err := verifier.Verify(tok, time.Unix(1_799_999_700, 0))
	fmt.Println(grant.Subject, grant.UID, grant.KeyID, err)
	// Output: film-1 user-17 app-2026 <nil>
}
