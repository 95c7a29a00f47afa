package main

import (
	"context"

	"github.com/sealcast/sealcast/api"
	"github.com/sealcast/sealcast/internal/texttrack"
	"github.com/sealcast/sealcast/worker"
)

// PutTrack implements api.Tracks.
func (s jobService) PutTrack(ctx context.Context, hash string, track texttrack.Track, document string, by api.Caller) (api.Job, error) {
	_, source, err := s.store.Film(ctx, hash)
	if err != nil {
		return api.Job{}, publicationError(err)
	}
	sub, err := worker.TextSubmission(hash, source, track, document)
	if err != nil {
		return api.Job{}, requestProblem(err)
	}
	sub.By = callerOrigin(by)
	job, created, err := s.store.Submit(ctx, sub, "")
	if err != nil {
		return api.Job{}, requestProblem(err)
	}
	if created {
		s.wake()
	}
	return jobForAPI(job), nil
}

// DeleteTrack implements api.Tracks.
func (s jobService) DeleteTrack(ctx context.Context, hash, id string, by api.Caller) error {
	removed, err := s.store.RemoveTrack(ctx, hash, id, callerOrigin(by))
	if err == nil && !removed {
		return api.ErrNotFound
	}
	return err
}
