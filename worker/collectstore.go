package worker

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// lockSession takes an advisory lock that outlasts transactions and ends with
// its connection. ErrCollecting when another session has it.
func (s *JobStore) lockSession(ctx context.Context, lock int64) (unlock func(), err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock the garbage collection: %w", err)
	}
	var mine bool
	if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, lock).Scan(&mine); err != nil || !mine {
		conn.Release()
		if err == nil {
			err = ErrCollecting
		}
		return nil, err
	}
	return func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
		defer cancel()
		// A session that cannot give the lock back must not go back to the pool with it.
		if _, err := conn.Exec(end, `SELECT pg_advisory_unlock($1)`, lock); err != nil {
			_ = conn.Conn().Close(end)
		}
		conn.Release()
	}, nil
}

// fateKept is the fate of a folder that stays.
const fateKept = "kept"

// fates judges the folders of assets: WhyDead, WhyRetired or fateKept. What no
// job accounts for is not in the answer. Jobs are read before publications: a
// job that has ended by publishing has its publication by then.
func (s *JobStore) fates(ctx context.Context, folders map[string][]string, grace, retention time.Duration) (map[string]string, error) {
	hashes := make([]string, 0, len(folders))
	for hash := range folders {
		hashes = append(hashes, hash)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*queryTimeout)
	defer cancel()
	fates := map[string]string{}
	rows, err := s.pool.Query(ctx, `
		SELECT id, attempt, coalesce(finished_at < now() - make_interval(secs => $2), false)
		FROM jobs WHERE hash = ANY($1)`, hashes, grace.Seconds())
	if err != nil {
		return nil, fmt.Errorf("read jobs of assets: %w", err)
	}
	var f Fence
	var over bool
	_, err = pgx.ForEachRow(rows, []any{&f.JobID, &f.Attempt, &over}, func() error {
		fate := fateKept
		if over {
			fate = WhyDead
		}
		for ; f.Attempt > 0; f.Attempt-- {
			fates[f.Prefix()] = fate
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read jobs of assets: %w", err)
	}
	rows, err = s.pool.Query(ctx, `
		SELECT p.prefix, p.generation < a.generation AND (p.collected_at IS NOT NULL OR
			(SELECT min(n.published_at) FROM publications n WHERE n.hash = p.hash AND n.generation > p.generation)
				< now() - make_interval(secs => $2))
		FROM publications p JOIN assets a ON a.hash = p.hash
		WHERE p.hash = ANY($1)
		UNION ALL
		SELECT prefix, coalesce(collected_at IS NOT NULL OR replaced_at < now() - make_interval(secs => $2), false)
		FROM asset_parts WHERE hash = ANY($1)`, hashes, retention.Seconds())
	if err != nil {
		return nil, fmt.Errorf("read publications of assets: %w", err)
	}
	var prefix string
	_, err = pgx.ForEachRow(rows, []any{&prefix, &over}, func() error {
		fates[prefix] = fateKept
		if over {
			fates[prefix] = WhyRetired
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read publications of assets: %w", err)
	}
	return fates, nil
}

// retire takes a replaced generation, or a replaced part, out of the inventory:
// its objects are not served any more. False when it is the current one, or not
// there.
func (s *JobStore) retire(ctx context.Context, prefix string) (gone bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			UPDATE publications p SET collected_at = coalesce(p.collected_at, now())
			FROM assets a WHERE a.hash = p.hash AND p.generation < a.generation AND p.prefix = $1`, prefix)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			gone, err = retirePart(ctx, tx, prefix)
			return err
		}
		gone = true
		_, err = tx.Exec(ctx, `DELETE FROM publication_objects WHERE prefix = $1`, prefix)
		return err
	})
	if err != nil {
		return false, fmt.Errorf("retire publication %s: %w", prefix, err)
	}
	return gone, nil
}

// deadKey counts the keys of a job's attempts that were never published.
type deadKey struct {
	JobID   string
	Attempt int // the job's last
	Keys    int64
}

// deadKeys lists ended jobs that left keys pending, by job id. A retry that
// comes meanwhile has a higher attempt than the one named here.
func (s *JobStore) deadKeys(ctx context.Context, grace time.Duration, after string, limit int) ([]deadKey, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, `
		SELECT j.id, j.attempt, count(*)
		FROM content_keys k JOIN jobs j ON j.id = k.job_id
		WHERE k.state = 'pending' AND k.attempt <= j.attempt AND j.id > $2
		  AND j.finished_at < now() - make_interval(secs => $1)
		GROUP BY j.id, j.attempt ORDER BY j.id LIMIT $3`, grace.Seconds(), after, limit)
	if err != nil {
		return nil, fmt.Errorf("look for dead keys: %w", err)
	}
	dead, err := pgx.CollectRows(rows, pgx.RowToStructByPos[deadKey])
	if err != nil {
		return nil, fmt.Errorf("look for dead keys: %w", err)
	}
	return dead, nil
}
