package worker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// fillJobs inserts n succeeded jobs of one asset each, a second apart.
func (h *house) fillJobs(n int) {
	h.t.Helper()
	h.exec(`INSERT INTO jobs (id, type, queue, hash, source, options, encrypt, request_digest, state, results, progress, created_at, finished_at)
		SELECT 'old-' || i, 'video:transcode', 'default', md5('a' || i) || md5('b' || i), 'x', '{}', true,
		       sha256(('r' || i)::bytea), 'succeeded', '{}', 100, now() - interval '1 day' + i * interval '1 s', now()
		FROM generate_series(1, $1) AS i`, n)
	h.exec(`ANALYZE jobs`)
}

func (h *house) list(f JobFilter) []string {
	h.t.Helper()
	jobs, err := h.store.List(h.t.Context(), f)
	if err != nil {
		h.t.Fatal(err)
	}
	var ids []string
	for _, j := range jobs {
		ids = append(ids, j.ID)
	}
	return ids
}

func TestListFilters(t *testing.T) {
	h := newHouse(t)
	var jobs []Job
	for n := range 4 {
		jobs = append(jobs, h.submit(request(n, "")))
	}
	full, err := ParseSubmission(TypeFull, fmt.Appendf(nil, `{"hash":"%064x","source":"x","options":{"cover":false,"preview":false,"storyboard":false,"text":false}}`, 1))
	if err != nil {
		t.Fatal(err)
	}
	jobs = append(jobs, h.submit(full))
	h.claim(jobs[1])
	if _, err := h.store.RecordRefused(t.Context(), request(9, ""), "refused", errSealed(true)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		filter JobFilter
		want   []string
	}{
		"all":          {JobFilter{}, []string{"refused", jobs[4].ID, jobs[3].ID, jobs[2].ID, jobs[1].ID, jobs[0].ID}},
		"a state":      {JobFilter{States: []State{StateRunning}}, []string{jobs[1].ID}},
		"two states":   {JobFilter{States: []State{StateFailed, StateRunning}}, []string{"refused", jobs[1].ID}},
		"a type":       {JobFilter{Types: []string{TypeFull}}, []string{jobs[4].ID}},
		"an asset":     {JobFilter{Hash: jobs[1].Hash}, []string{jobs[4].ID, jobs[1].ID}},
		"all together": {JobFilter{Hash: jobs[1].Hash, States: []State{StateQueued}, Types: []string{TypeFull}}, []string{jobs[4].ID}},
		"none":         {JobFilter{States: []State{StateCancelled}}, nil},
	} {
		c.filter.Limit = 10
		if got := h.list(c.filter); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A walk by pages gives every job that was there at its start once, also those
// of one instant, while new ones come in.
func TestListPagesAreStable(t *testing.T) {
	h := newHouse(t)
	h.fillJobs(20)
	h.exec(`UPDATE jobs SET created_at = '2026-01-01' WHERE id IN ('old-3', 'old-4', 'old-5', 'old-6')`)
	var seen []string
	filter := JobFilter{Limit: 3}
	for page := 0; ; page++ {
		jobs, err := h.store.List(t.Context(), filter)
		if err != nil {
			t.Fatal(err)
		}
		if len(jobs) == 0 {
			break
		}
		for _, j := range jobs {
			seen = append(seen, j.ID)
		}
		last := jobs[len(jobs)-1]
		filter.Before = &Position{last.CreatedAt, last.ID}
		h.submit(request(page, ""))
	}
	slices.Sort(seen)
	if len(seen) != 20 || len(slices.Compact(seen)) != 20 {
		t.Errorf("seen: %v", seen)
	}
}

func TestListIsServedByItsIndex(t *testing.T) {
	h := newHouse(t)
	h.fillJobs(20_000)
	some := []any{[]State{StateFailed, StateSucceeded}, []string{TypeTranscode, TypeFull}, time.Now(), "x", 51}
	for index, query := range map[string]struct {
		sql  string
		args []any
	}{
		"jobs_listed":   {listAll, some},
		"jobs_of_asset": {listAsset, append(slices.Clone(some), strings.Repeat("a", 64))},
	} {
		rows, err := h.pool.Query(t.Context(), "EXPLAIN "+query.sql, query.args...)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if plan := strings.Join(lines, "\n"); !strings.Contains(plan, index) || strings.Contains(plan, "Seq Scan on jobs") {
			t.Errorf("%s does not serve:\n%s", index, plan)
		}
	}
}

func TestGetMany(t *testing.T) {
	h := newHouse(t)
	a, b := h.submit(request(1, "")), h.submit(request(2, ""))
	jobs, err := h.store.GetMany(t.Context(), []string{a.ID, "nothing", b.ID})
	if err != nil || len(jobs) != 2 {
		t.Errorf("%d jobs, %v", len(jobs), err)
	}
}
