package worker

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/sealcast/sealcast/keystore"
)

func (h *house) repackage(hash string) (Job, bool) {
	h.t.Helper()
	sub, err := h.store.Published(h.t.Context(), hash)
	if err != nil {
		h.t.Fatal(err)
	}
	job, created, err := h.store.Repackage(h.t.Context(), sub, Origin{Actor: "tester"})
	if err != nil {
		h.t.Fatal(err)
	}
	return job, created
}

// A title that is packaged again has new keys. Those who are at it keep the
// old ones until these retire; then nobody gets them.
func TestRepackage(t *testing.T) {
	h := newHouse(t)
	first := h.published(1)
	before, err := h.keys.Served(t.Context(), first.Hash, nil)
	if err != nil {
		t.Fatal(err)
	}
	job, created := h.repackage(first.Hash)
	if again, twice := h.repackage(first.Hash); !created || twice || again.ID != job.ID || job.ID == first.ID {
		t.Errorf("created %v, then %v and job %s, want %s again", created, twice, again.ID, job.ID)
	}
	if job.Type != first.Type || job.Source != first.Source || string(job.Options) != string(first.Options) {
		t.Errorf("another request: %+v", job)
	}
	_, req := h.claim(job)
	req.Retention = time.Hour
	served := func(when string) keystore.Key {
		t.Helper()
		for _, kid := range []bool{false, true} {
			id := &before.KID
			if !kid {
				id = nil
			}
			got, err := h.keys.Served(t.Context(), first.Hash, id)
			if err != nil || !got.Content.Equal(before.Content) {
				t.Fatalf("%s: the old key: %v", when, err)
			}
			if kid {
				return got
			}
		}
		return keystore.Key{}
	}
	if served("while it runs").State != keystore.StateActive {
		t.Error("the old key retires before the new one is there")
	}
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	if served("after it").State != keystore.StateRetiring {
		t.Error("the old key does not retire")
	}
	if n := count(h, `SELECT count(*) FROM content_keys WHERE hash = $1 AND job_id = $2 AND state = 'active'`, first.Hash, job.ID); int64(n) != req.Keys || n == 0 {
		t.Errorf("%d new keys, want %d", n, req.Keys)
	}
	if n := count(h, `SELECT count(*) FROM content_keys a JOIN content_keys b ON a.kid <> b.kid AND a.wrapped_key = b.wrapped_key`); n != 0 {
		t.Error("two keys are one")
	}
	for _, action := range []string{actionRepackage, "key.retire"} {
		if n := count(h, `SELECT count(*) FROM audit_entries WHERE action = $1 AND subject = $2`, action, first.Hash); n != 1 {
			t.Errorf("%d entries of %s", n, action)
		}
	}

	h.exec(`UPDATE content_keys SET retire_at = now() WHERE state = 'retiring'`)
	for _, kid := range []*keystore.Key{nil, &before} {
		id := &before.KID
		if kid == nil {
			id = nil
		}
		if _, err := h.keys.Served(t.Context(), first.Hash, id); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("a retired key is served: %v", err)
		}
	}
	if next, created := h.repackage(first.Hash); !created || next.ID == job.ID {
		t.Error("it can be done only once")
	}
	h.invariants()
}

// Another generation by other options retires nothing: nobody asked for it.
func TestOnlyRepackagingRetiresKeys(t *testing.T) {
	h := newHouse(t)
	first := h.published(1)
	_, req := h.claimed(1, `{"ladder":["240p"]}`)
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	if n := count(h, `SELECT count(*) FROM content_keys WHERE hash = $1 AND state <> 'active'`, first.Hash); n != 0 {
		t.Errorf("%d keys retire", n)
	}
}

func TestRepackageWhatCannotBe(t *testing.T) {
	h := newHouse(t)
	clear, req := h.claimed(1, `{"encrypt":false}`)
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	waiting := h.submit(request(2, ""))
	for hash, want := range map[string]error{
		clear.Hash: ErrNotEncrypted, waiting.Hash: ErrPublicationNotFound, fmt.Sprintf("%064x", 3): ErrAssetNotFound,
	} {
		if _, err := h.store.Published(t.Context(), hash); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", hash, err, want)
		}
	}
}
