package worker

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/pipeline"
)

// Early play. What an attempt shows while it runs belongs to the attempt: the
// view early_shown (migrations, 00015) has it only while the attempt holds its
// job's lease, whoever ends that and however, and a trigger deletes it in the
// transaction that does. Publish is one of those; in the same transaction the
// same names become objects of the publication.

// earlyEvery is the least time between two writes of what an attempt shows.
const earlyEvery = time.Second

// earlyWriter writes what an attempt shows, in its order and at most once per
// pause. show never waits for a write; what could not be written stays first in
// the line.
type earlyWriter struct {
	write func(context.Context, []pipeline.EarlyObject) error
	pause time.Duration

	mu      sync.Mutex
	waiting []pipeline.EarlyObject
	news    chan struct{} // holds one token while anything is waiting
}

func newEarlyWriter(pause time.Duration, write func(context.Context, []pipeline.EarlyObject) error) *earlyWriter {
	return &earlyWriter{write: write, pause: pause, news: make(chan struct{}, 1)}
}

// show takes what the pipeline shows.
func (w *earlyWriter) show(objects []pipeline.EarlyObject) {
	w.mu.Lock()
	w.waiting = append(w.waiting, objects...)
	w.mu.Unlock()
	w.ring()
}

func (w *earlyWriter) ring() {
	select {
	case w.news <- struct{}{}:
	default:
	}
}

// run writes until ctx ends. The pipeline may go on to show after that.
func (w *earlyWriter) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.news:
		}
		w.mu.Lock()
		batch := w.waiting
		w.mu.Unlock()
		if err := w.write(ctx, batch); err == nil {
			w.mu.Lock()
			w.waiting = w.waiting[len(batch):]
			w.mu.Unlock()
		} else {
			w.ring()
		}
		if !sleep(ctx, w.pause) {
			return
		}
	}
}

// showEarly writes for the attempt. Only a lost fence matters to the caller;
// anything else is tried again.
func (a *attempt) showEarly(ctx context.Context, objects []pipeline.EarlyObject) error {
	err := a.w.cfg.Store.ShowEarly(ctx, a.job.Fence(), a.job.Hash, objects)
	if err != nil && !errors.Is(err, ErrFenced) && ctx.Err() == nil {
		a.w.cfg.Metrics.dependencyError(err)
		a.log.Warn("early play waits", "error", err)
	}
	return err
}

// ShowEarly adds to what a running attempt shows, all or nothing. What is there
// stays as it is, so it may be called again. ErrFenced when the attempt is not
// the current one, or its lease is over.
func (s *JobStore) ShowEarly(ctx context.Context, f Fence, hash string, objects []pipeline.EarlyObject) error {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		// Under the row's lock nobody ends the attempt before this commits: the
		// trigger that withdraws finds what is inserted here.
		var held bool
		err := tx.QueryRow(ctx, `
			SELECT true FROM jobs
			WHERE id = $1 AND state = 'running' AND attempt = $2 AND lease_until > clock_timestamp() AND hash = $3
			FOR SHARE`, f.JobID, f.Attempt, hash).Scan(&held)
		if errors.Is(err, pgx.ErrNoRows) {
			return whyFenced(ctx, tx, f)
		}
		if err != nil {
			return err
		}
		prefix := f.Prefix()
		if _, err := tx.Exec(ctx, `
			INSERT INTO early_publications (job_id, attempt, hash, prefix) VALUES ($1, $2, $3, $4)
			ON CONFLICT DO NOTHING`, f.JobID, f.Attempt, hash, prefix); err != nil {
			return err
		}
		var batch pgx.Batch
		for i := range objects {
			o := &objects[i]
			batch.Queue(`
				INSERT INTO early_objects (prefix, name, folder, number, size, sha256, content_type, body, grows, lines)
				VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
				ON CONFLICT (prefix, name) DO NOTHING`,
				prefix, o.Name, path.Dir(o.Name), o.Number, o.Size, o.SHA256[:], o.ContentType, o.Body, o.Grows, o.Lines)
		}
		return tx.SendBatch(ctx, &batch).Close()
	})
	if err != nil {
		return fmt.Errorf("show what job %s has made: %w", f.JobID, err)
	}
	return nil
}
