// Package vault seals content keys under KEKs that never leave HashiCorp Vault
// or OpenBao: its transit secrets engine encrypts and decrypts with a key of
// type aes256-gcm96, and binds the associated data (since Vault 1.9).
//
// A KEK version of ours is one version of a transit key, so that rows look the
// same wherever their KEK lies: transit writes "vault:v<version>:" and the
// base64 of nonce, sealed bytes and tag; nonce and the rest go into their columns.
package vault

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/sealcast/sealcast/keystore"
)

const (
	nonceSize = 12
	tagSize   = 16
	timeout   = 4 * time.Second // of one request with its retries; the keyring waits for 5 s
)

// Config says where the server is and who we are.
type Config struct {
	Address   string // https://vault.example.org:8200
	Token     string
	Namespace string // of Vault Enterprise and OpenBao; empty: none
}

// Client talks to one server.
type Client struct{ logical *api.Logical }

// New returns a client; it does not connect yet. Of the environment only what
// every HTTP client of Go reads counts (HTTPS_PROXY, SSL_CERT_FILE): no VAULT_…
// variable leads elsewhere or turns the check of certificates off. The library
// still refuses one of its own that it cannot parse.
func New(cfg Config) (*Client, error) {
	client, err := api.NewClient(&api.Config{ // not DefaultConfig, which reads the environment
		Address: cfg.Address,
		HttpClient: &http.Client{
			Transport: newTransport(),
			// The library follows redirects itself.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		Timeout:      timeout,
		MinRetryWait: time.Second,
		MaxRetryWait: 1500 * time.Millisecond,
		MaxRetries:   1,
	})
	if err != nil {
		return nil, fmt.Errorf("vault: %w", err)
	}
	client.SetHeaders(http.Header{api.RequestHeaderName: {"true"}}) // without VAULT_HEADERS
	client.SetWrappingLookupFunc(func(string, string) string { return "" })
	client.SetToken(cfg.Token)
	client.ClearNamespace()
	if cfg.Namespace != "" {
		client.SetNamespace(cfg.Namespace)
	}
	return &Client{client.Logical()}, nil
}

func newTransport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // that of the standard library
	t.TLSHandshakeTimeout = timeout
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	return t
}

// KEK is one version of a transit key as an AEAD: mount "transit", name
// "sealcast", version 1 and up.
func (c *Client) KEK(mount, name string, version int) keystore.AEAD {
	return kek{c.logical, mount, name, version}
}

type kek struct {
	logical     *api.Logical
	mount, name string
	version     int
}

func (k kek) prefix() string { return fmt.Sprintf("vault:v%d:", k.version) }

// Seal implements keystore.AEAD.
func (k kek) Seal(ctx context.Context, plain, aad []byte) (nonce, sealed []byte, err error) {
	text, err := k.ask(ctx, "encrypt", "ciphertext", map[string]any{
		"plaintext":       base64.StdEncoding.EncodeToString(plain),
		"associated_data": base64.StdEncoding.EncodeToString(aad),
		"key_version":     k.version,
	})
	if err != nil {
		return nil, nil, err
	}
	encoded, ok := strings.CutPrefix(text, k.prefix())
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(raw) != nonceSize+len(plain)+tagSize {
		return nil, nil, fmt.Errorf("vault %s/%s: %w: the key is not of type aes256-gcm96, or version %d is not what sealed",
			k.mount, k.name, keystore.ErrUnavailable, k.version)
	}
	return raw[:nonceSize:nonceSize], raw[nonceSize:], nil
}

// Open implements keystore.AEAD.
func (k kek) Open(ctx context.Context, nonce, sealed, aad []byte) ([]byte, error) {
	if len(nonce) != nonceSize || len(sealed) < tagSize {
		return nil, keystore.ErrIntegrity
	}
	raw := append(append([]byte(nil), nonce...), sealed...)
	text, err := k.ask(ctx, "decrypt", "plaintext", map[string]any{
		"ciphertext":      k.prefix() + base64.StdEncoding.EncodeToString(raw),
		"associated_data": base64.StdEncoding.EncodeToString(aad),
	})
	if err != nil {
		return nil, err
	}
	plain, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, fmt.Errorf("vault %s/%s: %w: its answer is no base64", k.mount, k.name, keystore.ErrUnavailable)
	}
	return plain, nil
}

// ask sends one request and gives one member of its answer.
func (k kek) ask(ctx context.Context, verb, member string, body map[string]any) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	secret, err := k.logical.WriteWithContext(ctx, k.mount+"/"+verb+"/"+k.name, body)
	if err != nil {
		return "", fmt.Errorf("vault %s/%s: %w", k.mount, k.name, refusal(err))
	}
	if secret == nil {
		return "", fmt.Errorf("vault %s/%s: %w: an empty answer", k.mount, k.name, keystore.ErrUnavailable)
	}
	text, ok := secret.Data[member].(string)
	if !ok {
		return "", fmt.Errorf("vault %s/%s: %w: its answer has no %s", k.mount, k.name, keystore.ErrUnavailable, member)
	}
	return text, nil
}

// refusal tells bytes that do not belong together from all other reasons: no
// permission, no such key, sealed, away. Transit says so with 400 and the error
// of Go's AEAD, or with a text of its own.
func refusal(err error) error {
	var answer *api.ResponseError
	if errors.As(err, &answer) && answer.StatusCode == http.StatusBadRequest {
		for _, text := range answer.Errors {
			if strings.Contains(text, "message authentication failed") || strings.Contains(text, "invalid ciphertext") {
				return keystore.ErrIntegrity
			}
		}
	}
	if errors.As(err, &answer) { // without its URL and body
		return fmt.Errorf("%w: the server answers %d %s", keystore.ErrUnavailable, answer.StatusCode, strings.Join(answer.Errors, "; "))
	}
	return fmt.Errorf("%w: %w", keystore.ErrUnavailable, err)
}
