package audit

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// writer puts batches at the end of the chain. It belongs to one goroutine.
type writer struct {
	pool  *pgxpool.Pool
	batch []row
	sent  bool // a COMMIT of the batch was sent, and nobody could say what became of it
}

func (w *writer) take(records []*record) {
	w.sent = false
	w.batch = make([]row, len(records))
	for i, r := range records {
		w.batch[i] = r.row()
	}
}

// write appends the batch. When it fails it may be called again: a batch whose
// COMMIT was in doubt is looked for first, so that nothing is written twice.
func (w *writer) write(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	if w.sent {
		there, err := w.written(ctx)
		if err != nil || there {
			return err
		}
		w.sent = false
	}
	tx, err := w.pool.Begin(ctx)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after a commit it does nothing
	if err := w.append(ctx, tx); err != nil {
		return err
	}
	w.sent = true
	if err := tx.Commit(ctx); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// append chains the batch behind the head, whose row it locks until the end.
func (w *writer) append(ctx context.Context, tx pgx.Tx) error {
	seq, hash, err := lockHead(ctx, tx)
	if err != nil {
		return err
	}
	for i := range w.batch {
		r := &w.batch[i]
		seq++
		r.seq = seq
		r.hash = r.chain(hash)
		hash = r.hash
	}
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"audit_entries"},
		[]string{"seq", "at", "actor", "action", "subject", "details", "hash"},
		pgx.CopyFromSlice(len(w.batch), func(i int) ([]any, error) {
			r := &w.batch[i]
			return []any{r.seq, r.at, r.actor, r.action, r.subject, json.RawMessage(r.details), r.hash[:]}, nil
		}))
	if err != nil {
		return fmt.Errorf("copy audit entries: %w", err)
	}
	if _, err := tx.Exec(ctx, `UPDATE audit_head SET seq = $1, hash = $2`, seq, hash[:]); err != nil {
		return fmt.Errorf("move the head of the chain: %w", err)
	}
	return nil
}

// lockHead gives the end of the chain, which nobody moves until tx ends.
func lockHead(ctx context.Context, tx pgx.Tx) (seq int64, hash [sha256.Size]byte, err error) {
	var sum []byte
	if err := tx.QueryRow(ctx, `SELECT seq, hash FROM audit_head FOR UPDATE`).Scan(&seq, &sum); err != nil {
		return 0, hash, fmt.Errorf("lock the head of the chain: %w", err)
	}
	copy(hash[:], sum)
	return seq, hash, nil
}

// written says whether the batch, as it was chained last, is in the chain.
func (w *writer) written(ctx context.Context) (bool, error) {
	last := &w.batch[len(w.batch)-1]
	var sum []byte
	err := w.pool.QueryRow(ctx, `SELECT hash FROM audit_entries WHERE seq = $1`, last.seq).Scan(&sum)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for audit entries: %w", err)
	}
	return string(sum) == string(last.hash[:]), nil
}
