package worker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Asset is a title as its owner sees it.
type Asset struct {
	Hash       string
	ExternalID string // empty: none
	Private    bool
	CreatedAt  time.Time // of its first publication, or of its first job while there is none

	// The current publication; Generation is 0 when there is none.
	Generation  int
	Encrypted   bool
	JobID       string
	Prefix      string
	PublishedAt *time.Time
	Results     json.RawMessage // of the job; nil: none
}

// An asset is known by its jobs, which outlive its publications.
const assetColumns = `k.hash, coalesce(y.external_id, ''), coalesce(y.private, false), coalesce(a.created_at, k.created_at),
	coalesce(p.generation, 0), coalesce(a.encrypted, false), coalesce(p.job_id, ''), coalesce(p.prefix, ''), p.published_at, j.results`

const assetJoins = `
	LEFT JOIN assets a ON a.hash = k.hash
	LEFT JOIN publications p ON p.hash = a.hash AND p.generation = a.generation
	LEFT JOIN jobs j ON j.id = p.job_id
	LEFT JOIN asset_policies y ON y.hash = k.hash`

func scanAsset(row pgx.Row) (Asset, error) {
	var a Asset
	err := row.Scan(&a.Hash, &a.ExternalID, &a.Private, &a.CreatedAt,
		&a.Generation, &a.Encrypted, &a.JobID, &a.Prefix, &a.PublishedAt, &a.Results)
	return a, err
}

func readAsset(ctx context.Context, q querier, hash string) (Asset, error) {
	a, err := scanAsset(q.QueryRow(ctx, `
		SELECT `+assetColumns+`
		FROM (SELECT hash, min(created_at) AS created_at FROM jobs WHERE hash = $1 GROUP BY hash) k`+assetJoins, hash))
	if errors.Is(err, pgx.ErrNoRows) {
		return Asset{}, ErrAssetNotFound
	}
	return a, err
}

// Asset reads an asset that has at least one job. ErrAssetNotFound.
func (s *JobStore) Asset(ctx context.Context, hash string) (Asset, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	a, err := readAsset(ctx, s.pool, hash)
	if err != nil {
		return Asset{}, fmt.Errorf("read asset %s: %w", hash, err)
	}
	return a, nil
}

// AssetPosition is an asset's place in the list.
type AssetPosition struct {
	CreatedAt time.Time // of its first publication
	Hash      string
}

// Assets lists published assets, newest first. before: only assets behind this
// one; nil: from the newest on.
func (s *JobStore) Assets(ctx context.Context, before *AssetPosition, limit int) ([]Asset, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	from := AssetPosition{CreatedAt: endOfTime.CreatedAt}
	if before != nil {
		from = *before
	}
	rows, err := s.pool.Query(ctx, `
		SELECT `+assetColumns+`
		FROM (SELECT hash, created_at FROM assets WHERE (created_at, hash) < ($1, $2)
		      ORDER BY created_at DESC, hash DESC LIMIT $3) k`+assetJoins+`
		ORDER BY k.created_at DESC, k.hash DESC`, from.CreatedAt, from.Hash, limit)
	if err != nil {
		return nil, fmt.Errorf("list assets: %w", err)
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Asset, error) { return scanAsset(row) })
	if err != nil {
		return nil, fmt.Errorf("list assets: %w", err)
	}
	return list, nil
}
