package worker

import (
	"context"
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
}

func (b *sourceBucket) Stat(_ context.Context, key string) (pipeline.ObjectInfo, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	etag, ok := b.etags[key]
	if !ok {
		return pipeline.ObjectInfo{}, pipeline.ErrObjectNotFound
	}
	return pipeline.ObjectInfo{Key: key, ETag: etag}, nil
}

func (b *sourceBucket) Delete(_ context.Context, key string) error {
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
