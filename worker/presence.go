package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// lockPresence is the class of the advisory locks that tell which workers
// live; the second half of a lock is the worker's name, hashed.
const lockPresence = 0x5ea1

// Times of the connection that holds a worker's lock.
const (
	presencePing  = 10 * time.Second
	presencePause = time.Second // before the next connection
)

// attend makes the worker's presence known, before it claims anything, until
// leave is called.
func (w *Worker) attend(ctx context.Context) (leave func()) {
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	attended := make(chan struct{})
	wg.Go(func() { w.present(ctx, func() { close(attended) }) })
	<-attended
	return func() { end(); wg.Wait() }
}

// present holds a lock in the worker's name until ctx ends. The lock lives as
// long as its connection, so Postgres lets go of it when the process dies, in
// whatever way. At the start, leases of workers that died on this host end: a worker that was killed and started again need not wait for the reaper.
// attended is called after the first try.
func (w *Worker) present(ctx context.Context, attended func()) {
	attended = sync.OnceFunc(attended)
	looks := 2 // the second for a process that had only just died at the first
	for {
		err := w.cfg.Store.present(ctx, w.cfg.Name, func(ctx context.Context, conn *pgx.Conn) error {
			defer attended()
			if looks == 0 {
				return conn.Ping(ctx)
			}
			looks--
			ended, err := endLeasesOfTheDead(ctx, conn, w.cfg.Name)
			for _, name := range ended {
				w.cfg.Log.Warn("an earlier worker on this host is dead, its leases end", "worker", name)
			}
			return err
		})
		attended()
		if ctx.Err() != nil {
			return
		}
		w.cfg.Metrics.dependencyError(err)
		w.cfg.Log.Warn("presence is not known to postgres", "error", err)
		if !sleep(ctx, presencePause) {
			return
		}
	}
}

// present takes the lock of the name on a connection of its own and calls look
// at once, soon, and then from time to time. It returns when ctx ends, or with
// the error of a look or of the connection.
func (s *JobStore) present(ctx context.Context, name string, look func(context.Context, *pgx.Conn) error) error {
	cfg := s.pool.Config().ConnConfig
	cfg.RuntimeParams["application_name"] = "sealcast presence"
	dial, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(dial, cfg)
	if err != nil {
		return fmt.Errorf("be present as %s: %w", name, err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(end)
	}()
	var mine bool
	err = conn.QueryRow(dial, `SELECT pg_try_advisory_lock($1, hashtext($2))`, lockPresence, name).Scan(&mine)
	if err == nil && !mine { // an earlier connection of ours that Postgres still believes in
		err = errors.New("the lock is held")
	}
	if err != nil {
		return fmt.Errorf("be present as %s: %w", name, err)
	}
	for pause := presencePause; ; pause = presencePing {
		bounded, cancel := context.WithTimeout(ctx, queryTimeout)
		err := look(bounded, conn)
		cancel()
		if err != nil {
			return fmt.Errorf("be present as %s: %w", name, err)
		}
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// endLeasesOfTheDead ends every lease of a worker on the host of name whose
// lock nobody holds, and returns their names. The reaper does the rest, so
// these attempts count as lost ones. Were such a worker alive after all, it
// would be fenced.
func endLeasesOfTheDead(ctx context.Context, conn *pgx.Conn, name string) (dead []string, err error) {
	host, _, _ := strings.Cut(name, "/")
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `
			SELECT DISTINCT worker FROM jobs
			WHERE state = 'running' AND lease_until > clock_timestamp() AND worker <> $1 AND split_part(worker, '/', 1) = $2`, name, host)
		if err != nil {
			return err
		}
		names, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, other := range names {
			var free bool
			err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1, hashtext($2))`, lockPresence, other).Scan(&free)
			if err != nil {
				return err
			}
			if free {
				dead = append(dead, other)
			}
		}
		_, err = tx.Exec(ctx, `
			UPDATE jobs SET lease_until = clock_timestamp(), updated_at = now()
			WHERE state = 'running' AND worker = ANY($1) AND lease_until > clock_timestamp()`, dead)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("end the leases of dead workers: %w", err)
	}
	return dead, nil
}
