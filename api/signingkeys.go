package api

import (
	"encoding/base64"
	"net/http"
	"time"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/token"
)

const unknownSigningKey = "signing_key_not_found"

type newSigningKey struct {
	KID           string `json:"kid"`
	Label         string `json:"label"`
	Algorithm     string `json:"algorithm"`
	PublicKey     string `json:"public_key"`
	JWKSURL       string `json:"jwks_url"`
	Issuer        string `json:"issuer"`
	Environment   string `json:"environment"`
	MaxTTL        *int64 `json:"max_ttl"` // seconds
	AllowWildcard bool   `json:"allow_wildcard"`
}

type wireSigningKey struct {
	KID           string     `json:"kid"`
	Label         string     `json:"label"`
	Source        string     `json:"source"`
	Algorithm     *string    `json:"algorithm"`
	PublicKey     *string    `json:"public_key"`
	Issuer        *string    `json:"issuer"`
	Environment   string     `json:"environment"`
	MaxTTL        int64      `json:"max_ttl"`
	AllowWildcard bool       `json:"allow_wildcard"`
	JWKSURL       *string    `json:"jwks_url"`
	JWKSFetchedAt *time.Time `json:"jwks_fetched_at"`
	JWKSError     *string    `json:"jwks_error"`
	CreatedAt     time.Time  `json:"created_at"`
	RevokedAt     *time.Time `json:"revoked_at"`
}

// wireCreatedKey has what is shown once: a private key in PEM and, the same
// text, in base64 for environment variables; or the secret of a symmetric key.
type wireCreatedKey struct {
	wireSigningKey
	PrivateKey       string `json:"private_key,omitempty"`
	PrivateKeyBase64 string `json:"private_key_base64,omitempty"`
	SecretBase64     string `json:"secret_base64,omitempty"`
}

func wireOfSigningKey(k access.SigningKey) wireSigningKey {
	return wireSigningKey{
		KID: k.KID, Label: k.Label, Source: k.Source, Algorithm: optional(k.Algorithm), PublicKey: optional(k.PublicKey),
		Issuer: optional(k.Issuer), Environment: k.Environment, MaxTTL: int64(k.MaxTTL / time.Second), AllowWildcard: k.AllowWildcard,
		JWKSURL: optional(k.JWKSURL), JWKSFetchedAt: utc(k.JWKSFetchedAt), JWKSError: optional(k.JWKSError),
		CreatedAt: k.CreatedAt.UTC(), RevokedAt: utc(k.RevokedAt),
	}
}

// postSigningKey makes a signing key: of a public key, of a set, or one of ours,
// whose private half the answer has, once.
func (s *server) postSigningKey(w http.ResponseWriter, r *http.Request) error {
	caller := exchangeOf(r).caller
	body := newSigningKey{Environment: caller.Environment}
	if err := decodeBody(r, &body); err != nil {
		return err
	}
	if !caller.In(body.Environment) {
		return environmentProblem()
	}
	if body.Algorithm == "" && body.PublicKey == "" && body.JWKSURL == "" {
		body.Algorithm = token.ES256
	}
	ttl, ok := seconds(body.MaxTTL)
	if !ok {
		return invalidRequest("max_ttl: want 1 to 31536000 seconds")
	}
	made, err := s.Admin.CreateSigningKey(r.Context(), access.SigningKey{
		KID: body.KID, Label: body.Label, Algorithm: body.Algorithm, PublicKey: body.PublicKey, JWKSURL: body.JWKSURL,
		Issuer: body.Issuer, Environment: body.Environment, MaxTTL: ttl, AllowWildcard: body.AllowWildcard,
	}, actor(r))
	if err != nil {
		return s.adminError(r, err, unknownSigningKey)
	}
	out := wireCreatedKey{wireSigningKey: wireOfSigningKey(made.SigningKey), PrivateKey: made.PrivateKey}
	if made.PrivateKey != "" {
		out.PrivateKeyBase64 = base64.StdEncoding.EncodeToString([]byte(made.PrivateKey))
	}
	if made.Secret != nil {
		out.SecretBase64 = base64.StdEncoding.EncodeToString(made.Secret)
	}
	w.Header().Set("Location", s.BaseURL+"/api/signing-keys/"+made.KID)
	return writeJSON(w, http.StatusCreated, out)
}

func (s *server) signingKey(r *http.Request) (access.SigningKey, error) {
	k, err := s.Admin.SigningKey(r.Context(), r.PathValue("kid"))
	if err == nil && !exchangeOf(r).caller.In(k.Environment) {
		err = access.ErrNotFound
	}
	return k, s.adminError(r, err, unknownSigningKey)
}

func (s *server) getSigningKey(w http.ResponseWriter, r *http.Request) error {
	k, err := s.signingKey(r)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, wireOfSigningKey(k))
}

func (s *server) deleteSigningKey(w http.ResponseWriter, r *http.Request) error {
	k, err := s.signingKey(r)
	if err != nil {
		return err
	}
	if err := s.Admin.RevokeSigningKey(r.Context(), k.KID, actor(r)); err != nil {
		return s.adminError(r, err, unknownSigningKey)
	}
	return noContent(w)
}

func (s *server) listSigningKeys(w http.ResponseWriter, r *http.Request) error {
	keys, err := s.Admin.SigningKeys(r.Context())
	if err != nil {
		return s.adminError(r, err, unknownSigningKey)
	}
	out := struct {
		SigningKeys []wireSigningKey `json:"signing_keys"`
	}{[]wireSigningKey{}}
	for _, k := range keys {
		if exchangeOf(r).caller.In(k.Environment) {
			out.SigningKeys = append(out.SigningKeys, wireOfSigningKey(k))
		}
	}
	return writeJSON(w, http.StatusOK, out)
}
