package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/keystore"
)

var tester = Origin{Actor: "tester", Details: map[string]any{"request_id": "r1"}}

func (h *house) deleteAsset(hash string) Deletion {
	h.t.Helper()
	d, err := h.store.DeleteAsset(h.t.Context(), hash, tester, h.keys)
	if err != nil {
		h.t.Fatal(err)
	}
	return d
}

// committed is a Shredder that looks what is in the database when it is to forget.
type committed struct {
	*keystore.Postgres
	look func()
}

func (c committed) Forget() { c.look() }

// When it returns the process has forgotten the keys, after the commit: what it
// remembered in between would be told again.
func TestDeleteAssetForgetsKeys(t *testing.T) {
	h := newHouse(t)
	job, req := h.claimed(1, "")
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	left := -1
	look := func() { left = count(h, `SELECT count(*) FROM content_keys WHERE state <> 'shredded'`) }
	if _, err := h.store.DeleteAsset(t.Context(), job.Hash, tester, committed{h.keys, look}); err != nil || left != 0 {
		t.Errorf("%d keys were left when the process forgot (-1: it did not), %v", left, err)
	}
}

func TestDeleteAsset(t *testing.T) {
	h := newHouse(t)
	if _, err := h.store.DeleteAsset(t.Context(), strings.Repeat("0", 64), tester, h.keys); !errors.Is(err, ErrAssetNotFound) {
		t.Errorf("unknown asset: %v", err)
	}
	job, req := h.claimed(1, "")
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	_, other := h.claimed(2, "")
	if err := h.store.Publish(t.Context(), other, h.keys); err != nil {
		t.Fatal(err)
	}
	queued := h.submit(request(1, `{"outputs":["cmaf"]}`))
	running, late := h.claimed(1, `{"outputs":["ts"]}`)

	d := h.deleteAsset(job.Hash)
	slices.Sort(d.Cancelled)
	want := []string{queued.ID, running.ID}
	slices.Sort(want)
	if d.Generations != 1 || d.Keys != 3 || d.RequestedAt == nil || !slices.Equal(d.Cancelled, want) {
		t.Errorf("%+v", d)
	}
	if _, err := h.store.Entry(t.Context(), job.Hash); !errors.Is(err, ErrPublicationNotFound) {
		t.Errorf("entry: %v", err)
	}
	if _, err := h.store.Object(t.Context(), job.Hash, job.Fence().Prefix(), "v/1.m4s"); !errors.Is(err, ErrPublicationNotFound) {
		t.Errorf("object: %v", err)
	}
	if _, err := h.keys.Served(t.Context(), job.Hash, nil); !errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("key: %v", err)
	}
	if err := h.store.Heartbeat(t.Context(), running.Fence(), time.Minute); !errors.Is(err, ErrFenced) {
		t.Errorf("heartbeat of the running attempt: %v", err)
	}
	if err := h.store.Publish(t.Context(), late, h.keys); !errors.Is(err, ErrFenced) {
		t.Errorf("the running attempt publishes: %v", err)
	}
	for id, state := range map[string]State{job.ID: StateSucceeded, queued.ID: StateCancelled, running.ID: StateCancelled} {
		if got := h.get(id); got.State != state || (state == StateCancelled && got.ErrorCode != "asset_deleted") {
			t.Errorf("job %s is %s (%s), want %s", id, got.State, got.ErrorCode, state)
		}
	}
	if _, err := h.keys.Served(t.Context(), h.get(other.Fence.JobID).Hash, nil); err != nil {
		t.Errorf("another asset's key: %v", err)
	}

	again := h.deleteAsset(job.Hash)
	if again.changed() || again.RequestedAt == nil || !again.RequestedAt.Equal(*d.RequestedAt) {
		t.Errorf("again: %+v", again)
	}
	h.exec(`DELETE FROM media_deletions`)
	if after := h.deleteAsset(job.Hash); after.changed() || after.RequestedAt != nil {
		t.Errorf("after the removal: %+v", after)
	}
	checkAudit(h, job.Hash, d)
	h.invariants()
}

