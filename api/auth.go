package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/token"
)

// auth is the credential that a route asks for before its handler runs.
type auth int

const (
	authNone   auth = iota
	authAPIKey      // X-API-Key
	authToken       // a playback token of the title {hash}, as Bearer
)

func (s *server) authorize(r *http.Request, kind auth) error {
	switch kind {
	case authAPIKey:
		return s.apiKey(r)
	case authToken:
		grant, err := s.grant(r, r.PathValue("hash"), token.ScopeKey)
		exchangeOf(r).grant = grant // also of a token that is refused after its signature, for the record
		return err
	}
	return nil
}

// grant checks the request's playback token and that it opens scope of the
// title or playback key that the path names. Only the Authorization header
// carries a token here: one in the query beside it is a second carrier, one in
// the query alone is no token, and an API key is none.
func (s *server) grant(r *http.Request, pathID string, scope byte) (access.Grant, error) {
	headers := r.Header.Values("Authorization")
	var tok string
	for _, h := range headers {
		bearer, ok := bearerToken(h)
		if ok && len(bearer) > token.MaxSize {
			return access.Grant{}, token.Error{Code: token.CodeTooLarge}
		}
		tok = bearer
	}
	if len(headers) > 1 || (tok != "" && queryHasToken(r.URL)) {
		return access.Grant{}, ambiguousCredentials()
	}
	return s.Gate.Authorize(r.Context(), accessRequest(r, tok, access.CarrierHeader, pathID, scope))
}

// accessRequest is what the gate wants to know about a request. More than one
// Origin or Referer is one that matches no page.
func accessRequest(r *http.Request, tok string, carrier access.Carrier, pathID string, scope byte) access.Request {
	one := func(name string) string {
		switch values := r.Header.Values(name); len(values) {
		case 0:
			return ""
		case 1:
			return values[0]
		}
		return "null"
	}
	return access.Request{
		Token: tok, Carrier: carrier, PathID: pathID, Scope: scope,
		Client: exchangeOf(r).client, Origin: one("Origin"), Referer: one("Referer"),
	}
}

// bearerToken reads "Bearer" 1*SP token (RFC 6750, 2.1); the scheme's case
// does not count (RFC 9110, 11.1).
func bearerToken(header string) (string, bool) {
	scheme, rest, ok := strings.Cut(header, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimLeft(rest, " "), true
}

// queryHasToken reports whether the query has a parameter that carries a token
// somewhere in sealcast, with or without a value.
func queryHasToken(u *url.URL) bool {
	if u.RawQuery == "" {
		return false
	}
	q := u.Query()
	return q.Has("token") || q.Has("jwt") || q.Has("access_token")
}

// APIKey opens the job routes. It holds a digest of the key and redacts itself.
type APIKey struct { //nolint:revive // the name of the credential
	digest [sha256.Size]byte
	set    bool
}

// NewAPIKey takes the configured key.
func NewAPIKey(key string) (APIKey, error) {
	if key == "" {
		return APIKey{}, errors.New("the API key is empty")
	}
	return APIKey{digest: sha256.Sum256([]byte(key)), set: true}, nil
}

// check takes the values of X-API-Key. It compares digests, so that neither
// the time nor the length tells anything about the key.
func (k APIKey) check(values []string) error {
	switch {
	case len(values) == 0 || (len(values) == 1 && values[0] == ""):
		return apiKeyProblem("api_key_required", "send the API key as X-API-Key")
	case len(values) > 1:
		return ambiguousCredentials()
	}
	given := sha256.Sum256([]byte(values[0]))
	if subtle.ConstantTimeCompare(given[:], k.digest[:]) != 1 || !k.set {
		return apiKeyProblem("invalid_api_key", "the API key is not valid")
	}
	return nil
}

const redactedAPIKey = "[API key]"

// String implements fmt.Stringer with a placeholder.
func (APIKey) String() string { return redactedAPIKey }

// Format implements fmt.Formatter with a placeholder for every verb, %x too.
func (APIKey) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte(redactedAPIKey)) }

// LogValue implements slog.LogValuer with a placeholder.
func (APIKey) LogValue() slog.Value { return slog.StringValue(redactedAPIKey) }

// MarshalText implements encoding.TextMarshaler with a placeholder.
func (APIKey) MarshalText() ([]byte, error) { return []byte(redactedAPIKey), nil }
