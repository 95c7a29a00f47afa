package api

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/keystore/audit"
)

// fakeKeys serves keys as keystore.Store does.
type fakeKeys struct {
	mu    sync.Mutex
	byKID map[cenc.KID]keystore.Key
	err   error
	calls int
}

func newFakeKeys() *fakeKeys {
	f := &fakeKeys{byKID: map[cenc.KID]keystore.Key{}}
	f.add(hashA, 0xa1, true)
	f.add(hashA, 0xa2, false)
	f.add(hashB, 0xb1, true)
	return f
}

func kidFilled(fill byte) (kid cenc.KID) {
	for i := range kid {
		kid[i] = fill
	}
	return kid
}

func (f *fakeKeys) add(hash string, fill byte, isDefault bool) {
	content, _ := cenc.ContentKeyFrom(bytes.Repeat([]byte{fill ^ 0xff}, 16))
	kid := kidFilled(fill)
	f.byKID[kid] = keystore.Key{KID: kid, Hash: hash, Default: isDefault, Content: content}
}

func (f *fakeKeys) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeKeys) called() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *fakeKeys) Served(_ context.Context, hash string, kid *cenc.KID) (keystore.Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.err != nil {
		return keystore.Key{}, f.err
	}
	for _, key := range f.byKID {
		if key.Hash == hash && ((kid == nil && key.Default) || (kid != nil && key.KID == *kid)) {
			return key, nil
		}
	}
	return keystore.Key{}, keystore.ErrNotFound
}

// fakeAudit keeps the record in memory.
type fakeAudit struct {
	mu   sync.Mutex
	list []audit.Access
	err  error
}

func (f *fakeAudit) Record(a audit.Access, requestID string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if requestID == "" {
		return errors.New("no request id")
	}
	if f.err == nil {
		f.list = append(f.list, a)
	}
	return f.err
}

type fakeJobs struct {
	mu       sync.Mutex
	byID     map[string]Job
	requests []JobRequest
	err      error

	looks, atOnce, most int // of GetMany
}

func (f *fakeJobs) put(job Job) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.byID[job.ID] = job
}

func (f *fakeJobs) remove(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byID, id)
}

func (f *fakeJobs) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (f *fakeJobs) List(_ context.Context, filter JobFilter) ([]Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	later := func(a, b JobPosition) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(b.ID, a.ID))
	}
	var out []Job
	for _, job := range f.byID {
		behind := filter.After == nil || later(*filter.After, JobPosition{job.CreatedAt, job.ID}) < 0
		if behind && (filter.States == nil || slices.Contains(filter.States, job.State)) {
			out = append(out, job)
		}
	}
	slices.SortFunc(out, func(a, b Job) int { return later(JobPosition{a.CreatedAt, a.ID}, JobPosition{b.CreatedAt, b.ID}) })
	return out[:min(len(out), filter.Limit)], nil
}

func (f *fakeJobs) GetMany(_ context.Context, ids []string) ([]Job, error) {
	f.mu.Lock()
	f.atOnce++
	f.most = max(f.most, f.atOnce)
	f.mu.Unlock()
	runtime.Gosched() // let another one in
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looks++
	f.atOnce--
	if f.err != nil {
		return nil, f.err
	}
	var out []Job
	for _, id := range ids {
		if job, ok := f.byID[id]; ok {
			out = append(out, job)
		}
	}
	return out, nil
}

func (f *fakeJobs) looked() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looks
}

func (f *fakeJobs) mostAtOnce() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most
}

func (f *fakeJobs) awaitLooks(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(eventPatience); f.looked() < n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody looks at the jobs")
		}
	}
}

func (f *fakeJobs) Submit(_ context.Context, req JobRequest) (Job, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return Job{}, false, f.err
	}
	f.requests = append(f.requests, req)
	sum := sha256.Sum256([]byte(req.Payload))
	job := Job{ID: url.PathEscape(string(hexOf(sum[:8]))), Type: req.Type, Hash: hashA, Source: "in.mp4", State: "queued", CreatedAt: time.Unix(1, 0).UTC()}
	_, known := f.byID[job.ID]
	f.byID[job.ID] = job
	return job, !known, nil
}

func (f *fakeJobs) Get(_ context.Context, id string) (Job, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return Job{}, f.err
	}
	job, ok := f.byID[id]
	if !ok {
		return Job{}, ErrNotFound
	}
	return job, nil
}

func hexOf(b []byte) []byte {
	const digits = "0123456789abcdef"
	var out []byte
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return out
}

// oneKey serves the same key whatever is asked for.
type oneKey keystore.Key

func (k oneKey) Served(context.Context, string, *cenc.KID) (keystore.Key, error) {
	return keystore.Key(k), nil
}