func checkAudit(h *house, hash string, d Deletion) {
	h.t.Helper()
	var actor, action, subject string
	var details map[string]any
	err := h.pool.QueryRow(h.t.Context(), `SELECT actor, action, subject, details FROM audit_entries WHERE action = 'asset.delete'`).Scan(&actor, &action, &subject, &details)
	if err != nil || count(h, `SELECT count(*) FROM audit_entries WHERE action = 'asset.delete'`) != 1 {
		h.t.Errorf("not exactly one entry, %v", err)
	}
	var ids []any
	for _, id := range d.Cancelled {
		ids = append(ids, id)
	}
	got, ok := details["cancelled_jobs"].([]any)
	if ok {
		slices.SortFunc(got, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	want := map[string]any{"generations": 1.0, "parts": 0.0, "keys": 3.0, "cancelled_jobs": ids, "request_id": "r1"}
	if diff := cmp.Diff(want, details); diff != "" || actor != "tester" || action != "asset.delete" || subject != hash {
		h.t.Errorf("%s %s %s: %s", actor, action, subject, diff)
	}
}

func TestDeletedAssetComesBack(t *testing.T) {
	h := newHouse(t)
	job, req := h.claimed(1, "")
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	old, err := h.keys.Served(t.Context(), job.Hash, nil)
	if err != nil {
		t.Fatal(err)
	}
	h.deleteAsset(job.Hash)

	// The same request is a new job with new keys, the bare key URI among them.
	same, reqAgain := h.claimed(1, "")
	if same.ID == job.ID {
		t.Error("the same job")
	}
	if err := h.store.Publish(t.Context(), reqAgain, h.keys); err != nil {
		t.Fatal(err)
	}
	if key, err := h.keys.Served(t.Context(), job.Hash, nil); err != nil || key.KID == old.KID || key.Content.Equal(old.Content) {
		t.Errorf("the bare key: %v %v", key.KID, err)
	}
	if job, created, err := h.store.Submit(t.Context(), request(1, ""), ""); err != nil || created || job.ID != same.ID {
		t.Errorf("repeated: %s %v %v", job.ID, created, err)
	}

	// The choice of encryption is free again.
	h.deleteAsset(job.Hash)
	_, clear := h.claimed(1, `{"encrypt":false}`)
	if err := h.store.Publish(t.Context(), clear, h.keys); err != nil {
		t.Fatal(err)
	}
	if entry, err := h.store.Entry(t.Context(), job.Hash); err != nil || entry.Encrypted || entry.Generation != 1 {
		t.Errorf("%+v, %v", entry, err)
	}
	h.invariants()
}

// Publishing and deleting at once end in one of two ways: published and then
// deleted, or cancelled before it was published. Nothing is half there.
func TestDeletionAgainstPublication(t *testing.T) {
	h := newHouse(t)
	for n := range 8 {
		job, req := h.claimed(n, "")
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := h.store.Publish(t.Context(), req, h.keys); err != nil && !errors.Is(err, ErrFenced) {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := h.store.DeleteAsset(t.Context(), job.Hash, tester, h.keys); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if _, err := h.store.Entry(t.Context(), job.Hash); !errors.Is(err, ErrPublicationNotFound) {
			t.Errorf("entry: %v", err)
		}
		if _, err := h.keys.Served(t.Context(), job.Hash, nil); !errors.Is(err, keystore.ErrNotFound) {
			t.Errorf("key: %v", err)
		}
	}
	h.invariants()
}

// A worker whose job is deleted under it ends the attempt and publishes nothing.
func TestDeletionEndsARunningAttempt(t *testing.T) {
	h := newHouse(t)
	d, _ := h.dispatcher(nil)
	p := newScript()
	h.worker(p, func(c *Config) { c.Wake = d.Wake })
	job := h.submit(request(1, ""))
	run := p.next(t)
	h.deleteAsset(job.Hash)
	select {
	case <-run.ctx.Done():
	case <-time.After(patience):
		t.Fatal("the attempt goes on")
	}
	if got := h.await(job.ID, StateCancelled); got.ErrorCode != "asset_deleted" {
		t.Errorf("error %q", got.ErrorCode)
	}
	h.invariants()
}

// media is a real bucket.
func (h *house) media() *objstore.Bucket {
	h.t.Helper()
	stack := localstacktest.Stack(h.t)
	_, name := localstacktest.Buckets(h.t)
	client, err := objstore.New(objstore.Config{
		Endpoint: stack.S3Endpoint, AccessKey: stack.S3AccessKey, SecretKey: stack.S3SecretKey, Region: stack.S3Region,
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return client.Bucket(name)
}

// faulty fails its first deletions, or all.
type faulty struct {
	Media
	mu   sync.Mutex
	left int
}

func (f *faulty) Delete(ctx context.Context, key string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.left > 0 {
		f.left--
		return errors.New("the store is away")
	}
	return f.Media.Delete(ctx, key)
}

func TestRemover(t *testing.T) {
	h := newHouse(t)
	bucket := h.media()
	put := func(hash, prefix, name string) string {
		t.Helper()
		key := "stream/" + hash + "/" + prefix + "/" + name
		if _, err := bucket.Put(t.Context(), key, []byte("x"), "video/mp4", ""); err != nil {
			t.Fatal(err)
		}
		return key
	}
	keys := func() (out []string) {
		t.Helper()
		objects, err := bucket.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range objects {
			out = append(out, o.Key)
		}
		return out
	}
	job, req := h.claimed(1, "")
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	foreign := put(fmt.Sprintf("%064x", 2), job.Fence().Prefix(), "master.m3u8")
	for i := range 20 {
		put(job.Hash, job.Fence().Prefix(), fmt.Sprintf("cmaf/%d.m4s", i))
	}
	put(job.Hash, "0000000000000000-7", "of an attempt that died")
	h.deleteAsset(job.Hash)

	// Submitted again: one generation is published, another attempt is at work.
	second, again := h.claimed(1, "")
	if err := h.store.Publish(t.Context(), again, h.keys); err != nil {
		t.Fatal(err)
	}
	third, _ := h.claimed(1, `{"outputs":["ts"]}`)
	stay := []string{
		foreign,
		put(job.Hash, second.Fence().Prefix(), "master.m3u8"),
		put(job.Hash, third.Fence().Prefix(), "ts/1.ts"),
	}
	slices.Sort(stay)

	store := &faulty{Media: bucket, left: 1}
	r := NewRemover(RemoverConfig{Store: h.store, Media: store, Log: h.log, Poll: 10 * time.Millisecond})
	if worked, err := r.round(t.Context()); !worked || err == nil {
		t.Fatalf("the store is away: %v %v", worked, err)
	}
	if n := count(h, `SELECT count(*) FROM media_deletions WHERE tries = 1 AND not_before > now()`); n != 1 {
		t.Error("the failed removal is forgotten")
	}
	h.exec(`UPDATE media_deletions SET not_before = now()`)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { _ = r.Run(ctx) })
	defer func() { cancel(); wg.Wait() }()
	h.eventually("the first pass is through", func() bool {
		return count(h, `SELECT count(*) FROM media_deletions WHERE tries = 0 AND not_before = settled_at`) == 1
	})
	if diff := cmp.Diff(stay, keys()); diff != "" {
		t.Errorf("after the first pass:\n%s", diff)
	}

	put(job.Hash, job.Fence().Prefix(), "cmaf/late.m4s") // by an attempt that had not noticed
	h.exec(`UPDATE media_deletions SET not_before = now(), settled_at = now()`)
	h.eventually("the last pass is through", func() bool { return count(h, `SELECT count(*) FROM media_deletions`) == 0 })
	if diff := cmp.Diff(stay, keys()); diff != "" {
		t.Errorf("after the last pass:\n%s", diff)
	}
}

// An asset that is deleted once more during a pass keeps its row.
func TestRemovalAskedForTwice(t *testing.T) {
	h := newHouse(t)
	hash := fmt.Sprintf("%064x", 1)
	h.exec(`INSERT INTO media_deletions (hash, settled_at) VALUES ($1, now())`, hash)
	d, err := h.store.takeRemoval(t.Context())
	if err != nil || !d.settled || d.tries != 1 {
		t.Fatalf("%+v, %v", d, err)
	}
	h.exec(`UPDATE media_deletions SET requested_at = now() + interval '1 s'`)
	if err := h.store.endRemoval(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if n := count(h, `SELECT count(*) FROM media_deletions`); n != 1 {
		t.Error("the second request is lost")
	}
}

var _ Media = (*objstore.Bucket)(nil)

// A playback key may be made before the first publication. It goes with the
// asset all the same, or it would open the next one under this hash.
func TestDeletionTakesPlaybackKeysOfWhatIsNotPublishedYet(t *testing.T) {
	h := newHouse(t)
	job := h.submit(request(1, ""))
	other := h.submit(request(2, ""))
	for id, hash := range map[string]string{"mine": job.Hash, "other": other.Hash} {
		if _, err := h.store.pool.Exec(t.Context(), `INSERT INTO playback_keys (id, hash, environment) VALUES ($1, $2, 'production')`, id, hash); err != nil {
			t.Fatal(err)
		}
	}
	h.deleteAsset(job.Hash)
	for id, want := range map[string]string{"mine": "revoked", "other": "active"} {
		var status string
		if err := h.store.pool.QueryRow(t.Context(), `SELECT status FROM playback_keys WHERE id = $1`, id).Scan(&status); err != nil || status != want {
			t.Errorf("%s is %s, want %s, %v", id, status, want, err)
		}
	}
}
