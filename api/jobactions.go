package api

import (
	"net/http"
	"net/url"

	"github.com/sealcast/sealcast/internal/cenc"
)

// cancelJob ends a job. Asking again gives the same document, as 200.
func (s *server) cancelJob(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if !jobIDPattern.MatchString(id) {
		return s.jobError(r, ErrNotFound)
	}
	job, done, err := s.Jobs.Cancel(r.Context(), id, callerOf(r))
	if err != nil {
		return s.jobError(r, err)
	}
	status := http.StatusOK
	if done {
		status = http.StatusAccepted
	}
	return writeJSON(w, status, job.wire())
}

// retryJob queues a failed or cancelled job again.
func (s *server) retryJob(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if !jobIDPattern.MatchString(id) {
		return s.jobError(r, ErrNotFound)
	}
	job, err := s.Jobs.Retry(r.Context(), id, callerOf(r))
	if err != nil {
		return s.jobError(r, err)
	}
	return writeJSON(w, http.StatusAccepted, job.wire())
}

// repackage queues a job that packages an asset again, under new content keys.
func (s *server) repackage(w http.ResponseWriter, r *http.Request) error {
	hash := r.PathValue("hash")
	if !cenc.IsHash(hash) {
		return problem(http.StatusNotFound, "asset_not_found", "there is no such asset")
	}
	job, err := s.Jobs.Repackage(r.Context(), hash, callerOf(r))
	if err != nil {
		return s.jobError(r, err)
	}
	w.Header().Set("Location", s.BaseURL+"/api/jobs/"+url.PathEscape(job.ID))
	return writeJSON(w, http.StatusAccepted, job.wire())
}
