package worker

import (
	"errors"
	"strings"
	"testing"

	"github.com/hibiken/asynq"
)

func yes() *bool { v := true; return &v }
func no() *bool  { v := false; return &v }

func private(n int) Submission {
	s := request(n, "")
	s.Private = true
	return s
}

func (h *house) published(n int) Job {
	h.t.Helper()
	job, req := h.claimed(n, "")
	if err := h.store.Publish(h.t.Context(), req, h.keys); err != nil {
		h.t.Fatal(err)
	}
	return job
}

func (h *house) isPrivate(job Job) bool {
	h.t.Helper()
	entry, err := h.store.Entry(h.t.Context(), job.Hash)
	if err != nil {
		h.t.Fatal(err)
	}
	object, err := h.store.Object(h.t.Context(), job.Hash, job.Fence().Prefix(), "v/1.m4s")
	if err != nil {
		h.t.Fatal(err)
	}
	if entry.Private != object.Private {
		h.t.Errorf("the entry is private: %v, its object: %v", entry.Private, object.Private)
	}
	return entry.Private
}

func TestPrivateIsPolicyAndNoPartOfTheRequest(t *testing.T) {
	open, closed := request(1, ""), `{"hash":"`+request(1, "").Hash+`","source":"in/1.mp4","private":true}`
	s, err := ParseSubmission(TypeTranscode, []byte(closed))
	if err != nil || !s.Private || s.Digest != open.Digest {
		t.Fatalf("private %v, same digest %v, %v", s.Private, s.Digest == open.Digest, err)
	}
	if again, err := ParseSubmission(TypeTranscode, s.Payload()); err != nil || !again.Private {
		t.Errorf("the canonical form loses it: %v", err)
	}
	if _, err := ParseSubmission(TypeTranscode, []byte(strings.Replace(closed, "true", `"yes"`, 1))); err == nil {
		t.Error("a text passes for true")
	}
}

func TestPolicyOfAnAsset(t *testing.T) {
	h := newHouse(t)
	job := h.published(1)
	if h.isPrivate(job) {
		t.Fatal("private by default")
	}
	// An identical request is the same job, and still closes the asset.
	same, created, err := h.store.Submit(t.Context(), private(1), "")
	if err != nil || created || same.ID != job.ID || !h.isPrivate(job) {
		t.Fatalf("created %v, %v", created, err)
	}
	// A request that does not ask for it opens nothing.
	if _, _, err := h.store.Submit(t.Context(), request(1, ""), ""); err != nil || !h.isPrivate(job) {
		t.Fatalf("a repeated request opened the asset, %v", err)
	}
	name := "film-7"
	a, err := h.store.SetPolicy(t.Context(), job.Hash, PolicyChange{Private: no(), ExternalID: &name}, tester)
	if err != nil || a.Private || h.isPrivate(job) || a.ExternalID != name || a.Generation != 1 || a.JobID != job.ID || a.Results == nil {
		t.Fatalf("%+v, %v", a, err)
	}
	if a, err = h.store.SetPolicy(t.Context(), job.Hash, PolicyChange{Private: yes()}, tester); err != nil || !a.Private || a.ExternalID != name {
		t.Fatalf("%+v, %v", a, err)
	}
	if n := count(h, `SELECT count(*) FROM audit_entries WHERE action = 'asset.policy' AND subject = $1`, job.Hash); n != 3 {
		t.Errorf("%d audit entries", n)
	}
	other := h.published(2)
	if _, err := h.store.SetPolicy(t.Context(), other.Hash, PolicyChange{ExternalID: &name}, tester); !errors.Is(err, ErrExternalIDTaken) {
		t.Errorf("an external id twice: %v", err)
	}
	if _, err := h.store.SetPolicy(t.Context(), strings.Repeat("0", 64), PolicyChange{Private: yes()}, tester); !errors.Is(err, ErrAssetNotFound) {
		t.Errorf("an unknown asset: %v", err)
	}
	// The policy goes with the asset, but a closed one is not opened by that.
	h.deleteAsset(job.Hash)
	if a, err = h.store.Asset(t.Context(), job.Hash); err != nil || !a.Private || a.ExternalID != "" || a.Generation != 0 {
		t.Errorf("after the deletion: %+v, %v", a, err)
	}
}

// A job of a private title that is deleted and retried is private still; only
// a new submission that does not say so makes a public title of it.
func TestRetryOfADeletedPrivateTitle(t *testing.T) {
	h := newHouse(t)
	job, _ := h.claim(h.submit(private(1)))
	if err := h.store.Fail(t.Context(), job.Fence(), "source_empty", "It failed."); err != nil {
		t.Fatal(err)
	}
	h.deleteAsset(job.Hash)
	job, err := h.store.Retry(t.Context(), job.ID, tester)
	if err != nil {
		t.Fatal(err)
	}
	job, req := h.claim(job)
	if err := h.store.Publish(t.Context(), req, h.keys); err != nil {
		t.Fatal(err)
	}
	if !h.isPrivate(job) {
		t.Fatal("it is public")
	}
	h.deleteAsset(job.Hash)
	again := h.published(1)
	if h.isPrivate(again) {
		t.Error("a new submission is private")
	}
	if _, _, err := h.store.Submit(t.Context(), private(1), ""); err != nil || !h.isPrivate(again) {
		t.Errorf("it cannot be closed: %v", err)
	}
}

func TestPolicyBeforeThePublication(t *testing.T) {
	h := newHouse(t)
	h.submit(private(1))
	hash := request(1, "").Hash
	if a, err := h.store.Asset(t.Context(), hash); err != nil || !a.Private || a.Generation != 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	if list, err := h.store.Assets(t.Context(), nil, 10); err != nil || len(list) != 0 {
		t.Errorf("not published, and listed: %+v, %v", list, err)
	}
}

func TestPrivateByATask(t *testing.T) {
	h := newHouse(t)
	h.enqueue(TypeTranscode, private(1).Payload(), asynq.TaskID("upload-1"))
	h.worker(&script{}, nil)
	h.eventually("the task is adopted", func() bool {
		_, err := h.store.Get(t.Context(), "upload-1")
		return err == nil
	})
	if a, err := h.store.Asset(t.Context(), request(1, "").Hash); err != nil || !a.Private {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestListAssets(t *testing.T) {
	h := newHouse(t)
	var want []string
	for n := range 5 {
		want = append([]string{h.published(n + 1).Hash}, want...)
	}
	var got []string
	var from *AssetPosition
	for {
		page, err := h.store.Assets(t.Context(), from, 2)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, a := range page {
			got = append(got, a.Hash)
			from = &AssetPosition{a.CreatedAt, a.Hash}
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %v\nwant %v", got, want)
	}
}

func TestExternalIDs(t *testing.T) {
	h := newHouse(t)
	job := h.published(1)
	for id, ok := range map[string]bool{
		"abc": true, "film:7_A.b-c": true, strings.Repeat("a", 128): true,
		"v": false, "ab": false, "*": false, "***": false, "a b": false, "ä-ö": false, strings.Repeat("a", 129): false,
		strings.Repeat("ab", 32): false, "a/b": false, "": false,
	} {
		if got := ValidExternalID(id); got != ok {
			t.Errorf("%q: valid %v", id, got)
		}
		if id == "" {
			continue
		}
		// Postgres holds the same rule.
		_, err := h.store.SetPolicy(t.Context(), job.Hash, PolicyChange{ExternalID: &id}, tester)
		if (err == nil) != ok {
			t.Errorf("%q: Postgres says %v", id, err)
		}
	}
}
