package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strconv"
	"strings"

	"github.com/sealcast/sealcast/internal/webhook"
)

const redacted = "[redacted]"

// secret is a value that prints as a placeholder through every formatter,
// logger and encoder. Only reveal gives it.
type secret struct{ value string }

func (s *secret) UnmarshalText(text []byte) error { s.value = string(text); return nil }

func (s secret) reveal() string             { return s.value }
func (secret) String() string               { return redacted }
func (secret) GoString() string             { return redacted }
func (secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
func (secret) mayComeFromFile()             {}

// fileable marks the types whose variable may also be given as NAME_FILE.
type fileable interface{ mayComeFromFile() }

// minSecretBytes is the least length of API_KEY and KEY_TOKEN_SECRET.
const minSecretBytes = 16

// tokenSecret is KEY_TOKEN_SECRET: its bytes as configured.
type tokenSecret struct{ secret }

func (s *tokenSecret) UnmarshalText(text []byte) error {
	if len(text) < minSecretBytes {
		return fmt.Errorf("has %d bytes, needs at least %d", len(text), minSecretBytes)
	}
	return s.secret.UnmarshalText(text)
}

// headerSecret is API_KEY: it travels in an HTTP header (RFC 9110, 5.5).
type headerSecret struct{ secret }

func (s *headerSecret) UnmarshalText(text []byte) error {
	if len(text) < minSecretBytes {
		return fmt.Errorf("has %d bytes, needs at least %d", len(text), minSecretBytes)
	}
	for _, c := range text {
		if c <= ' ' || c > '~' {
			return errors.New("has a space, a line break or a character that an HTTP header cannot carry")
		}
	}
	return s.secret.UnmarshalText(text)
}

// webhookSecret is WEBHOOK_SECRET: whsec_ and base64.
type webhookSecret struct{ secret }

func (s *webhookSecret) UnmarshalText(text []byte) error {
	if _, err := webhook.ParseSecret(string(text)); err != nil {
		return err
	}
	return s.secret.UnmarshalText(text)
}

// kek is one KEK version: its 32 bytes, written as 64 hex digits, or a version
// of a transit key, written as vault:<mount>/<key>:<version>.
type kek struct {
	secret
	mount, name string // of the transit key; empty: the bytes are in secret
	version     int
}

var transitRE = regexp.MustCompile(`^vault:([A-Za-z0-9_./-]+)/([A-Za-z0-9_.-]+):([1-9][0-9]{0,8})$`)

func (k *kek) UnmarshalText(text []byte) error {
	if strings.HasPrefix(string(text), "vault:") {
		m := transitRE.FindStringSubmatch(string(text))
		if m == nil {
			return errors.New("begins with vault: and is no vault:<mount>/<key>:<version>")
		}
		k.mount, k.name = m[1], m[2]
		k.version, _ = strconv.Atoi(m[3]) // the pattern allows digits only
		return nil
	}
	raw, err := hex.DecodeString(string(text))
	switch {
	case len(text) != 64:
		return fmt.Errorf("has %d characters, needs exactly 64 hex digits", len(text))
	case err != nil:
		return errors.New("has a character that is no hex digit")
	}
	return k.secret.UnmarshalText(raw)
}

// vaultURL is VAULT_ADDR.
type vaultURL string

func (u *vaultURL) UnmarshalText(text []byte) error {
	if _, err := parseHTTP(string(text)); err != nil {
		return err
	}
	*u = vaultURL(text)
	return nil
}

// kekFile is KEK_FILE: its path. loader reads it.
type kekFile string
