package worker

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sealcast/sealcast/internal/webhook"
)

const (
	newSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	oldSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
)

func TestWebhooksArrive(t *testing.T) {
	h := newHouse(t)
	r := newReceiver(t, nil)
	reg := prometheus.NewRegistry()
	m := NewNotifierMetrics(reg)
	if err := RegisterBacklog(reg, h.store, NewMetrics(nil)); err != nil {
		t.Fatal(err)
	}
	h.ended("a", r.URL+"/hook?token=1", true)
	if n, age, err := h.store.Backlog(t.Context()); n != 2 || age <= 0 || err != nil {
		t.Errorf("backlog %d, %v, %v", n, age, err)
	}
	h.notifier(func(c *NotifierConfig) { c.Metrics, c.Sender = m, sender(t, newSecret, oldSecret) })
	first, second := r.next(t), r.next(t)
	if first.Type != "job.started" || second.Type != "job.failed" || second.Job != "a" {
		t.Errorf("%s, %s of %s", first.Type, second.Type, second.Job)
	}
	// While secrets are rotated a receiver may have either.
	for _, secret := range []string{newSecret, oldSecret} {
		if !verified(first, secret) || !verified(second, secret) {
			t.Errorf("not verified with %s", secret)
		}
	}
	if forged := (letter{Header: first.Header, Body: second.Body}); verified(forged, newSecret) {
		t.Error("a body under another's signature is verified")
	}
	d := h.awaitDelivery("a", 1, deliveryDelivered)
	if d.ID != second.ID || d.EndedAt == nil || d.NextAt != nil || len(d.Attempts) != 1 || *d.Attempts[0].Status != 200 || *d.Attempts[0].Seconds <= 0 || d.Attempts[0].Error != "" {
		t.Errorf("%+v", d)
	}
	h.eventually("both are counted", func() bool {
		return testutil.ToFloat64(m.attempts.WithLabelValues("job.started", "delivered"))+testutil.ToFloat64(m.attempts.WithLabelValues("job.failed", "delivered")) == 2
	})
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("metrics: %v %v", problems, err)
	}
	if n, err := testutil.GatherAndCount(reg, "sealcast_webhook_backlog", "sealcast_webhook_backlog_age_seconds"); n != 2 || err != nil {
		t.Errorf("%d backlog metrics, %v", n, err)
	}

	// Again by hand: the same id and body under a new signature.
	if _, err := h.store.Redeliver(t.Context(), "a", d.ID); err != nil {
		t.Fatal(err)
	}
	if again := r.next(t); again.ID != second.ID || string(again.Body) != string(second.Body) || !verified(again, newSecret) {
		t.Errorf("again: %+v", again)
	}
	for _, id := range []string{first.ID[:35] + "x", "00000000-0000-4000-8000-000000000000"} {
		if _, err := h.store.Redeliver(t.Context(), "a", id); !errors.Is(err, ErrDeliveryNotFound) {
			t.Errorf("%s: %v", id, err)
		}
	}
	if _, err := h.store.Redeliver(t.Context(), "b", d.ID); !errors.Is(err, ErrDeliveryNotFound) {
		t.Errorf("of another job: %v", err)
	}
	if _, err := h.store.Deliveries(t.Context(), "b"); !errors.Is(err, ErrJobNotFound) {
		t.Errorf("of no job: %v", err)
	}
}

