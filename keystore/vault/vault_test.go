package vault_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/keystore/keystoretest"
	"github.com/sealcast/sealcast/keystore/vault"
	"github.com/sealcast/sealcast/keystore/vault/vaulttest"
)

func TestMain(m *testing.M) { os.Exit(localstacktest.Run(m)) }

func client(t testing.TB, s *vaulttest.Server, token string) *vault.Client {
	t.Helper()
	c, err := vault.New(vault.Config{Address: s.URL, Token: token})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A store whose KEKs lie in Vault is a store like any other.
func TestStoreWithKEKsInVault(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) keystoretest.Harness {
		pool := localstacktest.Pool(t)
		c := client(t, vaulttest.New(t), vaulttest.Token)
		return keystoretest.Harness{
			Pool: pool,
			Open: func(t *testing.T, keys *keystore.Keyring) keystore.Store {
				s, err := keystore.Open(t.Context(), pool, keys, nil)
				if err != nil {
					t.Fatal(err)
				}
				return s
			},
			Ring: func(t *testing.T, versions ...int) *keystore.Keyring {
				aeads := map[int]keystore.AEAD{}
				for _, v := range versions {
					aeads[v] = c.KEK("transit", "sealcast", v)
				}
				keys, err := keystore.NewKeyringOf(versions[0], aeads)
				if err != nil {
					t.Fatal(err)
				}
				return keys
			},
		}
	})
}

// What is away, forbidden or misnamed may be right later; bytes that do not
// belong together never are.
func TestErrorsOfVault(t *testing.T) {
	s := vaulttest.New(t)
	good := client(t, s, vaulttest.Token)
	kek := good.KEK("transit", "sealcast", 1)
	plain, aad := []byte("0123456789abcdef"), []byte("aad")
	nonce, sealed, err := kek.Seal(t.Context(), plain, aad)
	if err != nil || len(nonce) != 12 || len(sealed) != 32 {
		t.Fatal(err, len(nonce), len(sealed))
	}
	if got, err := kek.Open(t.Context(), nonce, sealed, aad); err != nil || string(got) != string(plain) {
		t.Errorf("open: %v", err)
	}
	for name, open := range map[string]func() ([]byte, error){
		"other data": func() ([]byte, error) { return kek.Open(t.Context(), nonce, sealed, []byte("AAD")) },
		"other version": func() ([]byte, error) {
			return good.KEK("transit", "sealcast", 2).Open(t.Context(), nonce, sealed, aad)
		},
		"other key": func() ([]byte, error) { return good.KEK("transit", "another", 1).Open(t.Context(), nonce, sealed, aad) },
		"short":     func() ([]byte, error) { return kek.Open(t.Context(), nonce[:11], sealed, aad) },
	} {
		if _, err := open(); !errors.Is(err, keystore.ErrIntegrity) {
			t.Errorf("%s: %v, want ErrIntegrity", name, err)
		}
	}
	unavailable := func(name string, kek keystore.AEAD) {
		t.Helper()
		_, openErr := kek.Open(t.Context(), nonce, sealed, aad)
		_, _, sealErr := kek.Seal(t.Context(), plain, aad)
		for _, err := range []error{openErr, sealErr} {
			if !errors.Is(err, keystore.ErrUnavailable) || errors.Is(err, keystore.ErrIntegrity) {
				t.Errorf("%s: %v, want ErrUnavailable", name, err)
			}
			if text := err.Error(); strings.Contains(text, vaulttest.Token) || strings.Contains(text, "MDEyMzQ1Njc4OWFiY2RlZg") {
				t.Errorf("%s: the error shows a secret: %s", name, text)
			}
		}
	}
	unavailable("no permission", client(t, s, "hvs.another").KEK("transit", "sealcast", 1))
	unavailable("no such mount", good.KEK("nowhere", "sealcast", 1))
	s.Seal(t)
	unavailable("sealed", kek)
}

// A KEK of another server, or another transit key, is noticed at start-up.
func TestStartUpNoticesAnotherKEK(t *testing.T) {
	pool := localstacktest.Pool(t)
	s := vaulttest.New(t)
	open := func(c *vault.Client, name string) error {
		keys, err := keystore.NewKeyringOf(1, map[int]keystore.AEAD{1: c.KEK("transit", name, 1)})
		if err == nil {
			_, err = keystore.Open(t.Context(), pool, keys, nil)
		}
		return err
	}
	good := client(t, s, vaulttest.Token)
	for range 2 {
		if err := open(good, "sealcast"); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(good, "another"); !errors.Is(err, keystore.ErrKEKMismatch) {
		t.Errorf("another key: %v", err)
	}
	if err := open(client(t, vaulttest.New(t), vaulttest.Token), "sealcast"); !errors.Is(err, keystore.ErrKEKMismatch) {
		t.Errorf("another server: %v", err)
	}
	s.Seal(t)
	if err := open(good, "sealcast"); !errors.Is(err, keystore.ErrUnavailable) {
		t.Errorf("a sealed server: %v", err)
	}
}

// The client goes where its configuration says, and nowhere else, whatever the
// variables of Vault's own programs say.
func TestVariablesOfVaultDoNotCount(t *testing.T) {
	for name, value := range map[string]string{
		"VAULT_AGENT_ADDR": "http://127.0.0.1:1", "VAULT_ADDR": "http://127.0.0.1:1", "VAULT_SKIP_VERIFY": "true",
		"VAULT_TOKEN": "hvs.other", "VAULT_NAMESPACE": "other", "VAULT_WRAP_TTL": "60s", "VAULT_HEADERS": `{"X-Other": "1"}`,
	} {
		t.Setenv(name, value)
	}
	s := vaulttest.New(t)
	var seen http.Header
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen = r.Header.Clone()
		http.Redirect(w, r, s.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer front.Close()
	seal := func(address string) error {
		c, err := vault.New(vault.Config{Address: address, Token: vaulttest.Token})
		if err == nil {
			_, _, err = c.KEK("transit", "sealcast", 1).Seal(t.Context(), []byte("0123456789abcdef"), nil)
		}
		return err
	}
	if err := seal(front.URL); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"X-Other", "X-Vault-Namespace", "X-Vault-Wrap-Ttl"} {
		if seen.Get(name) != "" {
			t.Errorf("%s: %s", name, seen.Get(name))
		}
	}
	strange := httptest.NewTLSServer(http.NotFoundHandler())
	defer strange.Close()
	if err := seal(strange.URL); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate of nobody: %v", err)
	}
}
