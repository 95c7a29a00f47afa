package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/pipeline"
)

// Sources is the source bucket, as the Remover needs it.
type Sources interface {
	Stat(ctx context.Context, key string) (pipeline.ObjectInfo, error)
	Delete(ctx context.Context, key string) error
}

// maxSourceTTL bounds how long a source may wait for its removal, in seconds.
const maxSourceTTL = 10 * 365 * 24 * 3600

// keepPolicy reads keep_source and source_ttl: how many seconds after the film's
// success its source is removed; nil: never.
func keepPolicy(r *reader) *int {
	keep, ttl := true, -1
	r.flag("keep_source", &keep)
	r.whole("source_ttl", &ttl)
	_, asked := r.obj["keep_source"]
	_, timed := r.obj["source_ttl"]
	switch {
	case timed && (ttl < 0 || ttl > maxSourceTTL):
		r.want("source_ttl", fmt.Sprintf("whole seconds, 0 to %d", maxSourceTTL))
	case asked && keep && timed:
		r.fail(badPayload(`"keep_source" and "source_ttl" contradict each other`))
	case timed:
		return &ttl
	case !keep:
		return new(int)
	}
	return nil
}

// shareSource lets nobody ask for a source while it is removed: who asks waits.
func shareSource(ctx context.Context, tx pgx.Tx, source string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared($1, hashtext($2))`, lockSource, source); err != nil {
		return fmt.Errorf("lock the source: %w", err)
	}
	return nil
}

// planSourceRemoval asks for the removal of a published film's source, when its
// job says so: what is there then must still be what was published.
func planSourceRemoval(ctx context.Context, tx pgx.Tx, jobID, etag string) error {
	if etag == "" {
		return nil
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO source_removals (source, etag, job_id, due_at)
		SELECT source, $2, id, now() + make_interval(secs => source_ttl) FROM jobs WHERE id = $1 AND source_ttl IS NOT NULL
		ON CONFLICT (source) DO UPDATE SET etag = EXCLUDED.etag, job_id = EXCLUDED.job_id, due_at = EXCLUDED.due_at`, jobID, etag)
	if err != nil {
		return fmt.Errorf("plan the removal of the source: %w", err)
	}
	return nil
}

// PublishedSource gives the source of what is published of an asset, and the
// ETags under which it was found to have the asset's SHA-256.
// ErrPublicationNotFound.
func (s *JobStore) PublishedSource(ctx context.Context, hash string) (source string, etags []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err = s.pool.QueryRow(ctx, `
		SELECT j.source, coalesce(array_agg(v.etag) FILTER (WHERE v.etag IS NOT NULL), '{}')
		FROM assets a JOIN publications p ON p.hash = a.hash AND p.generation = a.generation JOIN jobs j ON j.id = p.job_id
		LEFT JOIN verified_sources v ON v.hash = a.hash AND v.source = j.source
		WHERE a.hash = $1 GROUP BY j.source`, hash).Scan(&source, &etags)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil, ErrPublicationNotFound
	}
	if err != nil {
		return "", nil, fmt.Errorf("look for the source of %s: %w", hash, err)
	}
	return source, etags, nil
}

// NeedsSource says whether a request is for something that is made of its
// source: downloads are made of the published film.
func (s Submission) NeedsSource() bool { return s.Part == nil || s.Part.Kind != pipeline.StaticKind }

const (
	sourceRetry  = 5 * time.Minute  // what a source waits that could not be removed
	sourceClaim  = 20 * time.Second // and one whose remover died; more than a removal may take
	sourceDelete = 3 * time.Second  // what the object store has to delete it: who asks for a job on it waits as long
)

// removeSource removes one source that is due and that no waiting or running
// job needs. It is the job's until then, however long its time is over. One that
// fails is due again later, so that it holds up no other.
func (r *Remover) removeSource(ctx context.Context) (worked bool, err error) {
	if r.cfg.Sources == nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 3*queryTimeout)
	defer cancel()
	var source, etag string
	err = r.cfg.Store.pool.QueryRow(ctx, `
		UPDATE source_removals SET due_at = now() + make_interval(secs => $1)
		WHERE source = (
			SELECT s.source FROM source_removals s
			WHERE s.due_at <= now() AND NOT EXISTS (
				SELECT FROM jobs j WHERE j.source = s.source AND j.state IN ('queued', 'running'))
			ORDER BY s.due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING source, etag`, sourceClaim.Seconds()).Scan(&source, &etag)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("remove a source: %w", err)
	}
	if err = r.deleteSource(ctx, source, etag); err == nil {
		return true, nil
	}
	later, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
	defer cancel()
	_, failed := r.cfg.Store.pool.Exec(later, `UPDATE source_removals SET due_at = now() + make_interval(secs => $2) WHERE source = $1 AND etag = $3`,
		source, sourceRetry.Seconds(), etag)
	return false, fmt.Errorf("remove a source: %w", errors.Join(err, failed))
}

// deleteSource leaves alone what was uploaded under the name since, and what a
// job has come to need.
func (r *Remover) deleteSource(ctx context.Context, source, etag string) error {
	began := time.Now()
	info, err := r.cfg.Sources.Stat(ctx, source)
	gone := errors.Is(err, pipeline.ErrObjectNotFound)
	switch {
	case err != nil && !gone:
		return storeError(err)
	case !gone && strings.Trim(info.ETag, `"`) != strings.Trim(etag, `"`):
		r.cfg.Log.Warn("a source was replaced after its film was published: it stays", "source", source)
		gone = true
	}
	return pgx.BeginFunc(ctx, r.cfg.Store.pool, func(tx pgx.Tx) error {
		if !gone {
			// Whoever submits a job on it waits from here on; one that was faster shows now.
			if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1, hashtext($2))`, lockSource, source); err != nil {
				return err
			}
			var needed bool
			err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM jobs WHERE source = $1 AND state IN ('queued', 'running'))`, source).Scan(&needed)
			if err != nil || needed {
				return err
			}
			deleting, cancel := context.WithTimeout(ctx, sourceDelete)
			defer cancel()
			if err := r.cfg.Sources.Delete(deleting, source); err != nil {
				return storeError(err)
			}
			r.cfg.Log.Info("source removed", "source", source, "bytes", info.Size, "seconds", time.Since(began).Seconds())
		}
		_, err := tx.Exec(ctx, `DELETE FROM source_removals WHERE source = $1 AND etag = $2`, source, etag)
		return err
	})
}
