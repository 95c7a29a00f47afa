package api

import (
	"net/http"
	"time"

	"github.com/sealcast/sealcast/internal/access"
)

const unknownAPIKey = "api_key_not_found"

type newAPIKey struct {
	Label       string     `json:"label"`
	Scopes      []string   `json:"scopes"`
	Environment string     `json:"environment"`
	ExpiresAt   *time.Time `json:"expires_at"`
}

type wireAPIKey struct {
	ID          string     `json:"id"`
	Label       string     `json:"label"`
	Scopes      []string   `json:"scopes"`
	Environment string     `json:"environment"`
	CreatedAt   time.Time  `json:"created_at"`
	ExpiresAt   *time.Time `json:"expires_at"`
	LastUsedAt  *time.Time `json:"last_used_at"`
	RevokedAt   *time.Time `json:"revoked_at"`
}

type wireCreatedAPIKey struct {
	wireAPIKey
	APIKey string `json:"api_key"` // shown once
}

func wireOfAPIKey(k access.APIKey) wireAPIKey {
	return wireAPIKey{
		ID: k.ID, Label: k.Label, Scopes: noNil(k.Scopes), Environment: k.Environment, CreatedAt: k.CreatedAt.UTC(),
		ExpiresAt: utc(k.ExpiresAt), LastUsedAt: utc(k.LastUsedAt), RevokedAt: utc(k.RevokedAt),
	}
}

// postAPIKey makes an API key that may do no more than the one that asks.
func (s *server) postAPIKey(w http.ResponseWriter, r *http.Request) error {
	caller := exchangeOf(r).caller
	body := newAPIKey{Environment: caller.Environment}
	if err := decodeBody(r, &body); err != nil {
		return err
	}
	if !caller.In(body.Environment) {
		return environmentProblem()
	}
	for _, scope := range body.Scopes {
		if !caller.Allows(scope) {
			return problem(http.StatusForbidden, "api_key_scope", "the API key lacks a scope that it would give")
		}
	}
	if ends := caller.ExpiresAt; ends != nil && (body.ExpiresAt == nil || body.ExpiresAt.After(*ends)) {
		return problem(http.StatusForbidden, "api_key_scope", "the API key would give one that outlives it: set expires_at to "+
			ends.UTC().Format(time.RFC3339)+" at the latest")
	}
	k, secret, err := s.Admin.CreateAPIKey(r.Context(), access.APIKey{
		Label: body.Label, Scopes: body.Scopes, Environment: body.Environment, ExpiresAt: body.ExpiresAt,
	}, actor(r))
	if err != nil {
		return s.adminError(r, err, unknownAPIKey)
	}
	return writeJSON(w, http.StatusCreated, wireCreatedAPIKey{wireOfAPIKey(k), secret})
}

func (s *server) listAPIKeys(w http.ResponseWriter, r *http.Request) error {
	keys, err := s.Admin.APIKeys(r.Context())
	if err != nil {
		return s.adminError(r, err, unknownAPIKey)
	}
	out := struct {
		APIKeys []wireAPIKey `json:"api_keys"`
	}{[]wireAPIKey{}}
	for _, k := range keys {
		if exchangeOf(r).caller.In(k.Environment) {
			out.APIKeys = append(out.APIKeys, wireOfAPIKey(k))
		}
	}
	return writeJSON(w, http.StatusOK, out)
}

func (s *server) deleteAPIKey(w http.ResponseWriter, r *http.Request) error {
	id, caller := r.PathValue("id"), exchangeOf(r).caller
	if caller.Environment != access.EnvironmentAll {
		keys, err := s.Admin.APIKeys(r.Context())
		if err != nil {
			return s.adminError(r, err, unknownAPIKey)
		}
		seen := false
		for _, k := range keys {
			seen = seen || (k.ID == id && caller.In(k.Environment))
		}
		if !seen {
			return s.adminError(r, access.ErrNotFound, unknownAPIKey)
		}
	}
	if err := s.Admin.RevokeAPIKey(r.Context(), id, actor(r)); err != nil {
		return s.adminError(r, err, unknownAPIKey)
	}
	return noContent(w)
}
