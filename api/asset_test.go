package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// fakeAssets knows and deletes what the rig publishes.
type fakeAssets struct {
	pubs   *fakePublications
	answer Deletion
	err    error
	by     []Caller
	taken  string // an external id of somebody else's
	ids    map[string]string

	results string // of every job; empty: {"a":1}
}

func (f *fakeAssets) Get(_ context.Context, hash string) (Asset, error) {
	if f.err != nil {
		return Asset{}, f.err
	}
	f.pubs.mu.Lock()
	defer f.pubs.mu.Unlock()
	e, ok := f.pubs.entries[hash]
	if !ok {
		return Asset{}, ErrNotFound
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	results := cmp.Or(f.results, `{"a":1}`)
	return Asset{
		Hash: hash, ExternalID: f.ids[hash], Private: e.Private, CreatedAt: at, Generation: e.Generation, Encrypted: e.Encrypted,
		JobID: "job-1", PublishedAt: &at, Results: json.RawMessage(results),
	}, nil
}

func (f *fakeAssets) List(ctx context.Context, after *AssetPosition, limit int) ([]Asset, error) {
	var out []Asset
	for _, hash := range []string{hashC, hashA} {
		if a, err := f.Get(ctx, hash); err == nil && (after == nil || hash < after.Hash) && len(out) < limit {
			out = append(out, a)
		}
	}
	return out, f.err
}

func (f *fakeAssets) SetPolicy(ctx context.Context, hash string, change PolicyChange, by Caller) (Asset, error) {
	f.by = append(f.by, by)
	if change.ExternalID != nil && f.taken != "" && *change.ExternalID == f.taken {
		return Asset{}, problem(http.StatusConflict, "external_id_taken", "taken")
	}
	f.pubs.mu.Lock()
	if e, ok := f.pubs.entries[hash]; ok && change.Private != nil {
		e.Private = *change.Private
		f.pubs.entries[hash] = e
		for key, o := range f.pubs.objects {
			if strings.HasPrefix(key, "stream/"+hash) {
				o.Private = e.Private
				f.pubs.objects[key] = o
			}
		}
	}
	if change.ExternalID != nil {
		f.ids = map[string]string{hash: *change.ExternalID}
	}
	f.pubs.mu.Unlock()
	return f.Get(ctx, hash)
}

func (f *fakeAssets) Delete(_ context.Context, hash string, by Caller) (Deletion, error) {
	f.by = append(f.by, by)
	if f.err != nil {
		return Deletion{}, f.err
	}
	f.pubs.mu.Lock()
	defer f.pubs.mu.Unlock()
	delete(f.pubs.entries, hash)
	for key := range f.pubs.objects {
		if strings.HasPrefix(key, "stream/"+hash) {
			delete(f.pubs.objects, key)
		}
	}
	return f.answer, nil
}

func (f *fakeAssets) Parts(_ context.Context, hash string) (json.RawMessage, error) {
	if hash != hashA {
		return json.RawMessage(`[]`), f.err
	}
	return json.RawMessage(`[{"kind":"cover","name":null,"job_id":"j","state":"ready","error":null,"results":{}}]`), f.err
}

func TestDeleteMedia(t *testing.T) {
	rig := newRig(t)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rig.assets.answer = Deletion{Generations: 2, Keys: 4, RequestedAt: &at}
	path, key := "/api/media/"+hashA, "X-API-Key: "+testAPIKey

	for _, headers := range [][]string{nil, {"X-API-Key: wrong"}, {"Authorization: Bearer " + rig.token(hashA)}} {
		if a := rig.do("DELETE", path, "", headers...); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%v: %d", headers, a.StatusCode)
		}
	}
	if len(rig.assets.by) != 0 {
		t.Fatal("deleted without a key")
	}
	if a := rig.do("GET", "/stream/"+hashA+"/master.m3u8", ""); a.StatusCode != http.StatusOK {
		t.Fatalf("before: %d", a.StatusCode)
	}
	a := rig.do("DELETE", path, "", key)
	want := `{"hash":"` + hashA + `","generations":2,"keys_shredded":4,"cancelled_jobs":[],"objects":"removal_pending","requested_at":"2026-01-02T03:04:05Z"}` + "\n"
	if a.StatusCode != http.StatusAccepted || string(a.body) != want {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if by := rig.assets.by[0]; by.RequestID != a.Header.Get("X-Request-Id") || by.Client != "127.0.0.1" {
		t.Errorf("by %+v", by)
	}
	// At once, although the process remembers which generation was published.
	for _, p := range []string{"master.m3u8", testPrefix + "/video/720p/1.m4s"} {
		if a := rig.do("GET", "/stream/"+hashA+"/"+p, ""); a.StatusCode != http.StatusNotFound {
			t.Errorf("%s afterwards: %d", p, a.StatusCode)
		}
	}
	rig.assets.answer = Deletion{}
	if a := rig.do("DELETE", path, "", key); a.StatusCode != http.StatusNoContent || len(a.body) != 0 {
		t.Errorf("nothing left: %d %s", a.StatusCode, a.body)
	}
}

func TestDeleteMediaErrors(t *testing.T) {
	rig := newRig(t)
	key := "X-API-Key: " + testAPIKey
	for path, err := range map[string]error{"/api/media/" + hashB: ErrNotFound, "/api/media/abc": nil, "/api/media/" + strings.ToUpper(hashA): nil} {
		rig.assets.err = err
		if a := rig.do("DELETE", path, "", key); a.StatusCode != http.StatusNotFound || a.code() != "asset_not_found" {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	rig.assets.err = errors.New("dial pg.internal:5432")
	if a := rig.do("DELETE", "/api/media/"+hashA, "", key); a.StatusCode != http.StatusServiceUnavailable || strings.Contains(string(a.body), "internal:") {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := rig.do("POST", "/api/media/"+hashA, "", key); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, HEAD, PATCH, DELETE, OPTIONS" {
		t.Errorf("POST: %d %s", a.StatusCode, a.Header.Get("Allow"))
	}
}

func TestAssets(t *testing.T) {
	rig := newRig(t)
	key := "X-API-Key: " + testAPIKey
	for _, path := range []string{"/api/media", "/api/media/" + hashA} {
		if a := rig.do("GET", path, ""); a.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a key: %d", path, a.StatusCode)
		}
	}
	a := rig.do("GET", "/api/media/"+hashA, "", key)
	want := `{"hash":"` + hashA + `","external_id":null,"private":false,"published":true,"encrypted":true,"generation":1,"job_id":"job-1",` +
		`"created_at":"2026-01-02T03:04:05Z","published_at":"2026-01-02T03:04:05Z","results":{"a":1}}` + "\n"
	if a.StatusCode != http.StatusOK || string(a.body) != want {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	for _, hash := range []string{hashB, "x", strings.ToUpper(hashA)} {
		if a := rig.do("GET", "/api/media/"+hash, "", key); a.code() != "asset_not_found" {
			t.Errorf("%s: %d %s", hash, a.StatusCode, a.body)
		}
	}
	var seen []string
	for query := "?limit=1"; query != ""; {
		var page struct {
			Assets     []struct{ Hash string }
			NextCursor *string `json:"next_cursor"`
		}
		if err := json.Unmarshal(rig.do("GET", "/api/media"+query, "", key).body, &page); err != nil {
			t.Fatal(err)
		}
		query = ""
		if page.NextCursor != nil {
			query = "?limit=1&cursor=" + *page.NextCursor
		}
		for _, a := range page.Assets {
			seen = append(seen, a.Hash)
		}
	}
	if strings.Join(seen, " ") != hashC+" "+hashA {
		t.Errorf("pages: %v", seen)
	}
	for _, query := range []string{"limit=0", "limit=x", "cursor=x", "a=b", "limit=1&limit=2", "%zz"} {
		if a := rig.do("GET", "/api/media?"+query, "", key); a.StatusCode != http.StatusBadRequest {
			t.Errorf("%s: %d", query, a.StatusCode)
		}
	}
}

func TestPatchAsset(t *testing.T) {
	rig := newRig(t)
	path, key, kind := "/api/media/"+hashA, "X-API-Key: "+testAPIKey, "Content-Type: application/json"
	for body, code := range map[string]string{
		`{}`: "invalid_request", `[]`: "invalid_json", `{"private":null}`: "invalid_request", `{"private":1}`: "invalid_request",
		`{"Private":true}`: "invalid_request", `{"private":true,"private":false}`: "invalid_request", `{"external_id":""}`: "invalid_request",
		`{"external_id":7}`: "invalid_request", `{"private":true} x`: "invalid_json", `{"hash":"x"}`: "invalid_request",
	} {
		if a := rig.do("PATCH", path, body, key, kind); a.StatusCode != http.StatusBadRequest || a.code() != code {
			t.Errorf("%s: %d %s", body, a.StatusCode, a.body)
		}
	}
	if a := rig.do("PATCH", path, `{"private":true}`, kind); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a key: %d", a.StatusCode)
	}
	if a := rig.do("PATCH", path, `{"private":true}`, key); a.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("without a type: %d", a.StatusCode)
	}
	if len(rig.assets.by) != 0 {
		t.Fatal("changed by a refused request")
	}
	rig.assets.taken = "film-7"
	if a := rig.do("PATCH", path, `{"external_id":"film-7"}`, key, kind); a.code() != "external_id_taken" {
		t.Errorf("taken: %d %s", a.StatusCode, a.body)
	}
	if a := rig.do("PATCH", path, `{"external_id":"film-8","private":false}`, key, kind); a.StatusCode != http.StatusOK || !strings.Contains(string(a.body), `"external_id":"film-8"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := rig.do("PATCH", path, `{"external_id":null}`, key, kind); !strings.Contains(string(a.body), `"external_id":null`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := rig.do("PATCH", "/api/media/"+hashB, `{"private":true}`, key, kind); a.code() != "asset_not_found" {
		t.Errorf("unknown: %d %s", a.StatusCode, a.body)
	}
}

// TestPrivateTitleIsClosed: nothing of it is served under its hash, and the
// answer is that for a title that is not there.
func TestPrivateTitleIsClosed(t *testing.T) {
	rig := newRig(t)
	key, kind := "X-API-Key: "+testAPIKey, "Content-Type: application/json"
	paths := []string{"master.m3u8", "ts/master.m3u8", "manifest.mpd", "poster.jpg", testPrefix + "/poster.jpg", segmentPath, testPrefix + "/master.m3u8", testPrefix + "/video/720p.m3u8"}
	tags := map[string]string{}
	for _, path := range paths {
		a := rig.do("GET", "/stream/"+hashC+"/"+path, "")
		if a.StatusCode != http.StatusOK {
			t.Fatalf("%s before: %d", path, a.StatusCode)
		}
		tags[path] = a.Header.Get("ETag")
	}
	if a := rig.do("PATCH", "/api/media/"+hashC, `{"private":true}`, key, kind); a.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	time.Sleep(entryCacheTTL) // what is promised is 2 s
	for _, path := range paths {
		other := rig.do("GET", "/stream/"+hashB+"/"+path, "")
		for _, headers := range [][]string{nil, {"If-None-Match: " + tags[path]}, {"Authorization: Bearer " + rig.token(hashC)}, {"Range: bytes=0-1"}} {
			a := rig.do("GET", "/stream/"+hashC+"/"+path, "", headers...)
			if a.StatusCode != http.StatusNotFound || a.code() != other.code() || a.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s %v: %d %s, an unknown title: %s", path, headers, a.StatusCode, a.body, other.code())
			}
		}
	}
	if a := rig.do("PATCH", "/api/media/"+hashC, `{"private":false}`, key, kind); a.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if a := rig.do("GET", "/stream/"+hashC+"/"+segmentPath, ""); a.StatusCode != http.StatusOK {
		t.Errorf("opened again: %d", a.StatusCode)
	}
}
