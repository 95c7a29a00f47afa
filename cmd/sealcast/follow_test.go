package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/pipeline"
	"github.com/sealcast/sealcast/worker"
)

// answers serves one answer after the other, the last one for ever.
func answers(t *testing.T, list ...string) *apiClient {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-API-Key") != "the key of the server" || r.URL.Path != "/api/jobs/j1" {
			t.Errorf("%s with the key %q", r.URL.Path, r.Header.Get("X-API-Key"))
		}
		status, body, _ := strings.Cut(list[0], " ")
		if len(list) > 1 {
			list = list[1:]
		}
		w.WriteHeader(map[string]int{"200": 200, "401": 401, "404": 404, "503": 503}[status])
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	return newAPIClient(origin(srv.URL), headerSecret{secret{"the key of the server"}})
}

func TestFollow(t *testing.T) {
	for _, c := range []struct {
		name    string
		answers []string
		shown   []string
		err     string
		code    int
	}{
		{
			"waits for adoption and through an outage",
			[]string{`404 {}`, `200 {"id":"j1","state":"queued"}`, `503 {"code":"unavailable"}`, `200 {"id":"j1","state":"running","stage":"encode","progress":40,"eta_seconds":2}`, `200 {"id":"j1","state":"succeeded","stage":"publish","progress":100}`},
			[]string{"queued", "encode", "succeeded"},
			"", 0,
		},
		{
			"a failed job",
			[]string{`200 {"id":"j1","state":"failed","stage":"probe","error":{"code":"source_unreadable","message":"no video"}}`},
			[]string{"failed"},
			"job j1 failed: source_unreadable: no video", exitJobFailed,
		},
		{"a cancelled job", []string{`200 {"id":"j1","state":"cancelled"}`}, []string{"cancelled"}, "job j1 is cancelled", exitJobFailed},
		{"a wrong API key ends it", []string{`401 {"code":"invalid_api_key","detail":"no"}`}, nil, "the API answers 401: invalid_api_key: no", exitFailure},
	} {
		t.Run(c.name, func(t *testing.T) {
			var shown []string
			j, err := answers(t, c.answers...).follow(context.Background(), "j1", func(p progress) { shown = append(shown, p.label) })
			if err == nil {
				err = j.failure()
			}
			if diff := cmp.Diff(c.shown, shown); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
			switch {
			case c.err == "" && err != nil, c.err != "" && (err == nil || err.Error() != c.err):
				t.Errorf("error %v, want %q", err, c.err)
			}
			var errs strings.Builder
			if code := report(&errs, submitCommand(), err); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
		})
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	_, err := answers(t, `200 {"id":"j1","state":"running"}`).follow(ctx, "j1", func(progress) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if code := report(&strings.Builder{}, submitCommand(), interrupted(ctx, err)); code != exitInterrupted {
		t.Errorf("exit code %d, want %d", code, exitInterrupted)
	}
}

func TestSubmitAsksWhatTheWorkerTakes(t *testing.T) {
	src := source{hash: strings.Repeat("a", 64), key: "uploads/x/film.mp4"}
	for _, c := range []struct {
		name  string
		flags submitFlags
		want  pipeline.Options
	}{
		{"defaults", submitFlags{kind: worker.TypeTranscode}, pipeline.DefaultOptions()},
		{"full", submitFlags{kind: worker.TypeFull, clear: true}, pipeline.Options{Outputs: []string{"cmaf", "ts"}, SegmentSeconds: 6}},
		{
			"everything",
			submitFlags{kind: worker.TypeTranscode, outputs: "ts", ladder: "720p, 360p", segmentSeconds: 4},
			pipeline.Options{Encrypt: true, Outputs: []string{"ts"}, Ladder: []string{"720p", "360p"}, SegmentSeconds: 4},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			req := c.flags.request(src)
			kind := req.Type
			payload, err := json.Marshal(map[string]any{"hash": req.Hash, "source": req.Source, "options": req.Options})
			if err != nil {
				t.Fatal(err)
			}
			sub, err := worker.ParseSubmission(kind, payload)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want.Canonical(), sub.Options); diff != "" {
				t.Errorf("options (-want +got):\n%s", diff)
			}
		})
	}
}
