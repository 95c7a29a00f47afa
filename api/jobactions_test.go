package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Cancel and Retry follow what worker.JobStore does, as far as clients see it.
func (f *fakeJobs) Cancel(ctx context.Context, id string, _ Caller) (Job, bool, error) {
	job, err := f.Get(ctx, id)
	switch {
	case err != nil:
		return Job{}, false, err
	case job.State == "cancelled":
		return job, false, nil
	case job.State == "succeeded" || job.State == "failed":
		return Job{}, false, &Problem{Status: 409, Code: "job_finished", Detail: "the job has ended"}
	}
	at := time.Unix(2, 0).UTC()
	job.State, job.FinishedAt = "cancelled", &at
	f.put(job)
	return job, true, nil
}

func (f *fakeJobs) Retry(ctx context.Context, id string, _ Caller) (Job, error) {
	job, err := f.Get(ctx, id)
	switch {
	case err != nil:
		return Job{}, err
	case job.State != "cancelled" && job.State != "failed":
		return Job{}, &Problem{Status: 409, Code: "job_not_retryable", Detail: "the job has not failed"}
	}
	job.State, job.FinishedAt = "queued", nil
	f.put(job)
	return job, nil
}

func (f *fakeJobs) RetryPart(ctx context.Context, _, kind, name string, by Caller) (Job, error) {
	return f.Retry(ctx, kind+name, by)
}

func TestCancelAndRetryJob(t *testing.T) {
	rig := newRig(t)
	at := time.Unix(1, 0).UTC()
	for _, state := range []string{"queued", "running", "succeeded", "failed"} {
		rig.jobs.put(Job{ID: state, Type: "video:full", Hash: hashA, Source: "x", State: state, CreatedAt: at})
	}
	key := "X-API-Key: " + testAPIKey
	for _, tt := range []struct {
		path   string
		status int
		code   string
		state  string
	}{
		{"queued/retry", 409, "job_not_retryable", ""},
		{"queued/cancel", 202, "", "cancelled"},
		{"queued/cancel", 200, "", "cancelled"},
		{"queued/retry", 202, "", "queued"},
		{"running/cancel", 202, "", "cancelled"},
		{"succeeded/cancel", 409, "job_finished", ""},
		{"succeeded/retry", 409, "job_not_retryable", ""},
		{"failed/cancel", 409, "job_finished", ""},
		{"failed/retry", 202, "", "queued"},
		{"nobody/cancel", 404, "job_not_found", ""},
		{"nobody/retry", 404, "job_not_found", ""},
		{"a%20b/cancel", 404, "job_not_found", ""},
		{strings.Repeat("a", 129) + "/retry", 404, "job_not_found", ""},
	} {
		a := rig.do("POST", "/api/jobs/"+tt.path, "", key)
		if a.StatusCode != tt.status || a.code() != tt.code || !strings.Contains(string(a.body), `"state":"`+tt.state) == (tt.state != "") {
			t.Errorf("%s: %d %s", tt.path, a.StatusCode, a.body)
		}
		if a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: a cache may keep it", tt.path)
		}
	}
	for _, action := range []string{"cancel", "retry"} {
		if a := rig.do("POST", "/api/jobs/failed/"+action, ""); a.StatusCode != 401 || a.code() != "api_key_required" {
			t.Errorf("%s without a key: %d %s", action, a.StatusCode, a.body)
		}
		if a := rig.do("GET", "/api/jobs/failed/"+action, "", key); a.StatusCode != 405 || a.Header.Get("Allow") != "POST, OPTIONS" {
			t.Errorf("GET %s: %d, Allow %q", action, a.StatusCode, a.Header.Get("Allow"))
		}
	}
	rig.jobs.err = errors.New("dial pg.internal:5432")
	for _, action := range []string{"cancel", "retry"} {
		a := rig.do("POST", "/api/jobs/failed/"+action, "", key)
		if a.StatusCode != 503 || a.code() != "unavailable" || strings.Contains(string(a.body), "internal:") {
			t.Errorf("%s while Postgres is away: %d %s", action, a.StatusCode, a.body)
		}
	}
}

func (f *fakeJobs) Repackage(ctx context.Context, hash string, by Caller) (Job, error) {
	if by.RequestID == "" || by.Client == "" {
		return Job{}, errors.New("nobody asks")
	}
	if hash != hashA {
		return Job{}, problem(http.StatusConflict, "not_encrypted", "it is clear")
	}
	return f.Get(ctx, "new")
}

func TestRepackage(t *testing.T) {
	rig := newRig(t)
	key := "X-API-Key: " + testAPIKey
	rig.jobs.put(Job{ID: "new", Type: "video:transcode", Hash: hashA, Source: "in/a.mp4", State: "queued", CreatedAt: time.Now()})
	a := rig.do("POST", "/api/media/"+hashA+"/repackage", "", key)
	if a.StatusCode != http.StatusAccepted || a.Header.Get("Location") != "https://video.example.com/api/jobs/new" {
		t.Errorf("%d %s %s", a.StatusCode, a.Header.Get("Location"), a.body)
	}
	for path, code := range map[string]string{hashB: "not_encrypted", "x": "asset_not_found"} {
		if a := rig.do("POST", "/api/media/"+path+"/repackage", "", key); a.code() != code {
			t.Errorf("%s: %d %s", path, a.StatusCode, a.body)
		}
	}
	if a := rig.do("POST", "/api/media/"+hashA+"/repackage", ""); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("without the API key: %d", a.StatusCode)
	}
	if a := rig.do("GET", "/api/media/"+hashA+"/repackage", "", key); a.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", a.StatusCode)
	}
}
