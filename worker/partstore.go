package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/pipeline"
)

// AssetPart is the current making of a part.
type AssetPart struct {
	Kind, Name string
	Prefix     string // objects are stream/<hash>/<prefix>/<name>
	JobID      string
	At         time.Time       // when it was published
	Facts      json.RawMessage // an object: what the part's maker tells of it
}

// PublishPart is what an attempt on a part wants to make visible.
type PublishPart struct {
	Fence      Fence
	Hash       string
	Kind, Name string
	Facts      pipeline.Facts
	Objects    []pipeline.Object
	Results    json.RawMessage
	Source     VerifiedSource
	Film       *string // prefix of the film that it follows, empty: there was none; nil: it follows none
	OfFilm     bool    // it shows the film that asked for it, and comes with that
}

// PublishPart makes an attempt the current making of its part and its job
// succeeded, in one transaction; the making before it is replaced, and what was
// asked for before it and still waits is cancelled. A part of a film that is not
// published yet waits for that (showParts). Errors as of Publish, and errOtherFilm.
func (s *JobStore) PublishPart(ctx context.Context, req PublishPart) error {
	return s.commitPublication(ctx, req.Fence, func(ctx context.Context, tx pgx.Tx) error { return publishPart(ctx, tx, req) })
}

func publishPart(ctx context.Context, tx pgx.Tx, req PublishPart) error {
	if err := shareAsset(ctx, tx, req.Hash); err != nil {
		return err
	}
	if err := checkFilm(ctx, tx, req.Hash, req.Film); err != nil {
		return err
	}
	if err := holdFence(ctx, tx, req.Fence, req.Hash, false); err != nil {
		return err
	}
	waits, err := req.waits(ctx, tx)
	if err != nil {
		return err
	}
	if !waits {
		if err := cancelOlder(ctx, tx, req); err != nil {
			return err
		}
		if _, err := replacePart(ctx, tx, req.Hash, req.Kind, req.Name); err != nil {
			return err
		}
	}
	prefix := req.Fence.Prefix()
	_, err = tx.Exec(ctx, `
		INSERT INTO asset_parts (prefix, hash, kind, name, job_id, attempt, facts, film, replaced_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, CASE WHEN $9 THEN now() END)`,
		prefix, req.Hash, req.Kind, req.Name, req.Fence.JobID, req.Fence.Attempt, req.Facts, req.Film, waits)
	if err != nil {
		return fmt.Errorf("insert the part: %w", err)
	}
	if err := insertInventory(ctx, tx, "asset_part_objects", prefix, req.Objects); err != nil {
		return err
	}
	if err := recordVerified(ctx, tx, req.Hash, req.Source); err != nil {
		return err
	}
	return succeed(ctx, tx, req.Fence, req.Results, map[string]any{})
}

// replacePart ends the time of the current making, if there is one: it is not
// found any more, but served below its prefix until it is collected.
func replacePart(ctx context.Context, tx pgx.Tx, hash, kind, name string) (there bool, err error) {
	tag, err := tx.Exec(ctx, `
		UPDATE asset_parts SET replaced_at = now() WHERE hash = $1 AND kind = $2 AND name = $3 AND replaced_at IS NULL`, hash, kind, name)
	if err != nil {
		return false, fmt.Errorf("replace the part: %w", err)
	}
	return tag.RowsAffected() > 0, nil
}

// askedAt is when a job was asked for last.
const askedAt = `coalesce(jobs.asked_at, jobs.created_at)`

// cancelOlder cancels the jobs of the same part that were asked for before the
// one that is being published, and wait for another attempt: what they would
// make is replaced already. Those of a film that is still to come stay.
func cancelOlder(ctx context.Context, tx pgx.Tx, req PublishPart) error {
	_, err := tx.Exec(ctx, `
		UPDATE jobs
		SET state = 'cancelled', cancel_requested_at = now(), lease_until = NULL, eta_seconds = NULL,
		    error_code = 'superseded', error_message = 'A newer making of the part was published.',
		    finished_at = now(), updated_at = now()
		WHERE hash = $1 AND part_kind = $2 AND part_name = $3 AND state = 'queued' AND id <> $4
		  AND `+askedAt+` < (SELECT coalesce(asked_at, created_at) FROM jobs WHERE id = $4)
		  AND NOT (parent_id <> '' AND part_kind NOT IN ('text', 'static') AND EXISTS (
			SELECT FROM job_parts w JOIN jobs f ON f.id = w.parent_id WHERE w.job_id = jobs.id AND f.state IN ('queued', 'running')))`,
		req.Hash, req.Kind, req.Name, req.Fence.JobID)
	if err != nil {
		return fmt.Errorf("cancel older makings of the part: %w", err)
	}
	return nil
}

