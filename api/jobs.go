package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

var jobIDPattern = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,128}$`)

// jobMembers are the names of a submission beside its type.
var jobMembers = []string{"hash", "source", "options", "callback_url", "private", "metadata", "dry_run", "keep_source", "source_ttl"}

// postJob accepts a job. An identical request gives the same job, and the same
// answer: 202.
func (s *server) postJob(w http.ResponseWriter, r *http.Request) error {
	body, err := readJSON(r)
	if err != nil {
		return err
	}
	req, err := parseJobRequest(body)
	if err != nil {
		return err
	}
	if req.IdempotencyKey, err = idempotencyKey(r.Header); err != nil {
		return err
	}
	req.By = callerOf(r)
	job, _, err := s.Jobs.Submit(r.Context(), req)
	if err != nil {
		return s.jobError(r, err)
	}
	w.Header().Set("Location", s.BaseURL+"/api/jobs/"+url.PathEscape(job.ID))
	return writeJSON(w, http.StatusAccepted, job.wire())
}

// readJSON reads the body of a request that has to be JSON.
func readJSON(r *http.Request) ([]byte, error) {
	if !isJSON(r.Header) {
		return nil, problem(http.StatusUnsupportedMediaType, "unsupported_media_type", "send application/json in UTF-8")
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, err
		}
		return nil, invalidRequest("the body did not arrive whole")
	}
	return body, nil
}

// getJob shows a job.
func (s *server) getJob(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	if !jobIDPattern.MatchString(id) {
		return s.jobError(r, ErrNotFound)
	}
	job, err := s.Jobs.Get(r.Context(), id)
	if err != nil {
		return s.jobError(r, err)
	}
	return writeJSON(w, http.StatusOK, job.wire())
}

func (s *server) jobError(r *http.Request, err error) error {
	var p *Problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, ErrNotFound):
		return problem(http.StatusNotFound, "job_not_found", "there is no such job")
	case errors.Is(err, ErrObjectStore):
		s.metrics.failed(r, depObjects)
		return unavailable(err)
	default:
		s.metrics.failed(r, depPostgres)
		return unavailable(err)
	}
}

// idempotencyKey reads the header, if it is there.
func idempotencyKey(h http.Header) (string, error) {
	values := h.Values("Idempotency-Key")
	if len(values) == 0 {
		return "", nil
	}
	key := values[0]
	invisible := func(c rune) bool { return c <= ' ' || c > '~' }
	if len(values) > 1 || key == "" || len(key) > 255 || strings.ContainsFunc(key, invisible) {
		return "", invalidRequest("Idempotency-Key: want one of 1 to 255 visible ASCII characters")
	}
	return key, nil
}

// parseJobRequest takes one JSON object with exact, unique and known names.
// Decoding into a struct would fold case and keep the last of two.
func parseJobRequest(body []byte) (JobRequest, error) {
	members, err := parseObject(body)
	if err != nil {
		return JobRequest{}, err
	}
	var req JobRequest
	var kind *string
	if err := json.Unmarshal(members["type"], &kind); err != nil || kind == nil {
		return JobRequest{}, invalidRequest("type: want the name of a job type")
	}
	req.Type = *kind
	delete(members, "type")
	for name := range members {
		if !slices.Contains(jobMembers, name) {
			return JobRequest{}, invalidRequest(fmt.Sprintf("unknown field %q", shorten(name)))
		}
	}
	req.Payload, err = json.Marshal(members)
	return req, err
}

func parseObject(body []byte) (map[string]json.RawMessage, error) {
	malformed := problem(http.StatusBadRequest, "invalid_json", "the body is not one JSON object in UTF-8")
	if !utf8.Valid(body) {
		return nil, malformed
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil, malformed
	}
	members := map[string]json.RawMessage{}
	for dec.More() {
		tok, err := dec.Token()
		name, ok := tok.(string)
		if err != nil || !ok {
			return nil, malformed
		}
		if _, twice := members[name]; twice {
			return nil, invalidRequest(fmt.Sprintf("field %q stands there twice", shorten(name)))
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, malformed
		}
		members[name] = value
	}
	if _, err := dec.Token(); err != nil {
		return nil, malformed
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, malformed
	}
	return members, nil
}

func shorten(name string) string {
	if runes := []rune(name); len(runes) > 40 {
		return string(runes[:40]) + "…"
	}
	return name
}

func isJSON(h http.Header) bool {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset, given := params["charset"]
	return err == nil && kind == "application/json" && (!given || strings.EqualFold(charset, "utf-8")) &&
		h.Get("Content-Encoding") == ""
}

type wireJob struct {
	ID         string          `json:"id"`
	Type       string          `json:"type"`
	Hash       string          `json:"hash"`
	Source     string          `json:"source"`
	Metadata   json.RawMessage `json:"metadata"`
	State      string          `json:"state"`
	Stage      *string         `json:"stage"`
	Progress   float64         `json:"progress"`
	ETASeconds *float64        `json:"eta_seconds"`
	Attempt    int             `json:"attempt"`
	Error      *wireJobError   `json:"error"`
	Results    json.RawMessage `json:"results"`
	Part       *wirePart       `json:"part"`
	ParentID   *string         `json:"parent_id"`
	Parts      json.RawMessage `json:"parts"`
	CreatedAt  time.Time       `json:"created_at"`
	StartedAt  *time.Time      `json:"started_at"`
	FinishedAt *time.Time      `json:"finished_at"`
}

// wirePart names what a job makes beside a film.
type wirePart struct {
	Kind string  `json:"kind"`
	Name *string `json:"name"`
}

type wireJobError struct {
	Code    string  `json:"code"`
	Message string  `json:"message"`
	Stage   *string `json:"stage"`
}

// ended reports whether the job is in a final state.
func (j Job) ended() bool { return j.FinishedAt != nil }

func (j Job) wire() wireJob {
	w := wireJob{
		ID: j.ID, Type: j.Type, Hash: j.Hash, Source: j.Source, State: j.State,
		Progress: j.Progress, ETASeconds: j.ETASeconds, Attempt: j.Attempt, Results: j.Results,
		Metadata: j.Metadata, Parts: j.Parts,
		CreatedAt: j.CreatedAt, StartedAt: j.StartedAt, FinishedAt: j.FinishedAt,
	}
	if j.PartKind != "" {
		w.Part = &wirePart{Kind: j.PartKind, Name: optional(j.PartName)}
	}
	w.ParentID = optional(j.ParentID)
	if j.Stage != "" {
		w.Stage = &j.Stage
	}
	if j.ErrorCode != "" {
		w.Error = &wireJobError{j.ErrorCode, j.ErrorMessage, w.Stage}
	}
	return w
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// writeJSON answers with what no cache may keep.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return internalError(fmt.Errorf("encode answer: %w", err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
	return nil
}
