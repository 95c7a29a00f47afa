package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"

	"github.com/sealcast/sealcast/internal/cenc"
)

const (
	partsPath     = "/api/media/{hash}/parts"
	retryPartPath = "/api/media/{hash}/parts/{kind}/retry"
)

var (
	partKindPattern = regexp.MustCompile(`^[a-z]{1,32}$`)
	partNamePattern = regexp.MustCompile(`^[A-Za-z0-9_-]{0,64}$`)
)

// listParts shows what belongs to an asset beside its film.
func (s *server) listParts(w http.ResponseWriter, r *http.Request) error {
	hash := r.PathValue("hash")
	if !cenc.IsHash(hash) {
		return problem(http.StatusNotFound, "asset_not_found", "there is no such asset")
	}
	parts, err := s.Assets.Parts(r.Context(), hash)
	if err != nil {
		s.metrics.failed(r, depPostgres)
		return unavailable(err)
	}
	return writeJSON(w, http.StatusOK, map[string]json.RawMessage{"parts": parts})
}

// retryPart queues again the job of a part that was asked for last.
func (s *server) retryPart(w http.ResponseWriter, r *http.Request) error {
	hash, kind, name := r.PathValue("hash"), r.PathValue("kind"), r.URL.Query().Get("name")
	unknown := problem(http.StatusNotFound, "part_not_found", "nobody asked for such a part of this asset")
	if !cenc.IsHash(hash) || !partKindPattern.MatchString(kind) || !partNamePattern.MatchString(name) {
		return unknown
	}
	job, err := s.Jobs.RetryPart(r.Context(), hash, kind, name, callerOf(r))
	if errors.Is(err, ErrNotFound) {
		return unknown
	}
	if err != nil {
		return s.jobError(r, err)
	}
	return writeJSON(w, http.StatusAccepted, job.wire())
}
