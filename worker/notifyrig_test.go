package worker

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/webhook"
)

// letter is a webhook as a receiver sees it.
type letter struct {
	ID, Type, Job string
	Header        http.Header
	Body          []byte
}

// receiver is a server that answers with answer, and tells what arrived.
type receiver struct {
	*httptest.Server
	arrived chan letter
}

func newReceiver(t *testing.T, answer func(letter, http.ResponseWriter, *http.Request)) *receiver {
	r := &receiver{arrived: make(chan letter, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, _ := io.ReadAll(req.Body)
		var event struct {
			Type string
			Data struct{ ID string }
		}
		_ = json.Unmarshal(body, &event)
		l := letter{req.Header.Get("webhook-id"), event.Type, event.Data.ID, req.Header, body}
		r.arrived <- l
		if answer != nil {
			answer(l, w, req)
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) next(t *testing.T) letter {
	t.Helper()
	select {
	case l := <-r.arrived:
		return l
	case <-time.After(patience):
		t.Fatal("nothing arrived")
		return letter{}
	}
}

// verified does what the specification tells receivers to do.
func verified(l letter, secret string) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", l.Header.Get("webhook-id"), l.Header.Get("webhook-timestamp"), l.Body)
	for signature := range strings.SplitSeq(l.Header.Get("webhook-signature"), " ") {
		version, value, _ := strings.Cut(signature, ",")
		given, err := base64.StdEncoding.DecodeString(value)
		if err == nil && version == "v1" && hmac.Equal(given, mac.Sum(nil)) {
			return true
		}
	}
	return false
}

func sender(t testing.TB, secrets ...string) *webhook.Client {
	t.Helper()
	signer, err := webhook.NewSigner(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	loopback, err := webhook.ParseAllow("127.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	return webhook.NewClient(webhook.Config{Signer: signer, Targets: webhook.NewTargets(loopback), Timeout: patience})
}

// notifier runs until stop or the end of the test.
func (h *house) notifier(change func(*NotifierConfig)) (stop func()) {
	cfg := NotifierConfig{Store: h.store, Sender: sender(h.t, newSecret), Log: h.log, Poll: 20 * time.Millisecond, Lease: 2 * patience}
	if change != nil {
		change(&cfg)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = NewNotifier(cfg).Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	h.t.Cleanup(stop)
	return stop
}

// ended puts a job with a callback into the database that has failed, or has
// started and failed.
func (h *house) ended(id, url string, started bool) {
	h.t.Helper()
	s := request(1, "")
	digest := sha256.Sum256([]byte(id))
	h.exec(`INSERT INTO jobs (id, type, queue, hash, source, options, encrypt, request_digest, callback_url) VALUES ($1, $2, 'default', $3, 'x', '{}', true, $4, $5)`,
		id, s.Type, fmt.Sprintf("%x", digest), digest[:], url)
	if started {
		h.exec(`UPDATE jobs SET state = 'running', attempt = 1, lease_until = now() + interval '1 h' WHERE id = $1`, id)
	}
	h.exec(`UPDATE jobs SET state = 'failed', error_code = 'source_empty', error_message = 'The source is empty.', lease_until = NULL, finished_at = now() WHERE id = $1`, id)
}

func (h *house) deliveries(id string) []Delivery {
	h.t.Helper()
	list, err := h.store.Deliveries(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

func (h *house) awaitDelivery(job string, n int, state string) (d Delivery) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("webhook %d of %s is %s", n, job, state), func() bool {
		list := h.deliveries(job)
		if len(list) > n {
			d = list[n]
		}
		return d.State == state
	})
	return d
}

// dueNow ends every pause.
func (h *house) dueNow() { h.exec(`UPDATE webhook_deliveries SET next_at = now()`) }
