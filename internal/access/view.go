package access

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/notices"
	"github.com/sealcast/sealcast/token"
)

const (
	pollEvery  = time.Second
	viewMaxAge = 30 * time.Second // an older view is not believed
	channel    = "sealcast_access"
	sweepEvery = 10 * time.Minute
)

// signer is a signing key as the view has it: kid is its record's, which for a
// set is not the key's own.
type signer struct {
	key         *token.Key
	kid         string
	environment string
}

// view is what a node believes.
type view struct {
	store   *Store
	signers atomic.Pointer[map[string]signer]
	revoked revoked
	titles  *titleCache

	mu   sync.Mutex // of refreshing
	seq  int64      // the last change that is in it
	seen atomic.Pointer[time.Time]
}

func newView(store *Store) *view {
	v := &view{store: store, titles: newTitleCache(store)}
	v.signers.Store(&map[string]signer{})
	return v
}

// fresh is an error once the view is too old to be believed, by the wall clock
// too: the monotonic one stands still while a virtual machine is suspended.
func (v *view) fresh(now time.Time) error {
	seen := v.seen.Load()
	if seen == nil || max(now.Sub(*seen), now.Round(0).Sub(*seen)) > viewMaxAge {
		return ErrUnavailable
	}
	return nil
}

func (v *view) signer(kid string) (signer, bool) {
	s, ok := (*v.signers.Load())[kid]
	return s, ok
}

// refresh brings the view up to date: by what changed, or whole when it is new
// or was away for so long that changes may have been swept away.
func (v *view) refresh(ctx context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	began := time.Now()
	var err error
	if v.fresh(began) != nil {
		err = v.reload(ctx)
	} else {
		err = v.catchUp(ctx)
	}
	if err != nil {
		return dbError("refresh the view", err)
	}
	v.seen.Store(&began)
	return nil
}

// reload reads all of it in one snapshot.
func (v *view) reload(ctx context.Context) error {
	return pgx.BeginTxFunc(ctx, v.store.pool, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		var seq int64
		if err := tx.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM access_changes`).Scan(&seq); err != nil {
			return err
		}
		keys, err := collect(ctx, tx, scanSigningKey, `SELECT `+signingColumns+` FROM signing_keys WHERE revoked_at IS NULL ORDER BY created_at, kid`)
		if err != nil {
			return err
		}
		gone, err := collect(ctx, tx, scanRevocation, `SELECT `+revocationColumns+` FROM revocations WHERE expires_at IS NULL OR expires_at > now()`)
		if err != nil {
			return err
		}
		v.setSigners(keys)
		v.revoked.reset(gone)
		v.titles.clear()
		v.seq = seq
		return nil
	})
}

type accessChange struct {
	id            int64
	kind, subject string
}

// catchUp reads what changed since the last look. Ids become visible in their
// order: nothing can appear below one that was seen.
func (v *view) catchUp(ctx context.Context) error {
	changes, err := collect(ctx, v.store.pool, func(row pgx.CollectableRow) (c accessChange, err error) {
		err = row.Scan(&c.id, &c.kind, &c.subject)
		return c, err
	}, `SELECT id, kind, subject FROM access_changes WHERE id > $1 ORDER BY id`, v.seq)
	if err != nil || len(changes) == 0 {
		return err
	}
	var ids []int64
	signers := false
	for _, c := range changes {
		switch c.kind {
		case "signing_keys":
			signers = true
		case "revocations":
			if id, err := strconv.ParseInt(c.subject, 10, 64); err == nil {
				ids = append(ids, id)
			}
		case "playback_keys":
			v.titles.forget(c.subject)
		default:
			v.titles.clear()
		}
	}
	if len(ids) > 0 {
		rows, err := collect(ctx, v.store.pool, scanRevocation, `SELECT `+revocationColumns+` FROM revocations WHERE id = ANY ($1)`, ids)
		if err != nil {
			return err
		}
		v.revoked.replace(ids, rows)
	}
	if signers {
		keys, err := collect(ctx, v.store.pool, scanSigningKey, `SELECT `+signingColumns+` FROM signing_keys WHERE revoked_at IS NULL ORDER BY created_at, kid`)
		if err != nil {
			return err
		}
		v.setSigners(keys)
	}
	v.seq = changes[len(changes)-1].id
	return nil
}

// setSigners takes the signing keys, oldest first. A kid belongs to the record
// of that name, then to the oldest set that has it: a new set takes none over.
func (v *view) setSigners(keys []SigningKey) {
	all := map[string]signer{OwnKey: {v.store.secrets.ownKey, OwnKey, EnvironmentAll}}
	for _, sets := range []bool{false, true} {
		for _, k := range keys {
			if (k.Source == SourceJWKS) != sets {
				continue
			}
			verify, err := k.keys(v.store.secrets)
			if err != nil {
				continue // it was good when it came in; without it its tokens are refused
			}
			for _, key := range verify {
				if _, taken := all[key.ID()]; !taken && key.ID() != SharedKey {
					all[key.ID()] = signer{key, k.KID, k.Environment}
				}
			}
		}
	}
	v.signers.Store(&all)
}

type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

func collect[T any](ctx context.Context, q querier, scan func(pgx.CollectableRow) (T, error), sql string, args ...any) ([]T, error) {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scan)
}

// run keeps the view up to date until ctx ends.
func (v *view) run(ctx context.Context, log *slog.Logger) {
	wake := make(chan struct{}, 1)
	var listening sync.WaitGroup
	listening.Go(func() { v.listen(ctx, wake, log) })
	defer listening.Wait()
	tick, away, swept := time.NewTicker(pollEvery), false, time.Now()
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-wake:
		}
		err := v.refresh(ctx)
		if ctx.Err() != nil {
			return
		}
		if err != nil && !away {
			log.WarnContext(ctx, "revocations cannot be looked up, viewers are refused once that has lasted", "after", viewMaxAge.String(), "error", err)
		} else if err == nil && away {
			log.InfoContext(ctx, "revocations are looked up again")
		}
		away = err != nil
		if !away && time.Since(swept) > sweepEvery {
			swept = time.Now()
			if err := v.store.sweep(ctx); err != nil && ctx.Err() == nil {
				log.WarnContext(ctx, "old rows were not removed", "error", err)
			}
		}
	}
}

// listen wakes the view at each notice. Without it the next look is a second away.
func (v *view) listen(ctx context.Context, wake chan<- struct{}, log *slog.Logger) {
	notices.Listener{
		Pool: v.store.pool, Channel: channel, Name: "sealcast access listener",
		Heard: func(string) {
			select {
			case wake <- struct{}{}:
			default: // it is awake
			}
		},
		Down: func(err error) {
			log.DebugContext(ctx, "not listening to postgres, changes are seen a second later", "error", err)
		},
	}.Run(ctx)
}

// sweep removes what nobody needs: changes that every view has seen, expired
// revocations and minted tokens.
func (s *Store) sweep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	for _, sql := range []string{
		`DELETE FROM access_changes WHERE at < now() - interval '1 hour'`,
		`DELETE FROM revocations WHERE expires_at < now() - interval '1 hour'`,
		`DELETE FROM minted_tokens WHERE expires_at < now() - interval '30 days'`,
	} {
		if _, err := s.pool.Exec(ctx, sql); err != nil {
			return dbError("sweep", err)
		}
	}
	return nil
}