// A failure is tried again under the same id, and holds back what comes after.
func TestWebhookRetry(t *testing.T) {
	h := newHouse(t)
	var mu sync.Mutex
	failures := 2
	r := newReceiver(t, func(_ letter, w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if failures--; failures >= 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	h.ended("a", r.URL, true)
	h.notifier(nil)
	var ids []string
	for range 3 {
		l := r.next(t)
		if ids = append(ids, l.ID); l.Type != "job.started" || l.ID != ids[0] {
			t.Fatalf("%s %s", l.Type, l.ID)
		}
		h.eventually("the attempt is recorded", func() bool {
			d := h.deliveries("a")[0]
			return len(d.Attempts) == len(ids) && d.Attempts[len(ids)-1].Seconds != nil
		})
		h.dueNow()
	}
	if l := r.next(t); l.Type != "job.failed" {
		t.Errorf("%s", l.Type)
	}
	d := h.awaitDelivery("a", 0, deliveryDelivered)
	if len(d.Attempts) != 3 || *d.Attempts[0].Status != 500 || *d.Attempts[2].Status != 200 {
		t.Errorf("%+v", d.Attempts)
	}
}

// An event that a receiver never takes stops neither the others nor for ever.
func TestWebhookThatIsNeverTaken(t *testing.T) {
	h := newHouse(t)
	r := newReceiver(t, func(l letter, w http.ResponseWriter, _ *http.Request) {
		if l.Type == "job.started" {
			w.WriteHeader(http.StatusBadRequest)
		}
	})
	h.ended("a", r.URL, true)
	h.notifier(nil)
	tries := 0
	h.eventually("it is given up", func() bool {
		list := h.deliveries("a")
		tries = len(list[0].Attempts)
		if list[1].State != deliveryPending && tries < heldBackFor {
			t.Errorf("the next one went out after %d tries", tries)
		}
		if list[0].NextAt != nil && list[0].Attempts != nil && list[0].Attempts[tries-1].Seconds != nil {
			h.dueNow()
		}
		return list[0].State == deliveryDead
	})
	if want := len(deliveryPauses) + 1; tries != want {
		t.Errorf("%d tries, want %d", tries, want)
	}
	h.awaitDelivery("a", 1, deliveryDelivered)
}

// One receiver that hangs holds up itself alone.
func TestWebhookHangingReceiver(t *testing.T) {
	h := newHouse(t)
	release := make(chan struct{})
	bad := newReceiver(t, func(_ letter, _ http.ResponseWriter, req *http.Request) {
		select {
		case <-release:
		case <-req.Context().Done():
		}
	})
	good := newReceiver(t, nil)
	for i := range 30 {
		h.ended(fmt.Sprint("bad-", i), bad.URL, false)
	}
	h.ended("good", good.URL, true)
	h.notifier(func(c *NotifierConfig) { c.Parallel = 4 })
	good.next(t)
	good.next(t)
	h.awaitDelivery("good", 1, deliveryDelivered)
	if n := len(bad.arrived); n > 2 {
		t.Errorf("%d at once to one host", n)
	}
	close(release)
	for range 30 {
		bad.next(t)
	}
}

// 410 Gone: nothing more of this job, until somebody asks for it.
func TestWebhookGone(t *testing.T) {
	h := newHouse(t)
	var mu sync.Mutex
	status := http.StatusGone
	r := newReceiver(t, func(_ letter, w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		w.WriteHeader(status)
	})
	h.ended("a", r.URL, true)
	h.notifier(nil)
	h.awaitDelivery("a", 0, deliveryDead)
	h.awaitDelivery("a", 1, deliveryDead)
	h.exec(`DELETE FROM jobs WHERE id = 'a'`)
	if first := r.next(t); first.Type != "job.started" || len(r.arrived) != 0 {
		t.Errorf("%s, and %d more", first.Type, len(r.arrived))
	}
	h.ended("a", r.URL, false)
	last := h.awaitDelivery("a", 2, deliveryDead)
	mu.Lock()
	status = http.StatusOK
	mu.Unlock()
	if _, err := h.store.Redeliver(t.Context(), "a", last.ID); err != nil {
		t.Fatal(err)
	}
	if l := r.next(t); l.ID != last.ID {
		t.Errorf("%s, want %s", l.ID, last.ID)
	}
	h.awaitDelivery("a", 2, deliveryDelivered)
}

// Where webhooks may not go nothing arrives, and the list says why.
func TestWebhookRefusedTarget(t *testing.T) {
	h := newHouse(t)
	r := newReceiver(t, nil)
	h.ended("a", strings.Replace(r.URL, "127.0.0.1", "[::ffff:127.0.0.1]", 1), false)
	signer, err := webhook.NewSigner(newSecret)
	if err != nil {
		t.Fatal(err)
	}
	h.notifier(func(c *NotifierConfig) {
		c.Sender = webhook.NewClient(webhook.Config{Signer: signer, Targets: &webhook.Targets{}})
	})
	h.eventually("the attempt is recorded", func() bool {
		d := h.deliveries("a")[0]
		return len(d.Attempts) == 1 && d.Attempts[0].Error == webhook.ErrorRefused && d.State == deliveryPending
	})
	if len(r.arrived) != 0 {
		t.Error("something arrived")
	}
}

func TestWebhooksAreForgotten(t *testing.T) {
	h := newHouse(t)
	r := newReceiver(t, nil)
	h.ended("a", r.URL, false)
	stop := h.notifier(nil)
	h.awaitDelivery("a", 0, deliveryDelivered)
	stop()
	h.ended("b", r.URL, false)
	for _, keep := range []time.Duration{time.Hour, 0} {
		if err := h.store.forgetDeliveries(t.Context(), keep); err != nil {
			t.Fatal(err)
		}
		if n, want := count(h, `SELECT count(*) FROM webhook_attempts`), int(keep/time.Hour); n != want {
			t.Errorf("%d attempts after %v, want %d", n, keep, want)
		}
	}
	if n := count(h, `SELECT count(*) FROM webhook_deliveries`); n != 1 {
		t.Errorf("%d deliveries, one of them undelivered", n)
	}
}

// Submission refuses what could never be delivered, for every way in.
func TestCallbackIsCheckedAtSubmission(t *testing.T) {
	h := newHouse(t)
	with := func(url string) Submission {
		s := request(1, "")
		s.CallbackURL = url
		return s
	}
	on := h.store.WithCallbacks(&webhook.Targets{})
	for _, c := range []struct {
		store     *JobStore
		url, code string
	}{
		{h.store, "https://cms.example/", CodeWebhooksOff},
		{h.store, "", ""},
		{on, "http://cms.example/", CodeCallbackRefused},
		{on, "https://169.254.169.254/", CodeCallbackRefused},
		{on, "https://localhost/", CodeCallbackRefused},
		{on, "https://cms.example/", ""},
	} {
		_, _, err := c.store.Submit(t.Context(), with(c.url), "")
		var bad *RequestError
		if errors.As(err, &bad); (bad == nil) != (c.code == "") || (bad != nil && bad.Code != c.code) {
			t.Errorf("%q: %v, want %q", c.url, err, c.code)
		}
	}

	// A queue task is recorded with the reason.
	d, _ := h.dispatcher(nil)
	h.worker(newScript(), func(c *Config) { c.Store, c.Wake = on, d.Wake })
	h.enqueue(TypeTranscode, []byte(`{"hash":"`+request(2, "").Hash+`","source":"x","callback_url":"https://10.0.0.1/"}`))
	h.eventually("it is recorded", func() bool {
		return count(h, `SELECT count(*) FROM jobs WHERE error_code = 'callback_refused' AND state = 'failed' AND error_message LIKE '%callback_url%'`) == 1
	})
}

func TestJudgeDelivery(t *testing.T) {
	all := time.Duration(0)
	for tries := range deliveryPauses {
		state, pause := judgeDelivery(webhook.Result{Status: 500}, tries+1)
		want := deliveryPauses[tries]
		if state != deliveryPending || pause < want-want/10 || pause > want+want/10 {
			t.Errorf("try %d: %s, %v", tries+1, state, pause)
		}
		all += want
	}
	if all < 23*time.Hour || all > 25*time.Hour {
		t.Errorf("%v of tries", all)
	}
	for _, c := range []struct {
		r     webhook.Result
		tries int
		want  string
	}{
		{webhook.Result{Status: 204}, 1, deliveryDelivered},
		{webhook.Result{Status: 302}, 1, deliveryPending},
		{webhook.Result{Status: 410}, 1, deliveryDead},
		{webhook.Result{Error: webhook.ErrorTimeout}, 10, deliveryPending},
		{webhook.Result{Error: webhook.ErrorTimeout}, 11, deliveryDead},
		{webhook.Result{Status: 204}, 99, deliveryDelivered},
		{webhook.Result{Error: webhook.ErrorInterrupted}, 99, deliveryPending},
	} {
		if state, _ := judgeDelivery(c.r, c.tries); state != c.want {
			t.Errorf("%+v: %s, want %s", c, state, c.want)
		}
	}
}
