// Package vaulttest is a server with the documented API of Vault's transit
// engine, as far as package vault uses it: encrypt and decrypt with
// associated_data and key_version, tokens, errors. A real Vault takes ten
// minutes to build, so only `make vault` runs the same tests against one (real.go).
package vaulttest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

// Token opens the server. Those that begin with "hvs." only Vault makes.
const Token = "the-root-token-of-these-tests"

// Keys are those that a server has in its one transit mount, "transit". Each has
// the versions 1 to 9.
var Keys = []string{"sealcast", "another"}

// Server is such a server.
type Server struct {
	URL string

	real   bool        // Vault's own program
	sealed atomic.Bool // answers 503 like a sealed Vault

	mu   sync.Mutex
	keks map[string]cipher.AEAD // by name and version
}

// New starts a server that ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s := &Server{keks: map[string]cipher.AEAD{}}
	if program := os.Getenv(Program); program != "" {
		s.startReal(t, program)
		return s
	}
	srv := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(srv.Close)
	s.URL = srv.URL
	return s
}

// Seal makes the server answer 503 until it ends.
func (s *Server) Seal(t testing.TB) {
	t.Helper()
	if !s.real {
		s.sealed.Store(true)
	} else if err := s.tell(http.MethodPut, "sys/seal", nil); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) kek(name string, version int) cipher.AEAD {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := fmt.Sprint(name, "/", version)
	if s.keks[id] == nil {
		key := make([]byte, 32)
		_, _ = rand.Read(key)
		block, _ := aes.NewCipher(key)
		s.keks[id], _ = cipher.NewGCM(block)
	}
	return s.keks[id]
}

var (
	path       = regexp.MustCompile(`^/v1/transit/(encrypt|decrypt)/([A-Za-z0-9_-]+)$`)
	ciphertext = regexp.MustCompile(`^vault:v([1-9]):(.*)$`)
)

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, text string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"errors": []string{text}})
	}
	m := path.FindStringSubmatch(r.URL.Path)
	switch {
	case s.sealed.Load():
		fail(http.StatusServiceUnavailable, "Vault is sealed")
		return
	case r.Header.Get("X-Vault-Token") != Token:
		fail(http.StatusForbidden, "permission denied")
		return
	case m == nil || !slices.Contains(Keys, m[2]) || (r.Method != http.MethodPut && r.Method != http.MethodPost):
		fail(http.StatusNotFound, "no handler for route")
		return
	}
	var in struct {
		Plaintext, Ciphertext string
		AssociatedData        []byte `json:"associated_data"`
		KeyVersion            int    `json:"key_version"`
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		fail(http.StatusBadRequest, "failed to parse JSON input")
		return
	}
	data := map[string]any{}
	if m[1] == "encrypt" {
		plain, err := base64.StdEncoding.DecodeString(in.Plaintext)
		if err != nil || in.KeyVersion < 1 || in.KeyVersion > 9 {
			fail(http.StatusBadRequest, "cannot encrypt: requested version is not available")
			return
		}
		nonce := make([]byte, 12)
		_, _ = rand.Read(nonce)
		sealed := s.kek(m[2], in.KeyVersion).Seal(nonce, nonce, plain, in.AssociatedData)
		data["ciphertext"] = fmt.Sprintf("vault:v%d:%s", in.KeyVersion, base64.StdEncoding.EncodeToString(sealed))
		data["key_version"] = in.KeyVersion
	} else {
		c := ciphertext.FindStringSubmatch(in.Ciphertext)
		if c == nil {
			fail(http.StatusBadRequest, "invalid ciphertext: no prefix")
			return
		}
		version, _ := strconv.Atoi(c[1])
		raw, err := base64.StdEncoding.DecodeString(c[2])
		if err != nil || len(raw) < 12 {
			fail(http.StatusBadRequest, "invalid ciphertext: could not decode base64")
			return
		}
		plain, err := s.kek(m[2], version).Open(nil, raw[:12], raw[12:], in.AssociatedData)
		if err != nil {
			fail(http.StatusBadRequest, err.Error())
			return
		}
		data["plaintext"] = base64.StdEncoding.EncodeToString(plain)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"request_id": "1", "data": data})
}
