package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealcast/sealcast/api"
	"github.com/sealcast/sealcast/internal/corpus"
	"github.com/sealcast/sealcast/worker"
)

// decodeOnly decodes submissions as jobService does, and keeps none.
type decodeOnly struct{ api.JobService }

func (decodeOnly) Submit(_ context.Context, req api.JobRequest) (api.Job, bool, error) {
	sub, err := worker.ParseSubmission(req.Type, req.Payload)
	if err != nil {
		return api.Job{}, false, requestProblem(err)
	}
	return api.Job{ID: "1", Type: sub.Type, Hash: sub.Hash, Source: sub.Source, State: "queued"}, true, nil
}

// Every payload of the corpus as the body of POST /api/jobs: the API's decode
// and the worker's together answer as the case says.
func TestCorpusPayloadsOverHTTP(t *testing.T) {
	handler, err := api.New(apiOfNothing(t, decodeOnly{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range corpus.Payloads() {
		t.Run(c.Name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/api/jobs", strings.NewReader(c.WithType()))
			r.Header.Set("X-API-Key", "an-api-key-for-tests")
			r.Header.Set("Content-Type", "application/json")
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			var p struct{ Code, Detail string }
			if err := json.Unmarshal(w.Body.Bytes(), &p); err != nil {
				t.Fatalf("%d %s: %v", w.Code, w.Body, err)
			}
			if w.Code != c.Status || p.Code != c.Problem {
				t.Errorf("got %d %s (%s), want %d %s", w.Code, p.Code, p.Detail, c.Status, c.Problem)
			}
			if len(p.Detail) > 400 {
				t.Errorf("the detail has %d bytes", len(p.Detail))
			}
		})
	}
}

// apiOfNothing is a configuration with nothing behind it but jobs.
func apiOfNothing(t *testing.T, jobs api.JobService) api.Config {
	t.Helper()
	key, err := api.NewAPIKey("an-api-key-for-tests")
	if err != nil {
		t.Fatal(err)
	}
	return api.Config{
		APIKey: key, Gate: struct{ api.Gate }{}, Audit: struct{ api.Audit }{}, Admin: struct{ api.Admin }{}, Environment: "production", Jobs: jobs, KeysPerToken: 1, KeysPerClient: 1, EventStreams: 1,
		Keys: struct{ api.Keys }{}, Publications: struct{ api.Publications }{}, Objects: struct{ api.Objects }{}, Webhooks: struct{ api.Webhooks }{}, Assets: struct{ api.Assets }{}, Tracks: struct{ api.Tracks }{},
		Registry: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	}
}
