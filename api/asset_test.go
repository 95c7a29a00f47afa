package api

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// fakeAssets deletes what the rig publishes.
type fakeAssets struct {
	pubs   *fakePublications
	answer Deletion
	err    error
	by     []Caller
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
	if a := rig.do("GET", "/api/media/"+hashA, "", key); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "DELETE, OPTIONS" {
		t.Errorf("GET: %d %s", a.StatusCode, a.Header.Get("Allow"))
	}
}
