package main

import (
	"context"
	"errors"
	"io"
	"net/http"

	"github.com/sealcast/sealcast/api"
	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/pipeline"
	"github.com/sealcast/sealcast/worker"
)

// The API knows neither the worker nor the object store: here they meet.

// jobService shows the worker's job store to the API.
type jobService struct {
	store   *worker.JobStore
	metrics *worker.Metrics
	wake    func() // tells the dispatcher that there is something to send
}

// Submit implements api.JobService.
func (s jobService) Submit(ctx context.Context, req api.JobRequest) (api.Job, bool, error) {
	sub, err := worker.ParseSubmission(req.Type, req.Payload)
	if err != nil {
		return api.Job{}, false, requestProblem(err)
	}
	job, created, err := s.store.Submit(ctx, sub, "")
	if err != nil {
		return api.Job{}, false, requestProblem(err)
	}
	if created {
		s.wake()
	}
	return jobForAPI(job), created, nil
}

// Get implements api.JobService.
func (s jobService) Get(ctx context.Context, id string) (api.Job, error) {
	job, err := s.store.Get(ctx, id)
	if errors.Is(err, worker.ErrJobNotFound) {
		return api.Job{}, api.ErrNotFound
	}
	if err != nil {
		return api.Job{}, err
	}
	return jobForAPI(job), nil
}

// Cancel implements api.JobService.
func (s jobService) Cancel(ctx context.Context, id string) (api.Job, bool, error) {
	job, done, err := s.store.Cancel(ctx, id)
	switch {
	case errors.Is(err, worker.ErrJobNotFound):
		return api.Job{}, false, api.ErrNotFound
	case errors.Is(err, worker.ErrJobFinished):
		return api.Job{}, false, conflict("job_finished", "the job has ended: it cannot be cancelled any more")
	case err != nil:
		return api.Job{}, false, err
	case done:
		s.metrics.JobCancelled(job.Type)
	}
	return jobForAPI(job), done, nil
}

// Retry implements api.JobService.
func (s jobService) Retry(ctx context.Context, id string) (api.Job, error) {
	job, err := s.store.Retry(ctx, id)
	var duplicate *worker.DuplicateError
	switch {
	case errors.Is(err, worker.ErrJobNotFound):
		return api.Job{}, api.ErrNotFound
	case errors.Is(err, worker.ErrNotRetryable):
		return api.Job{}, conflict("job_not_retryable", "only a failed or cancelled job can be tried again")
	case errors.As(err, &duplicate):
		return api.Job{}, conflict("job_duplicate", "the same request is queued, running or published as job "+duplicate.JobID)
	case err != nil:
		return api.Job{}, requestProblem(err)
	}
	s.wake()
	return jobForAPI(job), nil
}

func conflict(code, detail string) *api.Problem {
	return &api.Problem{Status: http.StatusConflict, Code: code, Detail: detail}
}

// requestProblem gives a refused request its status.
func requestProblem(err error) error {
	var refused *worker.RequestError
	if !errors.As(err, &refused) {
		return err
	}
	status := http.StatusUnprocessableEntity // understood, and cannot be processed as asked (RFC 9110, 15.5.21)
	switch refused.Code {
	case worker.CodeEncryptionSealed:
		status = http.StatusConflict
	case worker.CodePayloadInvalid, worker.CodeTypeUnknown:
		status = http.StatusBadRequest
	case worker.CodePayloadTooLarge:
		status = http.StatusRequestEntityTooLarge
	}
	return &api.Problem{Status: status, Code: refused.Code, Detail: refused.Message}
}

func jobForAPI(j worker.Job) api.Job {
	return api.Job{
		ID: j.ID, Type: j.Type, Hash: j.Hash, Source: j.Source,
		State: string(j.State), Stage: j.Stage, Progress: j.Progress, ETASeconds: j.ETASeconds,
		Attempt: j.Attempt, ErrorCode: j.ErrorCode, ErrorMessage: j.ErrorMessage, Results: j.Results,
		CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, FinishedAt: j.FinishedAt,
	}
}

// publications shows what is published to the API.
type publications struct{ store *worker.JobStore }

// Entry implements api.Publications.
func (p publications) Entry(ctx context.Context, hash string) (api.Entry, error) {
	e, err := p.store.Entry(ctx, hash)
	if err != nil {
		return api.Entry{}, publicationError(err)
	}
	return api.Entry{Prefix: e.Prefix, Generation: e.Generation, Encrypted: e.Encrypted}, nil
}

// Object implements api.Publications.
func (p publications) Object(ctx context.Context, hash, prefix, name string) (api.Object, error) {
	o, err := p.store.Object(ctx, hash, prefix, name)
	if err != nil {
		return api.Object{}, publicationError(err)
	}
	return api.Object{Name: o.Name, ContentType: o.ContentType, Size: o.Size, SHA256: o.SHA256, Encrypted: o.Encrypted}, nil
}

func publicationError(err error) error {
	if errors.Is(err, worker.ErrPublicationNotFound) {
		return api.ErrNotFound
	}
	return err
}

// objects shows the media bucket to the API.
type objects struct{ bucket *objstore.Bucket }

// Get implements api.Objects.
func (o objects) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, error) {
	body, err := o.bucket.Get(ctx, key, "", off, n)
	if errors.Is(err, pipeline.ErrObjectNotFound) {
		return nil, api.ErrNotFound
	}
	return body, err
}
