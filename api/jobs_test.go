package api

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func jobBody(more string) string {
	return `{"type":"video:transcode","hash":"` + hashA + `","source":"in.mp4"` + more + `}`
}

func TestPostJob(t *testing.T) {
	rig := newRig(t)
	key, kind := "X-API-Key: "+testAPIKey, "Content-Type: application/json"
	tests := []struct {
		name, body string
		headers    []string
		status     int
		code       string
	}{
		{"minimal", jobBody(""), []string{key, kind}, 202, ""},
		{"all members", jobBody(`,"options":{"encrypt":true},"callback_url":"https://x.example/"`), []string{key, kind}, 202, ""},
		{"charset", jobBody(""), []string{key, kind + "; charset=UTF-8"}, 202, ""},

		{"no key", jobBody(""), []string{kind}, 401, "api_key_required"},
		{"empty key", jobBody(""), []string{kind, "X-API-Key: "}, 401, "api_key_required"},
		{"wrong key", jobBody(""), []string{kind, "X-API-Key: wrong"}, 401, "invalid_api_key"},
		{"longer key", jobBody(""), []string{kind, key + "x"}, 401, "invalid_api_key"},
		{"key in another case", jobBody(""), []string{kind, "X-API-Key: " + strings.ToUpper(testAPIKey)}, 401, "invalid_api_key"},
		{"two keys", jobBody(""), []string{kind, key, key}, 400, "ambiguous_credentials"},
		{"playback token as key", jobBody(""), []string{kind, "X-API-Key: " + rig.token(hashA)}, 401, "invalid_api_key"},
		{"playback token as Bearer", jobBody(""), []string{kind, "Authorization: Bearer " + rig.token(hashA)}, 401, "api_key_required"},
		{"key as Bearer", jobBody(""), []string{kind, "Authorization: Bearer " + testAPIKey}, 401, "api_key_required"},
		{"key before body", "{", []string{kind}, 401, "api_key_required"},

		{"no type", jobBody(""), []string{key}, 415, "unsupported_media_type"},
		{"form", "a=b", []string{key, "Content-Type: application/x-www-form-urlencoded"}, 415, "unsupported_media_type"},
		{"text", jobBody(""), []string{key, "Content-Type: text/plain"}, 415, "unsupported_media_type"},
		{"other charset", jobBody(""), []string{key, kind + "; charset=utf-16"}, 415, "unsupported_media_type"},
		{"compressed", jobBody(""), []string{key, kind, "Content-Encoding: gzip"}, 415, "unsupported_media_type"},

		{"too large", jobBody(`,"options":{"x":"` + strings.Repeat("a", 70_000) + `"}`), []string{key, kind}, 413, "body_too_large"},
		{"empty", "", []string{key, kind}, 400, "invalid_json"},
		{"cut", jobBody("")[:30], []string{key, kind}, 400, "invalid_json"},
		{"array", "[" + jobBody("") + "]", []string{key, kind}, 400, "invalid_json"},
		{"null", "null", []string{key, kind}, 400, "invalid_json"},
		{"trailing", jobBody("") + "{}", []string{key, kind}, 400, "invalid_json"},
		{"trailing comma", jobBody(","), []string{key, kind}, 400, "invalid_json"},
		{"invalid UTF-8", jobBody(",\"options\":\"\xff\""), []string{key, kind}, 400, "invalid_json"},
		{"unknown field", jobBody(`,"optoins":{}`), []string{key, kind}, 400, "invalid_request"},
		{"long unknown field", jobBody(`,"` + strings.Repeat("ü", 500) + `":1`), []string{key, kind}, 400, "invalid_request"},
		{"case variant", jobBody(`,"Options":{}`), []string{key, kind}, 400, "invalid_request"},
		{"case variant beside", jobBody(`,"HASH":"x"`), []string{key, kind}, 400, "invalid_request"},
		{"duplicate", jobBody(`,"hash":"x"`), []string{key, kind}, 400, "invalid_request"},
		{"duplicate, escaped", jobBody(`,"ha\u0073h":"x"`), []string{key, kind}, 400, "invalid_request"},
		{"duplicate type", jobBody(`,"type":"video:full"`), []string{key, kind}, 400, "invalid_request"},
		{"without a type", `{"hash":"` + hashA + `"}`, []string{key, kind}, 400, "invalid_request"},
		{"type null", `{"type":null}`, []string{key, kind}, 400, "invalid_request"},
		{"type number", `{"type":1}`, []string{key, kind}, 400, "invalid_request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rig.t = t
			a := rig.do("POST", "/api/jobs", tt.body, tt.headers...)
			if a.StatusCode != tt.status || a.code() != tt.code {
				t.Fatalf("%d %s", a.StatusCode, a.body)
			}
			if challenge := a.Header.Get("WWW-Authenticate"); (tt.status == 401) != (challenge == "ApiKey") {
				t.Errorf("WWW-Authenticate %q", challenge)
			}
			if a.Header.Get("Cache-Control") != "no-store" {
				t.Error("a cache may keep it")
			}
		})
	}
}

