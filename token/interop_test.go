package token

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// snippet is the code block under a heading of the README: what is written there
// is what runs here.
func snippet(t *testing.T, heading string) string {
	t.Helper()
	doc, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, under, ok := strings.Cut(string(doc), "\n#### "+heading+"\n")
	_, block, fenced := strings.Cut(under, "\n```")
	_, code, _ := strings.Cut(block, "\n")
	code, _, closed := strings.Cut(code, "\n```")
	if !ok || !fenced || !closed {
		t.Fatalf("the README has no code under %q", heading)
	}
	return code
}

func privatePEM(t *testing.T, kid string) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(testKeys()[kid])
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// TestOtherLanguages: what the README says for Go, Node (jsonwebtoken) and
// Python (PyJWT) makes tokens that Verify takes, with each algorithm.
func TestOtherLanguages(t *testing.T) {
	v := verifier(t)
	inGo := filepath.Join(t.TempDir(), "main.go")
	if err := os.WriteFile(inGo, []byte(snippet(t, "Go")), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, lang := range []struct {
		name, program, dir string
		args               []string
		algorithms         []string
	}{
		{"Go", "go", ".", []string{"run", inGo}, []string{RS256, ES256, EdDSA}},
		{"Node", "node", "interop", []string{"-"}, []string{RS256, ES256}}, // jsonwebtoken has no EdDSA
		{"Python", "/usr/bin/python3", ".", []string{"-"}, []string{RS256, ES256, EdDSA}},
	} {
		for _, alg := range lang.algorithms {
			t.Run(lang.name+"/"+alg, func(t *testing.T) {
				kid := map[string]string{RS256: "rsa", ES256: "ec", EdDSA: "ed"}[alg]
				cmd := exec.CommandContext(t.Context(), lang.program, lang.args...)
				cmd.Dir = lang.dir
				cmd.Env = append(os.Environ(), "SIGNING_KEY="+privatePEM(t, kid), "SIGNING_KID="+kid, "PLAYBACK_KEY=film-1")
				cmd.Stdin = strings.NewReader(strings.ReplaceAll(snippet(t, lang.name), ES256, alg))
				var stderr strings.Builder
				cmd.Stderr = &stderr
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%v: %s (make deps installs what is needed)", err, stderr.String())
				}
				grant, err := v.Verify(strings.TrimSpace(string(out)), time.Now())
				if err != nil {
					t.Fatalf("%s: %v", out, err)
				}
				if grant.Subject != "film-1" || grant.UID != "user-17" || grant.KeyID != kid || !grant.Allows(ScopeKey, false) || grant.IssuedAt.IsZero() {
					t.Errorf("%+v", grant)
				}
			})
		}
	}
}
