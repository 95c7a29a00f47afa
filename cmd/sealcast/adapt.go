package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/sealcast/sealcast/api"
	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/pipeline"
	"github.com/sealcast/sealcast/worker"
)

// The API knows neither the worker nor the object store: here they meet.

// jobService shows the worker's job store to the API.
type jobService struct {
	store      *worker.JobStore
	metrics    *worker.Metrics
	wake       func() // tells the dispatcher that there is something to send
	sources    *objstore.Bucket
	maxBytes   int64 // of a source
	largeBytes int64 // from this size on a source is for the queue of big files
}

// Submit implements api.JobService.
func (s jobService) Submit(ctx context.Context, req api.JobRequest) (api.Job, bool, error) {
	sub, err := worker.ParseSubmission(req.Type, req.Payload)
	if err != nil {
		return api.Job{}, false, requestProblem(err)
	}
	sub.IdempotencyKey, sub.By = req.IdempotencyKey, callerOrigin(req.By)
	// A job that is known stays known when its source has gone.
	known, err := s.store.Known(ctx, sub)
	if err != nil {
		return api.Job{}, false, requestProblem(err)
	}
	if !known && sub.NeedsSource() {
		if err := s.admit(ctx, &sub); err != nil {
			return api.Job{}, false, err
		}
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

// statTimeout bounds the look at a source.
const statTimeout = 5 * time.Second

// admit looks at the source before it is queued: it must be there and not too
// large, and a big one has a queue of its own.
func (s jobService) admit(ctx context.Context, sub *worker.Submission) error {
	ctx, cancel := context.WithTimeout(ctx, statTimeout)
	defer cancel()
	info, err := s.sources.Stat(ctx, sub.Source)
	switch {
	case errors.Is(err, pipeline.ErrObjectNotFound):
		return &api.Problem{Status: http.StatusUnprocessableEntity, Code: pipeline.CodeSourceNotFound, Detail: "source: there is no such object"}
	case err != nil:
		return fmt.Errorf("%w: %w", api.ErrObjectStore, err)
	case info.Size > s.maxBytes:
		return &api.Problem{
			Status: http.StatusRequestEntityTooLarge, Code: pipeline.CodeSourceTooLarge,
			Detail: fmt.Sprintf("source: it has %d bytes, and at most %d are taken", info.Size, s.maxBytes),
		}
	case sub.Queue != worker.QueueParts && info.Size >= s.largeBytes:
		sub.Queue = worker.QueueLarge
	}
	return nil
}

// List implements api.JobService.
func (s jobService) List(ctx context.Context, f api.JobFilter) ([]api.Job, error) {
	filter := worker.JobFilter{Types: f.Types, Hash: f.Hash, Limit: f.Limit}
	for _, state := range f.States {
		filter.States = append(filter.States, worker.State(state))
	}
	if f.After != nil {
		filter.Before = &worker.Position{CreatedAt: f.After.CreatedAt, ID: f.After.ID}
	}
	return jobsForAPI(s.store.List(ctx, filter))
}

// GetMany implements api.JobService.
func (s jobService) GetMany(ctx context.Context, ids []string) ([]api.Job, error) {
	return jobsForAPI(s.store.GetMany(ctx, ids))
}

func jobsForAPI(jobs []worker.Job, err error) ([]api.Job, error) {
	var out []api.Job
	for _, job := range jobs {
		out = append(out, jobForAPI(job))
	}
	return out, err
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
func (s jobService) Cancel(ctx context.Context, id string, by api.Caller) (api.Job, bool, error) {
	job, done, err := s.store.Cancel(ctx, id, callerOrigin(by))
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
func (s jobService) Retry(ctx context.Context, id string, by api.Caller) (api.Job, error) {
	return s.retried(s.store.Retry(ctx, id, callerOrigin(by)))
}

func (s jobService) retried(job worker.Job, err error) (api.Job, error) {
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

// Repackage implements api.JobService.
func (s jobService) Repackage(ctx context.Context, hash string, by api.Caller) (api.Job, error) {
	sub, err := s.store.Published(ctx, hash)
	switch {
	case errors.Is(err, worker.ErrAssetNotFound):
		return api.Job{}, &api.Problem{Status: http.StatusNotFound, Code: "asset_not_found", Detail: "there is no such asset"}
	case errors.Is(err, worker.ErrPublicationNotFound):
		return api.Job{}, conflict("not_published", "the title has no published generation")
	case errors.Is(err, worker.ErrNotEncrypted):
		return api.Job{}, conflict("not_encrypted", "the title is published clear: it has no content keys")
	case err != nil:
		return api.Job{}, err
	}
	if err := s.admit(ctx, &sub); err != nil {
		return api.Job{}, err
	}
	job, created, err := s.store.Repackage(ctx, sub, callerOrigin(by))
	if err != nil {
		return api.Job{}, requestProblem(err)
	}
	if created {
		s.wake()
	}
	return jobForAPI(job), nil
}

// RetryPart implements api.JobService.
func (s jobService) RetryPart(ctx context.Context, hash, kind, name string, by api.Caller) (api.Job, error) {
	return s.retried(s.store.RetryPart(ctx, hash, kind, name, callerOrigin(by)))
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
	case worker.CodeEncryptionSealed, worker.CodeKeyReused:
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
		PartKind: j.PartKind, PartName: j.PartName, ParentID: j.ParentID, Metadata: j.Metadata, Parts: j.Parts,
		CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, FinishedAt: j.FinishedAt,
	}
}

func callerOrigin(by api.Caller) worker.Origin {
	return worker.Origin{
		Actor:   by.Actor,
		Details: map[string]any{"request_id": by.RequestID, "client": by.Client},
	}
}

// assets lets the API show assets, change their policy and take them off.
type assets struct {
	store *worker.JobStore
	keys  worker.Shredder
}

// Delete implements api.Assets.
func (a assets) Delete(ctx context.Context, hash string, by api.Caller) (api.Deletion, error) {
	d, err := a.store.DeleteAsset(ctx, hash, callerOrigin(by), a.keys)
	if errors.Is(err, worker.ErrAssetNotFound) {
		return api.Deletion{}, api.ErrNotFound
	}
	return api.Deletion{
		Generations: d.Generations, Keys: d.Keys, CancelledJobs: d.Cancelled, RequestedAt: d.RequestedAt,
	}, err
}

// Parts implements api.Assets.
func (a assets) Parts(ctx context.Context, hash string) (json.RawMessage, error) {
	return a.store.AssetParts(ctx, hash)
}

// Get implements api.Assets.
func (a assets) Get(ctx context.Context, hash string) (api.Asset, error) {
	found, err := a.store.Asset(ctx, hash)
	return assetForAPI(found), assetError(err)
}

// List implements api.Assets.
func (a assets) List(ctx context.Context, after *api.AssetPosition, limit int) ([]api.Asset, error) {
	var before *worker.AssetPosition
	if after != nil {
		before = &worker.AssetPosition{CreatedAt: after.CreatedAt, Hash: after.Hash}
	}
	list, err := a.store.Assets(ctx, before, limit)
	var out []api.Asset
	for _, found := range list {
		out = append(out, assetForAPI(found))
	}
	return out, err
}

// SetPolicy implements api.Assets.
func (a assets) SetPolicy(ctx context.Context, hash string, change api.PolicyChange, by api.Caller) (api.Asset, error) {
	if id := change.ExternalID; id != nil && *id != "" && !worker.ValidExternalID(*id) {
		return api.Asset{}, &api.Problem{
			Status: http.StatusUnprocessableEntity, Code: "external_id_invalid",
			Detail: "external_id: want 3 to 128 of A-Z a-z 0-9 _ . : -, and not the form of a hash",
		}
	}
	found, err := a.store.SetPolicy(ctx, hash, worker.PolicyChange{Private: change.Private, ExternalID: change.ExternalID}, callerOrigin(by))
	if errors.Is(err, worker.ErrExternalIDTaken) {
		return api.Asset{}, conflict("external_id_taken", "another asset or a playback key has this name")
	}
	return assetForAPI(found), assetError(err)
}

func assetError(err error) error {
	if errors.Is(err, worker.ErrAssetNotFound) {
		return api.ErrNotFound
	}
	return err
}

func assetForAPI(a worker.Asset) api.Asset {
	return api.Asset{
		Hash: a.Hash, ExternalID: a.ExternalID, Private: a.Private, CreatedAt: a.CreatedAt,
		Generation: a.Generation, Encrypted: a.Encrypted, JobID: a.JobID, PublishedAt: a.PublishedAt, Results: a.Results,
	}
}

// publications shows what is published to the API.
type publications struct{ store *worker.JobStore }

// Entry implements api.Publications.
func (p publications) Entry(ctx context.Context, hash string) (api.Entry, error) {
	e, err := p.store.Shown(ctx, hash)
	if err != nil {
		return api.Entry{}, publicationError(err)
	}
	entry := api.Entry{Prefix: e.Prefix, Generation: e.Generation, Encrypted: e.Encrypted, Private: e.Private}
	for _, part := range e.Parts {
		entry.Parts = append(entry.Parts, api.Part(part))
	}
	return entry, nil
}

// PartObject implements api.Publications.
func (p publications) PartObject(ctx context.Context, hash, name string) (string, error) {
	prefix, err := p.store.PartObject(ctx, hash, name)
	return prefix, publicationError(err)
}

// Object implements api.Publications.
func (p publications) Object(ctx context.Context, hash, prefix string, names ...string) (api.Object, error) {
	o, err := p.store.Object(ctx, hash, prefix, names...)
	if err != nil {
		return api.Object{}, publicationError(err)
	}
	return api.Object{
		Name: o.Name, ContentType: o.ContentType, Size: o.Size, SHA256: o.SHA256,
		Encrypted: o.Encrypted, Private: o.Private, Kind: o.Kind, Early: o.Early, Body: o.Body,
	}, nil
}

func publicationError(err error) error {
	if errors.Is(err, worker.ErrPublicationNotFound) {
		return api.ErrNotFound
	}
	return err
}

// anchors keeps anchors of the audit trail in a bucket.
type anchors struct{ bucket *objstore.Bucket }

func (p *platform) anchors() anchors {
	return anchors{p.store.Bucket(string(cmp.Or(p.cfg.Audit.Bucket, p.cfg.Media.Bucket)))}
}

// PutAnchor implements audit.Anchors.
func (a anchors) PutAnchor(ctx context.Context, key string, body []byte) error {
	_, err := a.bucket.Put(ctx, key, body, "application/json", "no-store")
	return err
}

// AnchorKeys implements audit.Anchors.
func (a anchors) AnchorKeys(ctx context.Context, prefix string) (keys []string, err error) {
	objects, err := a.bucket.List(ctx, prefix)
	for _, o := range objects {
		keys = append(keys, o.Key)
	}
	return keys, err
}

// originals shows to the API the sources that titles were made of.
type originals struct {
	store  *worker.JobStore
	bucket *objstore.Bucket
}

// Original implements api.Originals: what lies there must be what was found to
// have the title's SHA-256.
func (o originals) Original(ctx context.Context, hash string) (api.Original, error) {
	source, etags, err := o.store.PublishedSource(ctx, hash)
	if err != nil {
		return api.Original{}, publicationError(err)
	}
	ctx, cancel := context.WithTimeout(ctx, statTimeout)
	defer cancel()
	info, err := o.bucket.Stat(ctx, source)
	switch {
	case errors.Is(err, pipeline.ErrObjectNotFound):
		return api.Original{}, api.ErrNotFound
	case err != nil:
		return api.Original{}, fmt.Errorf("%w: %w", api.ErrObjectStore, err)
	case !slices.Contains(etags, info.ETag):
		return api.Original{}, api.ErrNotFound
	}
	return api.Original{Size: info.Size, Open: func(ctx context.Context, off, n int64) (io.ReadCloser, error) {
		return o.bucket.Get(ctx, source, info.ETag, off, n)
	}}, nil
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
