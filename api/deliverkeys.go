package api

import (
	"errors"
	"net/http"
	"time"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/token"
)

const (
	deliveredKeyPath          = "/v1/p/{pk}/key"
	deliveredKeyTokenPath     = "/v1/p/{pk}/t/{token}/key"
	deliveredLicencePath      = "/v1/p/{pk}/license"
	deliveredLicenceTokenPath = "/v1/p/{pk}/t/{token}/license"
	sessionPath               = "/v1/p/{pk}/session"
	legacyCookieKeyPath       = "/video/key/{job}"
	legacyTokenKeyPath        = "/v1/video/playback/key/{token}/{job}"
)

// getDeliveredKey is the key route under a playback key.
func (s *server) getDeliveredKey(w http.ResponseWriter, r *http.Request) error {
	grant, err := s.admitToKeys(r)
	if err != nil {
		return err
	}
	return s.giveKey(w, r, grant.Hash)
}

// postDeliveredLicence is the Clear Key licence route under a playback key.
func (s *server) postDeliveredLicence(w http.ResponseWriter, r *http.Request) error {
	grant, err := s.admitToKeys(r)
	if err != nil {
		return err
	}
	return s.giveLicence(w, r, grant.Hash)
}

func (s *server) admitToKeys(r *http.Request) (access.Grant, error) {
	pk := r.PathValue("pk")
	if !isPlaybackKey(pk) {
		return access.Grant{}, notFound()
	}
	grant, _, err := s.admit(r, pk, token.ScopeKey, false)
	return grant, err
}

// getLegacyKey gives the key of the title that a job made, by a cookie or a
// token in the path. The job is looked up once the token is known to be good,
// and one that is not there is the token's mismatch.
func (s *server) getLegacyKey(w http.ResponseWriter, r *http.Request) error {
	_, c, err := s.admit(r, "", token.ScopeKey, false)
	if err != nil {
		return err
	}
	job, err := s.Jobs.Get(r.Context(), r.PathValue("job"))
	switch {
	case errors.Is(err, ErrNotFound):
		return token.Error{Code: token.CodeMismatch}
	case err != nil:
		return s.jobError(r, err)
	}
	grant, err := s.Gate.Authorize(r.Context(), s.viewerRequest(r, c, job.Hash, token.ScopeKey))
	exchangeOf(r).grant = grant
	if err != nil {
		return err
	}
	exchangeOf(r).hash = grant.Hash
	return s.giveKey(w, r, grant.Hash)
}

// postSession gives the session of a token: as a cookie for everything under
// the playback key, and for addresses that carry it in their path.
func (s *server) postSession(w http.ResponseWriter, r *http.Request) error {
	pk := r.PathValue("pk")
	if !isPlaybackKey(pk) {
		return notFound()
	}
	if r.Header.Get("Authorization") == "" {
		return access.ErrTokenRequired // a cookie makes no cookie: it would live for ever
	}
	grant, _, err := s.admit(r, pk, token.ScopeAll, false)
	if err != nil {
		return err
	}
	if err := s.limitKeys(r); err != nil {
		return err
	}
	session, err := s.Gate.Session(grant)
	if err != nil {
		return err
	}
	if session == "" { // the playback key is public: there is nothing to carry
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	paths := []string{"/v1/p/" + pk}
	if asset, err := s.Assets.Get(r.Context(), grant.Hash); err == nil && asset.JobID != "" {
		paths = append(paths, "/video/key/"+asset.JobID)
	}
	for _, path := range paths {
		http.SetCookie(w, &http.Cookie{
			Name: cookieName, Value: session, Path: path, MaxAge: max(1, int(time.Until(grant.ExpiresAt).Seconds())),
			Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode, Partitioned: true,
		})
	}
	return writeJSON(w, http.StatusOK, struct {
		Folder    string    `json:"folder"` // what lies under the playback key lies here for who can send nothing
		ExpiresAt time.Time `json:"expires_at"`
	}{"/v1/p/" + pk + "/t/" + session + "/", grant.ExpiresAt.UTC()})
}
