package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type jobPage struct {
	Jobs       []struct{ ID string }
	NextCursor *string `json:"next_cursor"`
}

func (r *rig) page(query string) jobPage {
	r.t.Helper()
	a := r.do("GET", "/api/jobs?"+query, "", "X-API-Key: "+testAPIKey)
	var p jobPage
	if err := json.Unmarshal(a.body, &p); err != nil || a.StatusCode != http.StatusOK {
		r.t.Fatalf("%s: %d %s", query, a.StatusCode, a.body)
	}
	return p
}

func TestListJobsByPages(t *testing.T) {
	rig := newRig(t)
	for i := range 5 {
		rig.jobs.put(Job{ID: fmt.Sprint("job-", i), Type: "video:full", Hash: hashA, Source: "x", State: "queued", CreatedAt: time.UnixMicro(int64(i / 2)).UTC()})
	}
	var seen []string
	query := url.Values{"limit": {"2"}}
	for pages := 1; ; pages++ {
		p := rig.page(query.Encode())
		for _, j := range p.Jobs {
			seen = append(seen, j.ID)
		}
		if p.NextCursor == nil {
			if pages != 3 {
				t.Errorf("%d pages", pages)
			}
			break
		}
		query.Set("cursor", *p.NextCursor)
	}
	if diff := cmp.Diff([]string{"job-4", "job-3", "job-2", "job-1", "job-0"}, seen); diff != "" {
		t.Error(diff)
	}
	a := rig.do("GET", "/api/jobs?state=failed", "", "X-API-Key: "+testAPIKey)
	if string(a.body) != `{"jobs":[],"next_cursor":null}`+"\n" {
		t.Errorf("no jobs: %s", a.body)
	}
	if a := rig.do("GET", "/api/jobs", ""); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a key: %d", a.StatusCode)
	}
	rig.jobs.err = errors.New("away")
	if a := rig.do("GET", "/api/jobs", "", "X-API-Key: "+testAPIKey); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("without the database: %d", a.StatusCode)
	}
}

func TestJobFilter(t *testing.T) {
	at := &JobPosition{time.UnixMicro(1_700_000_000_123_456).UTC(), "a:b.c_d-1"}
	for query, want := range map[string]JobFilter{
		"":          {Limit: 50},
		"limit=200": {Limit: 200},
		"state=queued&state=running,failed&state=queued": {Limit: 50, States: []string{"queued", "running", "failed"}},
		"type=video:full&hash=" + hashA:                  {Limit: 50, Types: []string{"video:full"}, Hash: hashA},
		"cursor=" + at.cursor():                          {Limit: 50, After: at},
	} {
		got, err := parseJobFilter(query)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", query, err, diff)
		}
	}
}

func TestBadJobFilters(t *testing.T) {
	rig := newRig(t)
	cursor := func(text string) string { return "cursor=" + base64.RawURLEncoding.EncodeToString([]byte(text)) }
	for query, field := range map[string]string{
		"limit=0": "limit", "limit=201": "limit", "limit=-1": "limit", "limit=x": "limit", "limit=": "limit", "limit=1&limit=2": "limit",
		"state=done": "state", "state=": "state", "state=queued,": "state", "state=Queued": "state",
		"type=job:run": "type", "hash=abc": "hash", "hash=" + strings.ToUpper(hashA): "hash", "hash=" + hashA + "&hash=" + hashB: "hash",
		"cursor=": "cursor", "cursor=!": "cursor", cursor("1 x id"): "cursor", cursor("2 1 id"): "cursor", cursor("1 1"): "cursor",
		cursor("1 1 a b"): "cursor", cursor("1 999999999999999999 id"): "cursor", cursor("1 -1 id"): "cursor",
		"colour=blue": "colour", "a=%zz": "query", "a;b": "query",
	} {
		a := rig.do("GET", "/api/jobs?"+query, "", "X-API-Key: "+testAPIKey)
		if a.StatusCode != http.StatusBadRequest || a.code() != "invalid_request" || !strings.Contains(string(a.body), field) {
			t.Errorf("%s: %d %s", query, a.StatusCode, a.body)
		}
	}
}

func TestIdempotencyKeyHeader(t *testing.T) {
	rig := newRig(t)
	headers := []string{"X-API-Key: " + testAPIKey, "Content-Type: application/json"}
	for key, ok := range map[string]bool{
		"a": true, `"quoted"`: true, strings.Repeat("~", 255): true,
		"": false, strings.Repeat("a", 256): false, "with space": false, "ü": false,
	} {
		a := rig.do("POST", "/api/jobs", jobBody(""), append(headers, "Idempotency-Key: "+key)...)
		switch {
		case ok && (a.StatusCode != http.StatusAccepted || rig.jobs.requests[len(rig.jobs.requests)-1].IdempotencyKey != key):
			t.Errorf("%q: %d %s", key, a.StatusCode, a.body)
		case !ok && (a.StatusCode != http.StatusBadRequest || !strings.Contains(string(a.body), "Idempotency-Key")):
			t.Errorf("%q: %d %s", key, a.StatusCode, a.body)
		}
	}
	if a := rig.do("POST", "/api/jobs", jobBody(""), append(headers, "Idempotency-Key: a", "Idempotency-Key: a")...); a.StatusCode != http.StatusBadRequest {
		t.Errorf("two keys: %d", a.StatusCode)
	}
	rig.jobs.err = &Problem{Status: 409, Code: "idempotency_key_reused", Detail: "used before"}
	if a := rig.do("POST", "/api/jobs", jobBody(""), append(headers, "Idempotency-Key: a")...); a.code() != "idempotency_key_reused" {
		t.Errorf("reused: %d %s", a.StatusCode, a.body)
	}
	rig.jobs.err = fmt.Errorf("look at the source: %w", ErrObjectStore)
	if a := rig.do("POST", "/api/jobs", jobBody(""), headers...); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Errorf("the store is away: %d %s", a.StatusCode, a.body)
	}
}