// RemoveTrack takes a text track off: nobody finds it any more, the collector
// removes its objects, and jobs that were to make it are cancelled. False when
// there is no such track and no such job.
func (s *JobStore) RemoveTrack(ctx context.Context, hash, name string, by Origin) (gone bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		// First the jobs: one that is publishing this moment has its part there afterwards.
		ended, err := cancelWhere(ctx, tx, `hash = $1 AND part_kind = $2 AND part_name = $3`, hash, pipeline.TextKind, name)
		if err != nil {
			return err
		}
		there, err := replacePart(ctx, tx, hash, pipeline.TextKind, name)
		if gone = err == nil && (there || len(ended) > 0); !gone {
			return err
		}
		return by.record(ctx, tx, actionDeleteTrack, hash, map[string]any{"track": name})
	})
	if err != nil {
		return false, fmt.Errorf("remove text track %s of %s: %w", name, hash, err)
	}
	return gone, nil
}

// retirePart takes a replaced part out of the inventory.
func retirePart(ctx context.Context, tx pgx.Tx, prefix string) (gone bool, err error) {
	tag, err := tx.Exec(ctx, `
		UPDATE asset_parts SET collected_at = coalesce(collected_at, now()) WHERE prefix = $1 AND replaced_at IS NOT NULL`, prefix)
	if err != nil || tag.RowsAffected() == 0 {
		return false, err
	}
	_, err = tx.Exec(ctx, `DELETE FROM asset_part_objects WHERE prefix = $1`, prefix)
	return true, err
}

// currentParts lists the parts of an asset.
func (s *JobStore) currentParts(ctx context.Context, hash string) ([]AssetPart, error) {
	rows, err := s.pool.Query(ctx, `
		SELECT kind, name, prefix, job_id, published_at, facts FROM asset_parts
		WHERE hash = $1 AND replaced_at IS NULL ORDER BY kind, name`, hash)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[AssetPart])
}

// PartObject finds an object of the current parts by its name alone.
// ErrPublicationNotFound, also while the asset is not published.
func (s *JobStore) PartObject(ctx context.Context, hash, name string) (prefix string, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err = s.pool.QueryRow(ctx, `
		SELECT p.prefix FROM asset_parts p
		JOIN assets a ON a.hash = p.hash
		JOIN asset_part_objects o ON o.prefix = p.prefix AND o.name = $2
		WHERE p.hash = $1 AND p.replaced_at IS NULL ORDER BY p.kind, p.name LIMIT 1`, hash, name).Scan(&prefix)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", ErrPublicationNotFound
	}
	if err != nil {
		return "", fmt.Errorf("look for %s among the parts of %s: %w", name, hash, err)
	}
	return prefix, nil
}

// submitParts records what a job asks for beside its film, and the jobs of the
// parts that need nothing but the source. Those that show the film wait for it
// when another one is published: theirs stay until then.
func submitParts(ctx context.Context, tx pgx.Tx, parent Job, sub Submission) error {
	if sub.DryRun || len(sub.Parts) == 0 {
		return nil
	}
	var published bool
	if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM assets WHERE hash = $1)`, sub.Hash).Scan(&published); err != nil {
		return fmt.Errorf("look for a film: %w", err)
	}
	for i, p := range sub.Parts {
		child := sub.child(p)
		child.ParentID = parent.ID
		var id *string
		_, shows := p.Part.(pipeline.Clippable)
		if late := partKinds[p.Type].afterFilm || shows && published; !late {
			job, _, err := submit(ctx, tx, child, newID())
			if err != nil {
				return fmt.Errorf("submit the %s: %w", p.Kind, err)
			}
			id = &job.ID
		}
		_, err := tx.Exec(ctx, `
			INSERT INTO job_parts (parent_id, position, kind, name, type, options, job_id) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			parent.ID, i, p.Kind, p.Name, p.Type, child.stored(), id)
		if err != nil {
			return fmt.Errorf("record the %s: %w", p.Kind, err)
		}
	}
	return nil
}

// submitLateParts records the jobs of parts that waited for what the parent
// publishes in this transaction.
func submitLateParts(ctx context.Context, tx pgx.Tx, parentID string) error {
	rows, err := tx.Query(ctx, `
		SELECT p.type, p.kind, p.name, p.options, j.hash, j.source, j.callback_url, j.metadata
		FROM job_parts p JOIN jobs j ON j.id = p.parent_id WHERE p.parent_id = $1 AND p.job_id IS NULL ORDER BY p.position`, parentID)
	if err != nil {
		return err
	}
	late, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s Submission, err error) {
		var p PartSubmission
		var options json.RawMessage
		s = Submission{ParentID: parentID}
		if err := row.Scan(&p.Type, &p.Kind, &p.Name, &options, &s.Hash, &s.Source, &s.CallbackURL, &s.Metadata); err != nil {
			return s, err
		}
		p.Part, err = partKinds[p.Type].load(options)
		child := s.child(p)
		child.ParentID = parentID
		return child, err
	})
	if err != nil {
		return err
	}
	for _, child := range late {
		job, _, err := submit(ctx, tx, child, newID())
		if err != nil {
			return err
		}
		_, err = tx.Exec(ctx, `UPDATE job_parts SET job_id = $4 WHERE parent_id = $1 AND kind = $2 AND name = $3`,
			parentID, child.Part.Kind, child.Part.Name, job.ID)
		if err != nil {
			return err
		}
	}
	return nil
}

