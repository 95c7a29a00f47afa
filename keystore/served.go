package keystore

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/cenc"
)

const (
	maxLoaders = 4                     // queries of reader that run at once
	maxGroup   = 64                    // questions of one query
	patience   = 10 * time.Millisecond // how long a question waits for a loader before it gets another one
)

// reader answers Served in groups: what waits while Postgres is busy with the
// questions before is asked in one query. One loader asks at a time, which makes
// the groups large, unless it takes too long. Nobody waits for a group to fill,
// and each answer was read after its question; room that is left in a group goes
// to remembered rows that are due. While nobody asks it has no goroutine.
type reader struct {
	pool       *pgxpool.Pool
	remembered *remembered

	mu      sync.Mutex
	waiting []*question
	loaders int
}

// question is one call's. The loader that takes it writes row and err, then
// closes done.
type question struct {
	hash string
	kid  []byte      // nil: the default key
	left atomic.Bool // its caller has gone
	done chan struct{}
	row  sealedKey
	err  error
}

// ask gives the row of a key that viewers may have. It returns when ctx ends,
// whatever becomes of the group. hash has the form of an asset's: text that
// Postgres refuses would be refused to the whole group.
func (g *reader) ask(ctx context.Context, hash string, kid *cenc.KID) (sealedKey, error) {
	q := idOf(hash, kid).question()
	g.mu.Lock()
	g.waiting = append(g.waiting, q)
	first := g.loaders == 0
	if first {
		g.loaders = 1
	}
	g.mu.Unlock()
	if first {
		go g.load()
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		select {
		case <-q.done:
			return q.row, q.err
		case <-late.C:
			g.help()
		case <-ctx.Done():
			q.left.Store(true)
			return sealedKey{}, databaseError(ctx, opReadServed, ctx.Err())
		}
	}
}

// help starts another loader if questions wait: the others may be stuck.
func (g *reader) help() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.waiting) > 0 && g.loaders < maxLoaders {
		g.loaders++
		go g.load()
	}
}

const opReadServed = "read served key"

// load answers group after group until no question waits.
func (g *reader) load() {
	for group := g.take(); len(group) > 0; group = g.take() {
		g.answer(group)
	}
}

// take gives the questions that have waited longest, without those whose
// callers have gone. When there is none it signs the loader off.
func (g *reader) take() []*question {
	g.mu.Lock()
	defer g.mu.Unlock()
	var group []*question
	for i, q := range g.waiting {
		if len(group) == maxGroup {
			g.waiting = g.waiting[i:]
			return group
		}
		if !q.left.Load() {
			group = append(group, q)
		}
	}
	g.waiting = nil
	if len(group) == 0 {
		g.loaders--
	}
	return group
}

// answer asks Postgres once for a group. An error of the query is everybody's.
func (g *reader) answer(group []*question) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	asked := time.Now()
	due, era := g.remembered.due(asked, maxGroup-len(group))
	all := slices.Clone(group)
	for _, id := range due {
		all = append(all, id.question())
	}
	found, err := g.query(ctx, all)
	if err == nil {
		for i, id := range due {
			n := len(group) + i
			g.remembered.renew(id, all[n].row, found[n], era, asked)
		}
	}
	err = databaseError(ctx, opReadServed, err)
	for i, q := range group {
		switch {
		case err != nil:
			q.err = err
		case !found[i]:
			q.row, q.err = sealedKey{}, fmt.Errorf("%s: %w", opReadServed, ErrNotFound)
		}
		close(q.done)
	}
}

// Viewers may have published keys until they retire, and pending ones of an
// attempt while it shows what it has made (migrations, 00015: then nothing of
// the asset is published).
//
// The arrays come out of a subquery, which hides their length from the planner:
// it keeps one plan for groups of every size instead of planning each anew.
const queryServed = `
	WITH asked AS MATERIALIZED (SELECT $1::bytea[] AS kids, $2::text[] AS hashes)
	SELECT q.n, k.*
	FROM asked, unnest(asked.kids, asked.hashes) WITH ORDINALITY AS q (kid, hash, n)
	CROSS JOIN LATERAL (
		SELECT ` + keyColumns + ` FROM content_keys
		WHERE kid = q.kid
			AND (state IN ('active', 'retiring') AND (retire_at IS NULL OR retire_at > now())
				OR state = 'pending' AND EXISTS (SELECT FROM early_shown e WHERE (e.job_id, e.attempt) = (content_keys.job_id, content_keys.attempt)))
		UNION ALL
		SELECT ` + keyColumns + ` FROM content_keys
		WHERE q.kid IS NULL AND hash = q.hash AND is_default
			AND state IN ('active', 'retiring') AND (retire_at IS NULL OR retire_at > now())
		UNION ALL
		SELECT ` + keyColumns + ` FROM early_shown e JOIN content_keys USING (job_id, attempt, hash)
		WHERE q.kid IS NULL AND hash = q.hash AND is_default AND state = 'pending'
	) AS k`

// query reads the rows of a group and says for which questions there was one.
func (g *reader) query(ctx context.Context, group []*question) (found []bool, err error) {
	kids, hashes := make([][]byte, len(group)), make([]string, len(group))
	for i, q := range group {
		kids[i], hashes[i] = q.kid, q.hash
	}
	rows, err := g.pool.Query(ctx, queryServed, kids, hashes)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found = make([]bool, len(group))
	var n int
	var row sealedKey
	targets := append([]any{&n}, row.targets()...)
	for rows.Next() {
		row = sealedKey{}
		if err := rows.Scan(targets...); err != nil {
			return nil, err
		}
		group[n-1].row, found[n-1] = row, row.Hash == group[n-1].hash // a key of another title is none
	}
	return found, rows.Err()
}
