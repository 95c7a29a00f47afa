package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func (r *rig) apiKey() string { return "X-API-Key: " + r.env["API_KEY"] }

// put stores an object of n bytes in the source bucket and returns its key.
func (r *rig) put(n int) string {
	r.t.Helper()
	key := "uploads/" + randomHex(8)
	if _, err := r.source.Put(r.t.Context(), key, make([]byte, n), "", ""); err != nil {
		r.t.Fatal(err)
	}
	return key
}

// What the source is decides before anything is queued.
func TestE2EAdmission(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.env["MAX_SOURCE_BYTES"], r.env["LARGE_SOURCE_BYTES"] = "2000", "1000"
	line := newRelay(t, strings.TrimPrefix(r.env["S3_ENDPOINT"], "http://"))
	r.env["S3_ENDPOINT"] = "http://" + line.Addr().String()
	r.ready(r.start([]string{"api"}))
	hash := func() string { return randomHex(32) }

	if a := r.submit("video:transcode", hash(), "uploads/nothing", "{}"); a.status != http.StatusUnprocessableEntity || a.code() != "source_not_found" {
		t.Errorf("a missing source: %d %s", a.status, a.body)
	}
	if a := r.submit("video:transcode", hash(), r.put(2001), "{}"); a.status != http.StatusRequestEntityTooLarge || a.code() != "source_too_large" {
		t.Errorf("a source that is too large: %d %s", a.status, a.body)
	}
	if n := r.count(`SELECT count(*) FROM jobs`); n != 0 {
		t.Errorf("%d jobs of refused requests", n)
	}
	known, source := hash(), r.put(999)
	for size, queue := range map[int]string{1000: "video:large", 2000: "video:large", 999: "default"} {
		h, key := hash(), r.put(size)
		if size == 999 {
			h, key = known, source
		}
		id := r.accepted(r.submit("video:transcode", h, key, "{}"))
		if n := r.count(`SELECT count(*) FROM jobs WHERE id = $1 AND queue = $2`, id, queue); n != 1 {
			t.Errorf("%d bytes: not in the queue %s", size, queue)
		}
	}

	// A job that is known needs no look at its source; any other one does.
	line.cut()
	r.accepted(r.submit("video:transcode", known, source, "{}"))
	if a := r.submit("video:transcode", hash(), source, "{}"); a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
		t.Errorf("the store is away: %d %s", a.status, a.body)
	}
}

func TestE2EIdempotencyKeyAndList(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.ready(r.start([]string{"api"}))
	source, hash := r.put(10), randomHex(32)
	post := func(kind, key string) answer {
		body := `{"type":"` + kind + `","hash":"` + hash + `","source":"` + source + `"}`
		if kind == "video:full" { // without parts, which are jobs, too
			body = strings.TrimSuffix(body, "}") + `,"options":{"cover":false,"preview":false,"storyboard":false,"text":false}}`
		}
		return r.do("POST", "/api/jobs", body, "Content-Type: application/json", r.apiKey(), "Idempotency-Key: "+key)
	}
	ids := make(chan string, 8)
	var wg sync.WaitGroup
	for range cap(ids) {
		wg.Go(func() { ids <- r.accepted(post("video:transcode", "k1")) })
	}
	wg.Wait()
	close(ids)
	id := <-ids
	for other := range ids {
		if other != id {
			t.Fatalf("%s and %s", id, other)
		}
	}
	if a := post("video:full", "k1"); a.status != http.StatusConflict || a.code() != "idempotency_key_reused" {
		t.Errorf("another request: %d %s", a.status, a.body)
	}
	if _, err := r.db.Exec(t.Context(), `UPDATE jobs SET state = 'failed', error_code = 'x', finished_at = now() WHERE id = $1`, id); err != nil {
		t.Fatal(err)
	}
	if again := r.accepted(post("video:transcode", "k1")); again != id {
		t.Error("another job after the failure")
	}
	full := r.accepted(post("video:full", "k2"))

	var page struct {
		Jobs       []fullJob
		NextCursor string `json:"next_cursor"`
	}
	list := func(query string) []fullJob {
		t.Helper()
		a := r.do("GET", "/api/jobs?"+query, "", r.apiKey())
		page.NextCursor = ""
		if err := json.Unmarshal(a.body, &page); err != nil || a.status != http.StatusOK {
			t.Fatalf("%s: %d %s", query, a.status, a.body)
		}
		return page.Jobs
	}
	if jobs := list("limit=1"); len(jobs) != 1 || jobs[0].ID != full {
		t.Errorf("first page: %+v", jobs)
	}
	if jobs := list("limit=1&cursor=" + page.NextCursor); len(jobs) != 1 || jobs[0].ID != id || page.NextCursor != "" {
		t.Errorf("second page: %+v, cursor %q", jobs, page.NextCursor)
	}
	if jobs := list("state=failed,running&hash=" + hash); len(jobs) != 1 || jobs[0].ID != id {
		t.Errorf("failed: %+v", jobs)
	}
	if jobs := list("type=video:full&state=failed"); len(jobs) != 0 {
		t.Errorf("none: %+v", jobs)
	}
}

