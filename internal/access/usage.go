package access

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	usageEvery = 10 * time.Second
	usageMost  = 50_000 // tokens between two writes; what is above goes untold
)

// usage gathers when minted tokens were used last.
type usage struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newUsage() *usage { return &usage{last: map[string]time.Time{}} }

func (u *usage) note(id string, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.last[id]; known || len(u.last) < usageMost {
		u.last[id] = at
	}
}

// run writes them now and then, and once more at the end.
func (u *usage) run(ctx context.Context, s *Store, log *slog.Logger) {
	tick := time.NewTicker(usageEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			u.flush(context.WithoutCancel(ctx), s, log)
			return
		case <-tick.C:
			u.flush(ctx, s, log)
		}
	}
}

func (u *usage) flush(ctx context.Context, s *Store, log *slog.Logger) {
	u.mu.Lock()
	last := u.last
	u.last = map[string]time.Time{}
	u.mu.Unlock()
	if len(last) == 0 {
		return
	}
	var ids []string
	var times []time.Time
	for id, at := range last {
		ids, times = append(ids, id), append(times, at)
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	_, err := s.pool.Exec(ctx, `UPDATE minted_tokens m SET last_used_at = greatest(m.last_used_at, u.at)
		FROM unnest($1::text[], $2::timestamptz[]) AS u (id, at) WHERE m.id = u.id`, ids, times)
	if err != nil {
		log.WarnContext(ctx, "the last use of minted tokens was not written", "tokens", len(ids), "error", err)
	}
}
