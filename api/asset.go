package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
)

// Assets shows assets, changes their policy and takes them off. An asset of
// which nothing is known is ErrNotFound. What the client shall read is a *Problem.
type Assets interface {
	Get(ctx context.Context, hash string) (Asset, error)
	List(ctx context.Context, after *AssetPosition, limit int) ([]Asset, error) // published ones, newest first
	SetPolicy(ctx context.Context, hash string, change PolicyChange, by Caller) (Asset, error)
	Delete(ctx context.Context, hash string, by Caller) (Deletion, error)
	// Parts lists what belongs to an asset beside its film, as JSON.
	Parts(ctx context.Context, hash string) (json.RawMessage, error)
}

// Caller says who sent a request, for the audit log.
type Caller struct {
	Actor     string // the API key's id
	RequestID string
	Client    string // address
}

func callerOf(r *http.Request) Caller {
	x := exchangeOf(r)
	return Caller{Actor: x.caller.ID, RequestID: x.id, Client: x.from}
}

// Deletion is what the deletion of an asset has done.
type Deletion struct {
	Generations   int64    // that are served no more
	Keys          int64    // that are shredded
	CancelledJobs []string // that were queued or running
	// RequestedAt is when the removal of the objects was asked for; nil when
	// none is left.
	RequestedAt *time.Time
}

// deleteMedia takes an asset off. When nothing of it is left, the answer is 204.
func (s *server) deleteMedia(w http.ResponseWriter, r *http.Request) error {
	hash := r.PathValue("hash")
	if !cenc.IsHash(hash) {
		return assetNotFound()
	}
	d, err := s.Assets.Delete(r.Context(), hash, callerOf(r))
	if err != nil {
		return s.assetError(r, err)
	}
	if d.RequestedAt == nil {
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if d.CancelledJobs == nil {
		d.CancelledJobs = []string{}
	}
	return writeJSON(w, http.StatusAccepted, struct {
		Hash          string    `json:"hash"`
		Generations   int64     `json:"generations"`
		Keys          int64     `json:"keys_shredded"`
		CancelledJobs []string  `json:"cancelled_jobs"`
		Objects       string    `json:"objects"`
		RequestedAt   time.Time `json:"requested_at"`
	}{hash, d.Generations, d.Keys, d.CancelledJobs, "removal_pending", d.RequestedAt.UTC()})
}