// events reads a job's stream to its end and returns every document.
func (r *rig) events(id string) (docs []fullJob) {
	r.t.Helper()
	resp, err := http.DefaultClient.Do(r.request("/api/jobs/" + id + "/events"))
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	for in := bufio.NewReader(resp.Body); ; {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return docs
		}
		if err != nil {
			r.t.Fatal(err)
		}
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var j fullJob
			if err := json.Unmarshal([]byte(data), &j); err != nil {
				r.t.Fatal(err)
			}
			docs = append(docs, j)
		}
	}
}

// A title is followed by its events, taken off, and submitted again.
func TestE2EEventsAndDeletion(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	p := r.serve()
	hash, source := r.upload(clip(t, "320x240", 3))
	id := r.accepted(r.submit("video:transcode", hash, source, `{"outputs":["cmaf"]}`))
	docs := r.events(id)
	if len(docs) < 2 {
		t.Fatalf("events: %+v", docs)
	}
	job := docs[len(docs)-1]
	if job.State != "succeeded" || job.Progress != 100 || len(job.Results) == 0 {
		t.Fatalf("last event: %+v", job)
	}
	r.play(job)
	bearer := "Authorization: Bearer " + r.token(hash, time.Minute)
	before := r.do("GET", "/api/key/"+hash, "", bearer)

	a := r.do("DELETE", "/api/media/"+hash, "", r.apiKey())
	if a.status != http.StatusAccepted || !strings.Contains(string(a.body), `"generations":1,"keys_shredded":1`) {
		t.Fatalf("delete: %d %s", a.status, a.body)
	}
	if a := r.do("GET", "/stream/"+hash+"/master.m3u8", ""); a.status != http.StatusNotFound {
		t.Errorf("entry document: %d", a.status)
	}
	if a := r.do("GET", "/api/key/"+hash, "", bearer); a.status != http.StatusNotFound || a.code() != "no_key" {
		t.Errorf("key: %d %s", a.status, a.body)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		objects, err := r.media.List(t.Context(), "stream/"+hash+"/")
		if err == nil && len(objects) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d objects are left, %v", len(objects), err)
		}
	}
	if a := r.do("DELETE", "/api/media/"+randomHex(32), "", r.apiKey()); a.status != http.StatusNotFound || a.code() != "asset_not_found" {
		t.Errorf("unknown asset: %d %s", a.status, a.body)
	}

	again := r.succeeded(r.accepted(r.submit("video:transcode", hash, source, `{"outputs":["cmaf"]}`)))
	if again.ID == id {
		t.Fatal("the deleted asset's job stands for the new request")
	}
	r.play(again)
	if after := r.do("GET", "/api/key/"+hash, "", bearer); after.status != http.StatusOK || string(after.body) == string(before.body) {
		t.Errorf("the key after it came back: %d", after.status)
	}

	// SIGTERM ends open streams, and with them the process, in good order.
	waiting := r.accepted(r.submit("video:transcode", hash, source, `{"outputs":["ts"]}`))
	resp, err := http.DefaultClient.Do(r.request("/api/jobs/" + waiting + "/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p.stop(t)
	if _, err := io.ReadAll(resp.Body); err != nil {
		t.Errorf("the stream was cut: %v", err)
	}
	if out := p.out.String(); strings.Contains(out, "requests were cut off") || p.cmd.ProcessState.ExitCode() != 0 {
		t.Errorf("ended with %v", p.cmd.ProcessState)
	}
}

func (r *rig) request(path string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), "GET", r.url(path), nil)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("X-API-Key", r.env["API_KEY"])
	return req
}