// retryParts starts the parts again that have failed or were cancelled with
// their parent. One that another job stands for by now stays as it is.
func retryParts(ctx context.Context, tx pgx.Tx, parentID string) error {
	rows, err := tx.Query(ctx, `
		SELECT j.id FROM job_parts p JOIN jobs j ON j.id = p.job_id
		WHERE p.parent_id = $1 AND j.state IN ('failed', 'cancelled') AND j.error_code <> 'superseded' AND NOT EXISTS (
			SELECT FROM jobs o WHERE o.request_digest = j.request_digest AND o.state IN ('queued', 'running', 'succeeded')
			AND o.superseded_at IS NULL AND o.asset_deleted_at IS NULL)
		ORDER BY p.position`, parentID)
	if err != nil {
		return err
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := retry(ctx, tx, id, ""); err != nil {
			return fmt.Errorf("retry part %s: %w", id, err)
		}
	}
	return nil
}

// cancelParts cancels the parts that a job asked for and that have not ended:
// those that no client asked for alone, and no other job that stands.
func cancelParts(ctx context.Context, tx pgx.Tx, parentID string) error {
	_, err := cancelWhere(ctx, tx, `parent_id <> '' AND id IN (SELECT job_id FROM job_parts WHERE parent_id = $1)
		AND NOT EXISTS (SELECT FROM job_parts p JOIN jobs o ON o.id = p.parent_id
			WHERE p.job_id = jobs.id AND o.id <> $1 AND o.state IN ('queued', 'running', 'succeeded'))`, parentID)
	return err
}

// cancelWhere cancels the queued and running jobs of a condition, as Cancel
// does, and gives their ids.
func cancelWhere(ctx context.Context, tx pgx.Tx, condition string, args ...any) ([]string, error) {
	rows, err := tx.Query(ctx, `
		UPDATE jobs
		SET state = 'cancelled', cancel_requested_at = now(), lease_until = NULL, eta_seconds = NULL,
		    error_code = '', error_message = '', finished_at = now(), updated_at = now()
		WHERE state IN ('queued', 'running') AND `+condition+`
		RETURNING id, attempt`, args...)
	if err != nil {
		return nil, fmt.Errorf("cancel the parts: %w", err)
	}
	return tellCancelled(ctx, tx, rows)
}

// addParts reads the parts that jobs asked for.
func (s *JobStore) addParts(ctx context.Context, jobs []Job) error {
	at := map[string]int{}
	var ids []string
	for i, j := range jobs {
		if j.Type == TypeFull || j.Type == TypeAudio {
			at[j.ID] = i
			ids = append(ids, j.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	rows, err := s.pool.Query(ctx, `SELECT id, parts_of_job(id) FROM unnest($1::text[]) AS t (id)`, ids)
	if err != nil {
		return fmt.Errorf("read parts: %w", err)
	}
	var id string
	var parts json.RawMessage
	_, err = pgx.ForEachRow(rows, []any{&id, &parts}, func() error {
		jobs[at[id]].Parts, parts = parts, nil
		return nil
	})
	if err != nil {
		return fmt.Errorf("read parts: %w", err)
	}
	return nil
}

// recordVerified keeps that a source has its asset's SHA-256.
func recordVerified(ctx context.Context, tx pgx.Tx, hash string, source VerifiedSource) error {
	if source.ETag == "" {
		return nil
	}
	_, err := tx.Exec(ctx, `
		INSERT INTO verified_sources (hash, source, etag) VALUES ($1, $2, $3)
		ON CONFLICT (hash, source, etag) DO UPDATE SET at = now()`, hash, source.Key, source.ETag)
	if err != nil {
		return fmt.Errorf("record the source: %w", err)
	}
	return nil
}

// verified reports whether a source is known to have its asset's SHA-256.
func (s *JobStore) verified(ctx context.Context, hash string, source VerifiedSource) (there bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err = s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM verified_sources WHERE hash = $1 AND source = $2 AND etag = $3)`,
		hash, source.Key, source.ETag).Scan(&there)
	if err != nil {
		return false, fmt.Errorf("look for a verified source: %w", err)
	}
	return there, nil
}
