package worker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/sealcast/sealcast/pipeline"
)

const (
	removeTimeout = 10 * time.Minute // of one pass over an asset's objects
	removeAtOnce  = 8                // objects
)

// Media is the bucket of published media, as the Remover needs it.
type Media interface {
	List(ctx context.Context, prefix string) ([]pipeline.ObjectInfo, error)
	Delete(ctx context.Context, key string) error
}

// RemoverConfig is what a Remover needs. Zero values mean the default.
type RemoverConfig struct {
	Store   *JobStore
	Media   Media
	Sources Sources // nil: sources stay
	Metrics *Metrics
	Log     *slog.Logger
	Poll    time.Duration // between looks at what is to be removed, 2 s
}

// Remover removes the objects of deleted assets, and sources whose time is over. Any number may run side by
// side.
type Remover struct{ cfg RemoverConfig }

// NewRemover returns a remover that does nothing until Run.
func NewRemover(cfg RemoverConfig) *Remover {
	setDefault(&cfg.Poll, 2*time.Second)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics(nil)
	}
	return &Remover{cfg}
}

// Run works until ctx ends, and returns nil then. What fails is tried again.
func (r *Remover) Run(ctx context.Context) error {
	for {
		worked, err := r.round(ctx)
		if err == nil && !worked {
			worked, err = r.removeSource(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // told to end
		case err != nil:
			r.cfg.Metrics.dependencyError(err)
			r.cfg.Log.Warn("objects of a deleted asset, or a source, are not removed yet", "error", err)
		case worked:
			continue
		}
		if !sleep(ctx, r.cfg.Poll) {
			return nil
		}
	}
}

// round makes one pass over one deleted asset, if there is one that is due.
func (r *Remover) round(ctx context.Context) (worked bool, err error) {
	d, err := r.cfg.Store.takeRemoval(ctx)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	pass, cancel := context.WithTimeout(ctx, removeTimeout)
	defer cancel()
	removed, err := r.remove(pass, d.hash)
	if err != nil {
		return true, fmt.Errorf("remove objects of %s, try %d: %w", d.hash, d.tries, err)
	}
	r.cfg.Log.Info("objects of a deleted asset removed", "hash", d.hash, "objects", removed, "settled", d.settled)
	return true, r.cfg.Store.endRemoval(ctx, d)
}

// remove deletes what lies below stream/<hash>/ but for the prefixes that are
// published or being filled: the asset may have been submitted again. The list
// comes first: the attempt that uploaded what is on it was recorded before.
func (r *Remover) remove(ctx context.Context, hash string) (int, error) {
	root := "stream/" + hash + "/"
	objects, err := r.cfg.Media.List(ctx, root)
	if err != nil {
		return 0, storeError(err)
	}
	inUse, err := r.cfg.Store.prefixesInUse(ctx, hash)
	if err != nil {
		return 0, err
	}
	removed := 0
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(removeAtOnce)
	for _, o := range objects {
		prefix, _, _ := strings.Cut(strings.TrimPrefix(o.Key, root), "/")
		if inUse[prefix] {
			continue
		}
		removed++
		group.Go(func() error { return storeError(r.cfg.Media.Delete(ctx, o.Key)) })
	}
	return removed, group.Wait()
}

// storeError marks an error as the object store's.
func storeError(err error) error {
	if err == nil {
		return nil
	}
	return &pipeline.Error{Code: pipeline.CodeStoreUnavailable, Message: "The object store did not answer.", Err: err}
}

// removal is a row of media_deletions.
type removal struct {
	hash        string
	requestedAt time.Time
	tries       int
	settled     bool // no cancelled attempt uploads any more
}

// takeRemoval gives the removal that is due longest, or pgx.ErrNoRows. It is
// due again in a while, and after failures later and later; two passes at once
// do no harm.
func (s *JobStore) takeRemoval(ctx context.Context) (d removal, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err = s.pool.QueryRow(ctx, `
		UPDATE media_deletions
		SET tries = tries + 1, not_before = now() + make_interval(secs => least(5 * 2 ^ least(tries, 10), $1))
		WHERE hash = (SELECT hash FROM media_deletions WHERE not_before <= now()
		              ORDER BY not_before LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING hash, requested_at, tries, settled_at <= now()`, removeTimeout.Seconds()).
		Scan(&d.hash, &d.requestedAt, &d.tries, &d.settled)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return removal{}, fmt.Errorf("take a removal: %w", err)
	}
	return d, err
}

// endRemoval deletes the row after the last pass, or asks for that pass. It
// leaves the row alone when the asset was deleted once more in between.
func (s *JobStore) endRemoval(ctx context.Context, d removal) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	query := `UPDATE media_deletions SET not_before = settled_at, tries = 0 WHERE hash = $1 AND requested_at = $2`
	if d.settled {
		query = `DELETE FROM media_deletions WHERE hash = $1 AND requested_at = $2`
	}
	if _, err := s.pool.Exec(ctx, query, d.hash, d.requestedAt); err != nil {
		return fmt.Errorf("end the removal of %s: %w", d.hash, err)
	}
	return nil
}

// prefixesInUse are the prefixes of an asset that are published or that an
// attempt is filling.
func (s *JobStore) prefixesInUse(ctx context.Context, hash string) (map[string]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		SELECT job_id, attempt FROM publications WHERE hash = $1
		UNION ALL
		SELECT job_id, attempt FROM asset_parts WHERE hash = $1
		UNION ALL
		SELECT id, attempt FROM jobs WHERE hash = $1 AND state = 'running'`, hash)
	if err != nil {
		return nil, fmt.Errorf("read the prefixes of %s: %w", hash, err)
	}
	inUse := map[string]bool{}
	var f Fence
	_, err = pgx.ForEachRow(rows, []any{&f.JobID, &f.Attempt}, func() error {
		inUse[f.Prefix()] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the prefixes of %s: %w", hash, err)
	}
	return inUse, nil
}
