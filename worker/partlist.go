package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// RetryPart queues again the job of a part that was asked for last. Errors as of Retry;
// ErrJobNotFound when nobody asked for the part.
func (s *JobStore) RetryPart(ctx context.Context, hash, kind, name string, by Origin) (Job, error) {
	look, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var id string
	err := s.pool.QueryRow(look, `
		SELECT id FROM jobs WHERE hash = $1 AND part_kind = $2 AND part_name = $3
		ORDER BY `+askedAt+` DESC, id DESC LIMIT 1`,
		hash, kind, name).Scan(&id)
	if errors.Is(err, pgx.ErrNoRows) || kind == "" {
		return Job{}, ErrJobNotFound
	}
	if err != nil {
		return Job{}, fmt.Errorf("look for the job of %s: %w", kind, err)
	}
	return s.Retry(ctx, id, by)
}

// AssetParts lists what was ever asked for beside the film of an asset, as the
// job that was asked for last stands, in the form of Job.Parts; results are those of the making
// that is served or, when none is, waits for its film.
func (s *JobStore) AssetParts(ctx context.Context, hash string) (parts json.RawMessage, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err = s.pool.QueryRow(ctx, `
		SELECT coalesce(json_agg(json_build_object(
			'kind', j.part_kind, 'name', nullif(j.part_name, ''), 'job_id', j.id,
			'state', CASE j.state WHEN 'queued' THEN 'pending' WHEN 'succeeded' THEN 'ready' ELSE j.state END,
			'error', CASE WHEN j.error_code <> '' THEN json_build_object('code', j.error_code, 'message', j.error_message) END,
			'results', made.results) ORDER BY j.part_kind, j.part_name), '[]')
		FROM (SELECT DISTINCT ON (part_kind, part_name) * FROM jobs
		      WHERE hash = $1 AND part_kind <> '' AND asset_deleted_at IS NULL AND error_code <> 'asset_deleted'
		      ORDER BY part_kind, part_name, `+askedAt+` DESC, id DESC) j
		LEFT JOIN asset_parts p ON p.hash = j.hash AND p.kind = j.part_kind AND p.name = j.part_name AND p.replaced_at IS NULL
		LEFT JOIN jobs made ON made.id = coalesce(p.job_id, j.id)
		WHERE j.state <> 'succeeded' OR p.prefix IS NOT NULL OR EXISTS (
			SELECT FROM job_parts w JOIN jobs f ON f.id = w.parent_id WHERE w.job_id = j.id AND f.state IN ('queued', 'running'))`, hash).Scan(&parts)
	if err != nil {
		return nil, fmt.Errorf("list the parts of %s: %w", hash, err)
	}
	return parts, nil
}
