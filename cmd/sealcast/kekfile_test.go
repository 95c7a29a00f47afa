package main

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sealcast/sealcast/keystore/vault/vaulttest"
)

func writeKEKs(t *testing.T, file, text string, mode os.FileMode) {
	t.Helper()
	_ = os.Remove(file)
	if err := os.WriteFile(file, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
}

func TestKEKFile(t *testing.T) {
	one, two := strings.Repeat("1a", 32), strings.Repeat("2b", 32)
	load := func(text string, mode os.FileMode, more environment) (config, error) {
		t.Helper()
		file := filepath.Join(t.TempDir(), "keks")
		writeKEKs(t, file, text, mode)
		environ := environment{"KEK_FILE": file}
		maps.Copy(environ, more)
		var c config
		_, err := c.load(environ, func(c *config) []any { return []any{&c.KEK} })
		return c, err
	}
	good := "# the keys\n\nKEK_PRIMARY=2\nKEK_1=" + one + "\n KEK_2=" + two + "\r\n"
	c, err := load(good, 0o400, nil)
	if err != nil || c.KEK.Primary != 2 || len(c.KEK.Versions) != 2 {
		t.Fatalf("primary %d of %d, %v", c.KEK.Primary, len(c.KEK.Versions), err)
	}
	if ring, err := c.KEK.keyring(); err != nil || ring.Primary() != 2 || len(ring.Versions()) != 2 {
		t.Errorf("keyring: %v", err)
	}
	transit := "KEK_PRIMARY=1\nKEK_1=vault:transit/sealcast:1\n"
	for name, test := range map[string]struct {
		text string
		mode os.FileMode
		more environment
		want string
	}{
		"others may read":    {good, 0o440, nil, "mode is 0440 and must be 0400"},
		"we may write":       {good, 0o600, nil, "mode is 0600 and must be 0400"},
		"a line of nothing":  {good + one + "\n", 0o400, nil, "has a line 6 that is neither"},
		"another variable":   {good + "API_KEY=x\n", 0o400, nil, "has a line 6 that is neither"},
		"in both places":     {good, 0o400, environment{"KEK_1": one}, "has KEK_1 in line 4, which is set already"},
		"twice":              {good + "KEK_1=" + one + "\n", 0o400, nil, "has KEK_1 in line 6, which is set already"},
		"no primary":         {"KEK_1=" + one, 0o400, nil, "KEK_PRIMARY: is not set"},
		"too short":          {"KEK_PRIMARY=1\nKEK_1=" + one[:62], 0o400, nil, "needs exactly 64 hex digits"},
		"vault without more": {transit, 0o400, nil, "VAULT_ADDR: is not set"},
		"vault, no token":    {transit, 0o400, environment{"VAULT_ADDR": "https://vault.example.org"}, "VAULT_TOKEN: is not set"},
		"vault, misspelt":    {"KEK_PRIMARY=1\nKEK_1=vault:transit:1\n", 0o400, nil, "is no vault:<mount>/<key>:<version>"},
	} {
		_, err := load(test.text, test.mode, test.more)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		} else if strings.Contains(err.Error(), one[:62]) {
			t.Errorf("%s: the error shows a KEK", name)
		}
	}
}

// An API takes a new KEK, here one in Vault, from its KEK_FILE by SIGHUP
// without a restart; a file that cannot be used changes nothing.
func TestE2EReloadKEKs(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	server := vaulttest.New(t)
	hash, _ := r.title(r.keyStore(1), 1)
	file := filepath.Join(t.TempDir(), "keks")
	first := "KEK_PRIMARY=1\nKEK_1=" + r.env["KEK_1"] + "\n"
	writeKEKs(t, file, first, 0o400)
	delete(r.env, "KEK_1")
	delete(r.env, "KEK_PRIMARY")
	r.env["KEK_FILE"], r.env["LOG_LEVEL"] = file, "info"
	r.env["VAULT_ADDR"], r.env["VAULT_TOKEN"] = server.URL, vaulttest.Token
	api := r.start([]string{"api"})
	r.ready(api)
	hangUp := func(words string) {
		t.Helper()
		before := strings.Count(api.out.String(), words)
		_ = api.cmd.Process.Signal(syscall.SIGHUP)
		for deadline := time.Now().Add(30 * time.Second); strings.Count(api.out.String(), words) == before; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("it does not say %q:\n%s", words, api.out.String())
			}
		}
	}
	writeKEKs(t, file, first+"KEK_2=vault:transit/sealcast:1\n", 0o440)
	hangUp("must be 0400")
	writeKEKs(t, file, strings.Replace(first, "PRIMARY=1", "PRIMARY=2", 1)+"KEK_2=vault:transit/sealcast:1\n", 0o400)
	hangUp("KEKs were read again")
	if n := r.count(`SELECT version FROM kek_versions WHERE state = 'primary'`); n != 2 {
		t.Errorf("the primary is %d, want 2", n)
	}
	r.exits(exitOK, "1 content keys were sealed anew under KEK version 2", "rewrap")
	bearer := "Authorization: Bearer " + r.token(hash, time.Minute)
	if a := r.do("GET", "/api/key/"+hash, "", bearer); a.status != 200 || len(a.body) != 16 {
		t.Errorf("a key whose KEK lies in Vault: %d", a.status)
	}
	server.Seal(t)
	if a := r.do("GET", "/api/key/"+hash, "", bearer); a.status != 503 {
		t.Errorf("Vault is sealed: %d", a.status)
	}
	for _, secret := range []string{vaulttest.Token, strings.TrimSpace(first[len("KEK_PRIMARY=1\nKEK_1="):])} {
		if strings.Contains(api.out.String(), secret) {
			t.Error("the log shows a secret")
		}
	}
}
