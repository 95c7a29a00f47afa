package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// JobFilter says which jobs List gives.
type JobFilter struct {
	States []State   // empty: all
	Types  []string  // empty: all
	Hash   string    // empty: every asset
	Before *Position // only jobs behind this one; nil: from the newest on
	Limit  int
}

// Position is a job's place in a list, newest first.
type Position struct {
	CreatedAt time.Time
	ID        string
}

// Each state and type has its jobs in order in an index, so a page costs one
// probe for each pair, however many jobs there are.
const (
	listAll = `
		SELECT ` + jobColumns + `
		FROM unnest($1::text[]) AS s (wanted_state), unnest($2::text[]) AS t (wanted_type), LATERAL (
			SELECT ` + jobColumns + ` FROM jobs
			WHERE state = wanted_state AND type = wanted_type AND (created_at, id) < ($3, $4)
			ORDER BY created_at DESC, id DESC LIMIT $5) AS j
		ORDER BY created_at DESC, id DESC LIMIT $5`
	listAsset = `
		SELECT ` + jobColumns + ` FROM jobs
		WHERE state = ANY ($1) AND type = ANY ($2) AND (created_at, id) < ($3, $4) AND hash = $6
		ORDER BY created_at DESC, id DESC LIMIT $5`
)

// endOfTime is behind every job.
var endOfTime = Position{CreatedAt: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)}

// List reads jobs, newest first.
func (s *JobStore) List(ctx context.Context, f JobFilter) ([]Job, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	if len(f.States) == 0 {
		f.States = []State{StateQueued, StateRunning, StateSucceeded, StateFailed, StateCancelled}
	}
	if len(f.Types) == 0 {
		f.Types = Types()
	}
	before := endOfTime
	if f.Before != nil {
		before = *f.Before
	}
	query, args := listAll, []any{f.States, f.Types, before.CreatedAt, before.ID, f.Limit}
	if f.Hash != "" {
		query, args = listAsset, append(args, f.Hash)
	}
	jobs, err := s.collect(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	return jobs, nil
}

// GetMany reads those of the jobs that there are, in any order.
func (s *JobStore) GetMany(ctx context.Context, ids []string) ([]Job, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	jobs, err := s.collect(ctx, `SELECT `+jobColumns+` FROM jobs WHERE id = ANY ($1)`, ids)
	if err != nil {
		return nil, fmt.Errorf("read %d jobs: %w", len(ids), err)
	}
	return jobs, nil
}

func (s *JobStore) collect(ctx context.Context, query string, args ...any) ([]Job, error) {
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	jobs, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Job, error) { return scanJob(row) })
	if err != nil {
		return nil, err
	}
	return jobs, s.addParts(ctx, jobs)
}
