package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/texttrack"
	"github.com/sealcast/sealcast/pipeline"
)

// entries counts what is on record about a subject, by one who did it.
func (h *house) entries(action, subject, actor string) int {
	h.t.Helper()
	return count(h, `SELECT count(*) FROM audit_entries WHERE action = $1 AND subject = $2 AND actor = $3`, action, subject, actor)
}

func (h *house) wantEntries(n int, action, subject, actor string) {
	h.t.Helper()
	if got := h.entries(action, subject, actor); got != n {
		h.t.Errorf("%d entries of %s by %s, want %d", got, action, actor, n)
	}
}

// What clients do with jobs and tracks is on record, once for each time that
// something changed, and what changed nothing is not.
func TestActsAreOnRecord(t *testing.T) {
	h := newHouse(t)
	job := h.submit(request(1, ""))
	for range 2 {
		if _, _, err := h.store.Cancel(t.Context(), job.ID, tester); err != nil {
			t.Fatal(err)
		}
	}
	h.wantEntries(1, actionCancel, job.ID, "tester")
	if _, err := h.store.Retry(t.Context(), job.ID, tester); err != nil {
		t.Fatal(err)
	}
	if _, err := h.store.Retry(t.Context(), job.ID, tester); !errors.Is(err, ErrNotRetryable) {
		t.Error(err)
	}
	h.wantEntries(1, actionRetry, job.ID, "tester")

	film := h.published(2)
	sub, err := TextSubmission(film.Hash, film.Source, texttrack.Track{Language: "en"}, "WEBVTT\n\n00:00.000 --> 00:01.000\na\n")
	if err != nil {
		t.Fatal(err)
	}
	sub.By = tester
	for range 2 { // the second is the same job
		if _, _, err := h.store.Submit(t.Context(), sub, ""); err != nil {
			t.Fatal(err)
		}
	}
	h.wantEntries(1, actionPutTrack, film.Hash, "tester")
	if gone, err := h.store.RemoveTrack(t.Context(), film.Hash, "fr", tester); gone || err != nil {
		t.Errorf("a track that is not there: %v, %v", gone, err)
	}
	h.wantEntries(0, actionDeleteTrack, film.Hash, "tester")
	if _, err := h.pool.Exec(t.Context(), `
		INSERT INTO asset_parts (hash, kind, name, prefix, job_id, attempt, facts) VALUES ($1, $2, 'en', 'p', $3, 1, '{}')`, film.Hash, pipeline.TextKind, film.ID); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} { // with the job that was to make it
		if gone, err := h.store.RemoveTrack(t.Context(), film.Hash, "en", tester); gone != want || err != nil {
			t.Errorf("%v, %v", gone, err)
		}
	}
	h.wantEntries(1, actionDeleteTrack, film.Hash, "tester")
}

// A submission that closes a title is on record when it does, by the client or
// by the queue.
func TestPrivateSubmissionsAreOnRecord(t *testing.T) {
	h := newHouse(t)
	sub := private(1)
	sub.By = tester
	for range 2 {
		if _, _, err := h.store.Submit(t.Context(), sub, ""); err != nil {
			t.Fatal(err)
		}
	}
	h.wantEntries(1, actionSetPolicy, sub.Hash, "tester")
	if n := count(h, `SELECT count(*) FROM audit_entries WHERE action = $1 AND details->>'private' = 'true' AND details->>'job' <> '' AND details->>'request_id' = 'r1'`, actionSetPolicy); n != 1 {
		t.Error("the entry does not say what happened")
	}
	h.enqueue(TypeTranscode, private(2).Payload(), asynq.TaskID("upload-2"))
	h.worker(&script{}, nil)
	h.eventually("the task is adopted", func() bool {
		_, err := h.store.Get(t.Context(), "upload-2")
		return err == nil
	})
	h.wantEntries(1, actionSetPolicy, private(2).Hash, actorQueue)
}

