package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
)

// A database that is away fills the queue; from then on nothing is handed out.
func TestFullQueueRefuses(t *testing.T) {
	pool := localstacktest.Pool(t)
	pool.Close() // as away as can be
	const most = 20
	j, err := newJournal(pool, slog.New(slog.DiscardHandler), nil, most)
	if err != nil {
		t.Fatal(err)
	}
	for i := range most {
		if err := j.Record(Access{Token: fmt.Sprint(i)}, ""); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := j.Record(Access{Token: "one more"}, ""); !errors.Is(err, ErrNotRecorded) {
		t.Errorf("one more: %v, want ErrNotRecorded", err)
	}
	j.ending = 10 * time.Millisecond
	if err := j.Close(); err == nil {
		t.Error("entries are lost, and nobody says so")
	}
}

// A COMMIT in doubt is looked for before the batch is written again.
func TestDoubtfulCommitIsNotWrittenTwice(t *testing.T) {
	pool := localstacktest.Pool(t)
	w := writer{pool: pool}
	batch := []*record{{Access: Access{Hash: "h", Token: "a"}, count: 1}, {Access: Access{Hash: "h", Token: "b"}, count: 1}}
	for _, arrived := range []bool{true, false} {
		w.take(batch)
		if arrived {
			if err := w.write(t.Context()); err != nil {
				t.Fatal(err)
			}
		} else {
			chainOnly(t, pool, &w)
		}
		w.sent = true // as if the answer to COMMIT was lost
		if err := w.write(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	rep, err := Verify(t.Context(), pool, nil, nil)
	if err != nil || rep.Bad != nil || rep.Entries != 4 {
		t.Errorf("%+v, %v; want 4 entries", rep, err)
	}
}

// chainOnly goes through the motions of write, and its transaction is lost.
func chainOnly(t *testing.T, pool *pgxpool.Pool, w *writer) {
	t.Helper()
	tx, err := pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.append(t.Context(), tx); err != nil {
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}
