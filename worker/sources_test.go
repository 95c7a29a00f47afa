package worker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealcast/sealcast/pipeline"
)

// sourceBucket is the outside world's bucket of sources, by key the ETag.
type sourceBucket struct {
	mu    sync.Mutex
	etags map[string]string
	// onStat and onDelete happen first; nil: nothing.
	onStat, onDelete func(key string) error
}

func (b *sourceBucket) first(hook func(string) error, key string) error {
	if hook == nil {
		return nil
	}
	return hook(key)
}

func (b *sourceBucket) Stat(_ context.Context, key string) (pipeline.ObjectInfo, error) {
	if err := b.first(b.onStat, key); err != nil {
		return pipeline.ObjectInfo{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	etag, ok := b.etags[key]
	if !ok {
		return pipeline.ObjectInfo{}, pipeline.ErrObjectNotFound
	}
	return pipeline.ObjectInfo{Key: key, ETag: etag}, nil
}

func (b *sourceBucket) Delete(_ context.Context, key string) error {
	if err := b.first(b.onDelete, key); err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.etags, key)
	return nil
}

func (b *sourceBucket) has(key string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, ok := b.etags[key]
	return ok
}

// A source is removed after success alone, when its time has come, while no
// other job needs it, and only if it is still what was published.
func TestSourceIsRemoved(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	films := newScript()
	h.worker(films, func(c *Config) { c.Wake = d.Wake })
	bucket := &sourceBucket{etags: map[string]string{"a": "etag", "b": "etag", "c": "etag", "d": "etag", "e": "other"}}
	remover := NewRemover(RemoverConfig{Store: h.store, Media: nil, Sources: bucket, Log: h.log})
	submit := func(n int, source, policy string) Job {
		t.Helper()
		s, err := ParseSubmission(TypeTranscode, fmt.Appendf(nil, `{"hash":"%064x","source":%q%s}`, n, source, policy))
		if err != nil {
			t.Fatal(err)
		}
		job := h.submit(s)
		d.Wake()
		return job
	}
	sweep := func() {
		t.Helper()
		for {
			worked, err := remover.removeSource(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !worked {
				return
			}
		}
	}
	for n, c := range []struct{ source, policy string }{
		{"a", `,"keep_source":false`}, {"b", ``}, {"c", `,"source_ttl":3600`}, {"e", `,"source_ttl":0`},
	} {
		job := submit(n, c.source, c.policy)
		films.next(t).succeed()
		h.await(job.ID, StateSucceeded)
	}
	failed := submit(7, "d", `,"keep_source":false`)
	films.next(t).fail(errPermanent)
	h.await(failed.ID, StateFailed)
	needs := submit(8, "a", "")
	call := films.next(t)
	sweep()
	if !bucket.has("a") {
		t.Error("a source was removed while another job needs it")
	}
	call.fail(errPermanent)
	h.await(needs.ID, StateFailed)
	sweep()
	for source, there := range map[string]bool{"a": false, "b": true, "c": true, "d": true, "e": true} {
		if bucket.has(source) != there {
			t.Errorf("source %s: there %v", source, !there)
		}
	}
	h.exec(`UPDATE source_removals SET due_at = now() - interval '1 second'`)
	sweep()
	if bucket.has("c") {
		t.Error("a source outlives its time")
	}
	if n := count(h, `SELECT count(*) FROM source_removals`); n != 0 {
		t.Errorf("%d removals are left", n)
	}
	h.invariants()
}

// A source that cannot be removed holds up no other, and a job that asks for one
// waits for its deletion alone.
func TestSourceThatFailsIsDueLater(t *testing.T) {
	h := newHouse(t)
	h.exec(`INSERT INTO source_removals (source, etag, job_id, due_at) VALUES
		('in/1.mp4', 'etag', 'x', now() - interval '2 hours'), ('in/2.mp4', 'etag', 'x', now() - interval '1 hour'), ('in/3.mp4', 'etag', 'x', now())`)
	bucket := &sourceBucket{etags: map[string]string{"in/1.mp4": "etag", "in/2.mp4": "etag", "in/3.mp4": "etag"}}
	bucket.onDelete = func(key string) error {
		if key == "in/1.mp4" {
			return errTransient
		}
		return nil
	}
	bucket.onStat = func(key string) error {
		if key == "in/3.mp4" { // somebody asks for it just now
			_, _, err := h.store.Submit(t.Context(), request(3, ""), "")
			return err
		}
		return nil
	}
	remover := NewRemover(RemoverConfig{Store: h.store, Sources: bucket, Log: h.log})
	if _, err := remover.removeSource(t.Context()); !errors.Is(err, errTransient) {
		t.Fatal(err)
	}
	for range 2 {
		if worked, err := remover.removeSource(t.Context()); err != nil || !worked {
			t.Fatal(worked, err)
		}
	}
	for source, there := range map[string]bool{"in/1.mp4": true, "in/2.mp4": false, "in/3.mp4": true} {
		if bucket.has(source) != there {
			t.Errorf("source %s: there %v", source, !there)
		}
	}
	if n := count(h, `SELECT count(*) FROM source_removals WHERE source <> 'in/2.mp4' AND due_at > now()`); n != 2 {
		t.Errorf("%d removals are due later", n)
	}
}

// Who submits while a source is removed waits until it is gone.
func TestSourceIsLockedWhileItIsRemoved(t *testing.T) {
	h := newHouse(t)
	tx, err := h.pool.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock($1, hashtext('in/1.mp4'))`, lockSource); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, _, err := h.store.Submit(ctx, request(1, ""), ""); err == nil {
		t.Error("submitted while its source is being removed")
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.submit(request(1, ""))
}

func TestKeepPolicy(t *testing.T) {
	for policy, want := range map[string]string{
		``: "", `,"keep_source":true`: "", `,"keep_source":false`: "0", `,"source_ttl":60`: "60", `,"keep_source":false,"source_ttl":5`: "5",
		`,"keep_source":true,"source_ttl":5`: "contradict", `,"source_ttl":-1`: "source_ttl", `,"source_ttl":"1d"`: "source_ttl",
	} {
		s, err := ParseSubmission(TypeTranscode, fmt.Appendf(nil, `{"hash":"%064x","source":"x"%s}`, 1, policy))
		got := ""
		if err != nil {
			got = err.Error()
		} else if s.SourceTTL != nil {
			got = fmt.Sprint(*s.SourceTTL)
		}
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q", policy, got)
		}
		if err == nil {
			if back, err := ParseSubmission(TypeTranscode, s.Payload()); err != nil || back.Digest != s.Digest {
				t.Errorf("%s: its payload %s is another request: %v", policy, s.Payload(), err)
			}
		}
	}
	plain := request(1, "")
	if s, err := ParseSubmission(TypeTranscode, []byte(strings.Replace(string(plain.Payload()), "{", `{"keep_source":true,`, 1))); err != nil || s.Digest != plain.Digest {
		t.Errorf("the default changes the digest: %v", err)
	}
}
