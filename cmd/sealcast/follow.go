package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

const (
	followEvery = 300 * time.Millisecond // between two looks at a job
	followAway  = 2 * time.Minute        // how long the API may be away while following
)

// jobView is a job as the API shows it.
type jobView struct {
	ID         string   `json:"id"`
	State      string   `json:"state"`
	Stage      string   `json:"stage"`
	Progress   float64  `json:"progress"`
	ETASeconds *float64 `json:"eta_seconds"`
	Attempt    int      `json:"attempt"`
	Error      *struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
	Results *resultsView `json:"results"`
}

// resultsView is the part of a job's results that is printed and checked.
type resultsView struct {
	Streaming struct {
		Encrypted      bool   `json:"encrypted"`
		MasterPlaylist string `json:"master_playlist"`
		Outputs        []struct {
			Name           string `json:"name"`
			MasterPlaylist string `json:"master_playlist"`
			Manifest       string `json:"manifest"`
			Scheme         string `json:"scheme"`
		} `json:"outputs"`
	} `json:"streaming"`
	VideoTracks []struct {
		Output string `json:"output"`
		Width  int    `json:"width"`
		Height int    `json:"height"`
		Frames int64  `json:"frames"`
	} `json:"video_tracks"`
	Stages []struct {
		Stage   string  `json:"stage"`
		Seconds float64 `json:"seconds"`
	} `json:"stages"`
}

func (j jobView) ended() bool {
	return j.State == "succeeded" || j.State == "failed" || j.State == "cancelled"
}

// progress says where the job stands.
func (j jobView) progress() progress {
	p := progress{label: j.Stage, percent: j.Progress, eta: -1}
	if j.State != "running" || p.label == "" {
		p.label = j.State
	}
	if j.ETASeconds != nil && j.State == "running" {
		p.eta = time.Duration(*j.ETASeconds * float64(time.Second))
	}
	return p
}

// apiClient talks to the jobs API.
type apiClient struct {
	base string
	key  headerSecret
	http *http.Client
}

func newAPIClient(base origin, key headerSecret) *apiClient {
	return &apiClient{base: string(base), key: key, http: newHTTPClient()}
}

// apiError is an answer that is no success.
type apiError struct {
	status int
	text   string
}

func (e *apiError) Error() string { return fmt.Sprintf("the API answers %d: %s", e.status, e.text) }

// submit asks for a job. created is false when the same request has a job
// already, which is returned then.
func (c *apiClient) submit(ctx context.Context, request any) (jobView, error) {
	body, err := json.Marshal(request)
	if err != nil {
		return jobView{}, fmt.Errorf("encode request: %w", err)
	}
	return c.do(ctx, http.MethodPost, "/api/jobs", body)
}

// job asks for a job's state.
func (c *apiClient) job(ctx context.Context, id string) (jobView, error) {
	return c.do(ctx, http.MethodGet, "/api/jobs/"+url.PathEscape(id), nil)
}

func (c *apiClient) do(ctx context.Context, method, path string, body []byte) (jobView, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return jobView{}, err
	}
	req.Header.Set("X-API-Key", c.key.reveal())
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return jobView{}, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 8<<20))
	if err != nil {
		return jobView{}, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return jobView{}, &apiError{resp.StatusCode, problemCode(answer)}
	}
	var j jobView
	if err := json.Unmarshal(answer, &j); err != nil || j.ID == "" {
		return jobView{}, fmt.Errorf("the answer of %s%s is no job", c.base, path)
	}
	return j, nil
}

// problemCode shortens a problem+json body (RFC 9457) to its code and text.
func problemCode(body []byte) string {
	var p struct{ Code, Title, Detail string }
	if err := json.Unmarshal(body, &p); err != nil || p.Code == "" {
		return "no further word"
	}
	text := p.Detail
	if text == "" {
		text = p.Title
	}
	return oneLine(p.Code + ": " + text)
}

// follow looks at a job until it has ended, and shows its progress. A job that
// is not there yet, and an API that is away for a while, are waited for.
func (c *apiClient) follow(ctx context.Context, id string, show func(progress)) (jobView, error) {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	lastGood := time.Now()
	for {
		j, err := c.job(ctx, id)
		var answer *apiError
		switch {
		case err == nil:
			lastGood = time.Now()
			show(j.progress())
			if j.ended() {
				return j, nil
			}
		case ctx.Err() != nil:
			return jobView{}, context.Cause(ctx)
		case errors.As(err, &answer) && answer.status/100 == 4 && answer.status != http.StatusNotFound && answer.status != http.StatusTooManyRequests:
			return jobView{}, err
		case time.Since(lastGood) > followAway:
			return jobView{}, fmt.Errorf("follow job %s: %w", id, err)
		}
		select {
		case <-ctx.Done():
			return jobView{}, context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// failure is the error of a job that did not succeed, nil for one that did.
func (j jobView) failure() error {
	if j.State == "succeeded" {
		return nil
	}
	if j.Error != nil {
		return exitError{exitJobFailed, fmt.Errorf("job %s %s: %s: %s", j.ID, j.State, j.Error.Code, oneLine(j.Error.Message))}
	}
	return exitError{exitJobFailed, fmt.Errorf("job %s is %s", j.ID, j.State)}
}
