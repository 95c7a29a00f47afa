package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const e2eWebhookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// called is a webhook that arrived.
type called struct {
	header http.Header
	body   []byte
}

func (c called) verified(t *testing.T) bool {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(e2eWebhookSecret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", c.header.Get("webhook-id"), c.header.Get("webhook-timestamp"), c.body)
	return c.header.Get("webhook-signature") == "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// A job with a callback_url: refused while webhooks are off, told about when
// they are on, with the document that the API shows; and told again by hand.
func TestE2EWebhooks(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	calls := make(chan called, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		calls <- called{req.Header, body}
	}))
	t.Cleanup(receiver.Close)
	next := func() called {
		t.Helper()
		select {
		case c := <-calls:
			return c
		case <-time.After(time.Minute):
			t.Fatal("no webhook arrived")
			return called{}
		}
	}
	key := "X-API-Key: " + r.env["API_KEY"]
	submit := func(callback string) answer {
		body := fmt.Sprintf(`{"type":"video:transcode","hash":%q,"source":"nowhere.mp4","callback_url":%q}`, strings.Repeat("ab", 32), callback)
		return r.do("POST", "/api/jobs", body, "Content-Type: application/json", key)
	}

	off := r.serve()
	if a := submit(receiver.URL); a.status != http.StatusUnprocessableEntity || a.code() != "webhooks_off" || !strings.Contains(string(a.body), "WEBHOOK_SECRET") {
		t.Errorf("without a secret: %d %s", a.status, a.body)
	}
	off.stop(t)

	r.env["WEBHOOK_SECRET"] = e2eWebhookSecret
	r.env["WEBHOOK_ALLOW"] = strings.TrimPrefix(receiver.URL, "http://")
	on := r.serve()
	if a := submit("https://169.254.169.254/latest/"); a.status != http.StatusUnprocessableEntity || a.code() != "callback_refused" {
		t.Errorf("inward: %d %s", a.status, a.body)
	}
	if a := submit("ftp://x.example/"); a.status != http.StatusBadRequest {
		t.Errorf("no URL of the web: %d %s", a.status, a.body)
	}
	id := r.accepted(submit(receiver.URL + "/hook?token=secret-of-the-receiver"))
	started, failed := next(), next()
	var event struct {
		Type string
		Data map[string]any
	}
	if err := json.Unmarshal(failed.body, &event); err != nil || event.Type != "job.failed" || !started.verified(t) || !failed.verified(t) {
		t.Fatalf("%s, %v", failed.body, err)
	}
	// What is told is what the API shows; times may differ in their trailing zeros.
	var shown map[string]any
	if err := json.Unmarshal(r.do("GET", "/api/jobs/"+id, "", key).body, &shown); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"created_at", "started_at", "finished_at"} {
		for _, doc := range []map[string]any{shown, event.Data} {
			parsed, err := time.Parse(time.RFC3339, fmt.Sprint(doc[at]))
			if err != nil {
				t.Fatal(err)
			}
			doc[at] = parsed.UTC().String()
		}
	}
	if diff := cmp.Diff(shown, event.Data); diff != "" {
		t.Errorf("the API's job (-) and the webhook's (+):\n%s", diff)
	}

	var list struct{ Deliveries []struct{ ID, State string } }
	for deadline := time.Now().Add(time.Minute); len(list.Deliveries) != 2 || list.Deliveries[1].State != "delivered"; time.Sleep(50 * time.Millisecond) {
		a := r.do("GET", "/api/jobs/"+id+"/webhooks", "", key)
		if err := json.Unmarshal(a.body, &list); err != nil || a.status != http.StatusOK || time.Now().After(deadline) {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	if a := r.do("POST", "/api/jobs/"+id+"/webhooks/"+list.Deliveries[1].ID+"/redeliver", "", key); a.status != http.StatusAccepted {
		t.Errorf("redeliver: %d %s", a.status, a.body)
	}
	if again := next(); again.header.Get("webhook-id") != list.Deliveries[1].ID || string(again.body) != string(failed.body) {
		t.Errorf("again: %s %s", again.header.Get("webhook-id"), again.body)
	}
	metrics := string(r.do("GET", "http://"+r.env["METRICS_ADDR"]+"/metrics", "").body)
	for _, want := range []string{`sealcast_webhook_deliveries_total{outcome="delivered",type="job.failed"}`, "sealcast_webhook_backlog ", "sealcast_webhook_attempt_duration_seconds_bucket"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no metric %s", want)
		}
	}
	on.stop(t)
	for _, leak := range []string{e2eWebhookSecret[6:], "secret-of-the-receiver"} {
		if strings.Contains(on.out.String()+metrics, leak) {
			t.Errorf("%s is in the log or in the metrics", leak)
		}
	}
}