func TestRepeatedJobIsTheSame(t *testing.T) {
	rig := newRig(t)
	headers := []string{"X-API-Key: " + testAPIKey, "Content-Type: application/json"}
	first := rig.do("POST", "/api/jobs", jobBody(`, "options" : {"a": 1, "a": 2}`), headers...)
	again := rig.do("POST", "/api/jobs", jobBody(`,"options":{"a":1,"a":2}`), headers...)
	if first.StatusCode != http.StatusAccepted || again.StatusCode != http.StatusAccepted || string(first.body) != string(again.body) {
		t.Fatalf("%d %s\n%d %s", first.StatusCode, first.body, again.StatusCode, again.body)
	}
	var job struct{ ID string }
	if err := json.Unmarshal(first.body, &job); err != nil {
		t.Fatal(err)
	}
	location := first.Header.Get("Location")
	if location != "https://video.example.com/api/jobs/"+job.ID {
		t.Errorf("Location %q", location)
	}
	seen := rig.do("GET", strings.TrimPrefix(location, "https://video.example.com"), "", headers[0])
	if seen.StatusCode != http.StatusOK || string(seen.body) != string(first.body) {
		t.Errorf("%d %s", seen.StatusCode, seen.body)
	}
	// What is inside options is the business of the one who decodes the payload, and reaches him unchanged.
	want := JobRequest{Type: "video:transcode", Payload: json.RawMessage(`{"hash":"` + hashA + `","options":{"a":1,"a":2},"source":"in.mp4"}`)}
	got := rig.jobs.requests[0]
	if got.By.Actor == "" || got.By.RequestID == "" || got.By.Client == "" {
		t.Errorf("nobody asked: %+v", got.By)
	}
	got.By = Caller{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestJobErrors(t *testing.T) {
	rig := newRig(t)
	headers := []string{"X-API-Key: " + testAPIKey, "Content-Type: application/json"}
	for _, tt := range []struct {
		name   string
		err    error
		status int
		code   string
	}{
		{"sealed", &Problem{Status: 409, Code: "encryption_sealed", Detail: "the title is published encrypted"}, 409, "encryption_sealed"},
		{"refused", &Problem{Status: 400, Code: "invalid_request", Detail: "hash: want 64 hex digits"}, 400, "invalid_request"},
		{"Postgres away", errors.New("dial pg.internal:5432"), 503, "unavailable"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rig.t = t
			rig.jobs.err = tt.err
			a := rig.do("POST", "/api/jobs", jobBody(""), headers...)
			if a.StatusCode != tt.status || a.code() != tt.code || strings.Contains(string(a.body), "internal:") {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	}
	a := rig.do("GET", "/api/jobs/1", "", headers[0])
	if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestGetJob(t *testing.T) {
	rig := newRig(t)
	eta, at := 1.5, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	rig.jobs.byID["a:b.c_d-1"] = Job{
		ID: "a:b.c_d-1", Type: "video:full", Hash: hashA, Source: "x", State: "failed", Stage: "verify", Progress: 99.5, ETASeconds: &eta,
		Attempt: 2, ErrorCode: "source_broken", ErrorMessage: "The source ends early.", Results: json.RawMessage(`{"a":1}`),
		ParentID: "p", PartKind: "text", PartName: "en", Metadata: json.RawMessage(`{"b":2}`),
		Parts:     json.RawMessage(`[{"kind":"cover","name":null,"job_id":null,"state":"pending","error":null,"results":null}]`),
		CreatedAt: at, StartedAt: &at, FinishedAt: &at,
	}
	key := "X-API-Key: " + testAPIKey
	a := rig.do("GET", "/api/jobs/a:b.c_d-1", "", key)
	want := `{"id":"a:b.c_d-1","type":"video:full","hash":"` + hashA + `","source":"x","metadata":{"b":2},"state":"failed","stage":"verify","progress":99.5,` +
		`"eta_seconds":1.5,"attempt":2,"error":{"code":"source_broken","message":"The source ends early.","stage":"verify"},"results":{"a":1},` +
		`"part":{"kind":"text","name":"en"},"parent_id":"p","parts":[{"kind":"cover","name":null,"job_id":null,"state":"pending","error":null,"results":null}],` +
		`"created_at":"2026-01-02T03:04:05Z","started_at":"2026-01-02T03:04:05Z","finished_at":"2026-01-02T03:04:05Z"}` + "\n"
	if diff := cmp.Diff(want, string(a.body)); diff != "" || a.StatusCode != http.StatusOK {
		t.Error(a.StatusCode, diff)
	}
	for path, status := range map[string]int{"nobody": 404, strings.Repeat("a", 129): 404, "a%20b": 404, "*": 404} {
		if a := rig.do("GET", "/api/jobs/"+path, "", key); a.StatusCode != status || a.code() != "job_not_found" {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	if a := rig.do("GET", "/api/jobs/nobody", ""); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without a key: %d", a.StatusCode)
	}
	if a := rig.do("DELETE", "/api/jobs/nobody", "", key); a.StatusCode != http.StatusMethodNotAllowed || a.Header.Get("Allow") != "GET, HEAD, OPTIONS" {
		t.Errorf("DELETE: %d", a.StatusCode)
	}
}
