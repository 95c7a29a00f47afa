package worker

import (
	"net/http"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/webhook"
)

// A shutdown puts the attempt back, and does not wait for a hanging receiver.
func TestWebhookShutdown(t *testing.T) {
	h := newHouse(t)
	release := make(chan struct{})
	r := newReceiver(t, func(_ letter, _ http.ResponseWriter, _ *http.Request) { <-release })
	h.ended("a", r.URL, false)
	stop := h.notifier(func(c *NotifierConfig) { c.Drain = time.Millisecond })
	first := r.next(t)
	stop()
	d := h.deliveries("a")[0]
	if d.State != deliveryPending || d.Attempts[0].Error != webhook.ErrorInterrupted || count(h, `SELECT tries FROM webhook_deliveries`) != 0 {
		t.Errorf("%+v", d)
	}
	close(release)
	h.notifier(nil)
	if again := r.next(t); again.ID != first.ID {
		t.Errorf("%s, then %s", first.ID, again.ID)
	}
	h.awaitDelivery("a", 0, deliveryDelivered)
}

const notifierDSN = "SEALCAST_TEST_NOTIFIER_DSN"

// TestNotifierProcess is the process that TestWebhookKilled kills.
func TestNotifierProcess(t *testing.T) {
	dsn := os.Getenv(notifierDSN)
	if dsn == "" {
		return
	}
	pool, err := pgxpool.New(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	_ = NewNotifier(NotifierConfig{Store: NewJobStore(pool), Sender: sender(t, newSecret), Lease: 500 * time.Millisecond}).Run(t.Context())
}

// A process that dies between sending and recording sends again, with the
// same id; the attempt that nobody ended is shown as lost.
func TestWebhookKilled(t *testing.T) {
	h := newHouse(t)
	child := exec.Command(os.Args[0], "-test.run=^TestNotifierProcess$")
	child.Env = append(os.Environ(), notifierDSN+"="+h.dsn)
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, died := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r := newReceiver(t, func(letter, http.ResponseWriter, *http.Request) {
		once.Do(func() { // the first reply is never seen
			<-started
			_ = child.Process.Kill()
			_ = child.Wait()
			close(died)
		})
	})
	h.ended("a", r.URL, false)
	err := child.Start()
	close(started)
	if err != nil {
		t.Fatal(err)
	}
	first := r.next(t)
	<-died
	if d := h.deliveries("a")[0]; d.State != deliveryPending || len(d.Attempts) != 1 || d.Attempts[0].Seconds != nil {
		t.Fatalf("%+v", d)
	}
	h.notifier(nil)
	if second := r.next(t); second.ID != first.ID || string(second.Body) != string(first.Body) {
		t.Errorf("%+v, want %+v", second, first)
	}
	if d := h.awaitDelivery("a", 0, deliveryDelivered); len(d.Attempts) != 2 || d.Attempts[0].Error != attemptLost {
		t.Errorf("%+v", d)
	}
}