// A deletion takes the asset, then its jobs, then the policy. A submission that
// closes the asset waits for the first of these before it has any of the others:
// in the other order each would wait for the other.
func TestPrivateSubmissionAgainstDeletion(t *testing.T) {
	h := newHouse(t)
	film := h.published(1)
	other := request(1, `{"ladder":["720p"]}`) // a new job of the same title
	other.Private, other.By = true, tester
	tx, err := h.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(t.Context())) }()
	d, err := deleteAsset(t.Context(), tx, film.Hash, h.keys) // everything but its commit
	if err != nil {
		t.Fatal(err)
	}
	submitted := make(chan error, 1)
	go func() {
		_, _, err := h.store.Submit(t.Context(), other, "")
		submitted <- err
	}()
	h.eventually("the submission waits for the deletion", func() bool {
		return count(h, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND mode = 'ShareLock' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`) == 1
	})
	if n := count(h, `SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
		WHERE l.relation = 'jobs'::regclass AND l.mode = 'RowExclusiveLock' AND a.pid IN (SELECT pid FROM pg_locks WHERE NOT granted)`); n != 0 {
		t.Error("it has written jobs already")
	}
	if err := tester.record(t.Context(), tx, actionDeleteAsset, d.Hash, map[string]any{}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-submitted; err != nil {
		t.Fatal(err)
	}
	if a, err := h.store.Asset(t.Context(), film.Hash); err != nil || !a.Private {
		t.Errorf("the title that came back is open: %+v, %v", a, err)
	}
}

// Many of both at once end, and none of them by a deadlock.
func TestPrivateSubmissionsAndDeletionsAtOnce(t *testing.T) {
	h := newHouse(t)
	h.published(1)
	errs := make(chan error, 40)
	for i := range 20 {
		sub := request(1, fmt.Sprintf(`{"ladder":[%q]}`, []string{"720p", "480p", "360p", "240p"}[i%4]))
		sub.Private, sub.By = true, tester
		go func() { _, _, err := h.store.Submit(t.Context(), sub, ""); errs <- err }()
		go func() {
			_, err := h.store.DeleteAsset(t.Context(), sub.Hash, tester, h.keys)
			errs <- err
		}()
	}
	for range cap(errs) {
		if err := <-errs; err != nil && !errors.Is(err, ErrAssetNotFound) {
			t.Error(err)
		}
	}
}

// An external id that is a playback key's name is taken, as one of another asset
// is.
func TestExternalIDOfAPlaybackKeyIsTaken(t *testing.T) {
	h := newHouse(t)
	one, two := h.published(1), h.published(2)
	if _, err := h.pool.Exec(t.Context(), `INSERT INTO playback_keys (id, hash, environment) VALUES ('film-1', $1, 'production')`, one.Hash); err != nil {
		t.Fatal(err)
	}
	word, mine := "film-1", "cms-17"
	if _, err := h.store.SetPolicy(t.Context(), one.Hash, PolicyChange{ExternalID: &word}, tester); !errors.Is(err, ErrExternalIDTaken) {
		t.Errorf("a playback key's name: %v", err)
	}
	if _, err := h.store.SetPolicy(t.Context(), one.Hash, PolicyChange{ExternalID: &mine}, tester); err != nil {
		t.Fatal(err)
	}
	if _, err := h.store.SetPolicy(t.Context(), two.Hash, PolicyChange{ExternalID: &mine}, tester); !errors.Is(err, ErrExternalIDTaken) {
		t.Errorf("another asset's: %v", err)
	}
}

// Retiring keys whose time is over are revoked by every process that dispatches.
func TestDispatcherRevokesRetiredKeys(t *testing.T) {
	h := newHouse(t)
	film := h.published(1)
	err := pgx.BeginFunc(t.Context(), h.pool, func(tx pgx.Tx) error {
		_, err := h.keys.RetireOthers(t.Context(), tx, film.Hash, "another", 200*time.Millisecond)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	retiring := count(h, `SELECT count(*) FROM content_keys WHERE state = 'retiring'`)
	h.dispatcher(func(cfg *DispatcherConfig) { cfg.Keys, cfg.RevokeEvery = h.keys, 20*time.Millisecond })
	h.eventually("the keys are revoked", func() bool {
		return count(h, `SELECT count(*) FROM content_keys WHERE state = 'revoked'`) == retiring
	})
	h.wantEntries(1, "key.revoke", film.Hash, "garbage")
}
