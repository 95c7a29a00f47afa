package worker

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/sealcast/sealcast/internal/webhook"
)

// Sender makes one attempt to deliver a message; webhook.Client has it.
type Sender interface {
	Send(context.Context, webhook.Message) webhook.Result
}

// NotifierConfig is what a Notifier needs. Zero values mean the default.
type NotifierConfig struct {
	Store   *JobStore
	Sender  Sender
	Metrics *NotifierMetrics
	Log     *slog.Logger

	Parallel int           // deliveries at once, 16
	PerHost  int           // of them to one host and port, 2: a receiver that hangs holds up itself alone
	Poll     time.Duration // between looks at what is due, 1 s
	Lease    time.Duration // of a delivery whose process may have died; longer than Sender and record take, 45 s
	Drain    time.Duration // how long a shutdown lets attempts go on, 3 s
	KeepFor  time.Duration // how long ended deliveries can be looked at, 30 days
}

// Notifier delivers webhooks: at least once, with the same webhook-id each
// time. What there is to tell is in Postgres, written by triggers in the
// transaction of the change that it tells (migrations, 00005). Any number may
// run side by side.
//
// The events of a job go out in order while the receiver takes them: one is
// held back until those before it are delivered, or have been tried
// heldBackFor times. Then each goes by its own clock, so that an event which a
// receiver never takes does not stop the others.
type Notifier struct {
	cfg   NotifierConfig
	freed chan struct{}

	mu      sync.Mutex
	sending map[string]int // by host
	total   int
}

const heldBackFor = 4 // tries, some three minutes

// NewNotifier returns a notifier that does nothing until Run.
func NewNotifier(cfg NotifierConfig) *Notifier {
	setDefault(&cfg.Parallel, 16)
	setDefault(&cfg.PerHost, 2)
	setDefault(&cfg.Poll, time.Second)
	setDefault(&cfg.Lease, 45*time.Second)
	setDefault(&cfg.Drain, 3*time.Second)
	setDefault(&cfg.KeepFor, 30*24*time.Hour)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewNotifierMetrics(nil)
	}
	return &Notifier{cfg: cfg, freed: make(chan struct{}, 1), sending: map[string]int{}}
}

// Run delivers until ctx ends, and returns nil once nothing is under way.
func (n *Notifier) Run(ctx context.Context) error {
	attempts, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	defer context.AfterFunc(ctx, func() {
		sleep(attempts, n.cfg.Drain)
		end()
	})()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { n.forget(ctx) })
	away := false
	for {
		err := n.begin(ctx, func(d delivery) { wg.Go(func() { n.deliver(attempts, d) }) })
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !away:
			n.cfg.Log.Error("look for webhooks that are due", "error", err)
		case err == nil && away:
			n.cfg.Log.Info("webhooks go on")
		}
		away = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-n.freed:
		case <-time.After(n.cfg.Poll):
		}
	}
}

// begin hands out everything that is due while there are slots.
func (n *Notifier) begin(ctx context.Context, hand func(delivery)) error {
	for {
		busy, full := n.busy()
		if full {
			return nil
		}
		d, ok, err := n.cfg.Store.claimDelivery(ctx, busy, n.cfg.Lease)
		if err != nil || !ok {
			return err
		}
		n.count(d.Host, 1)
		hand(d)
	}
}

// busy lists the hosts that have all their slots taken.
func (n *Notifier) busy() (hosts []string, full bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	hosts = []string{}
	for host, sending := range n.sending {
		if sending >= n.cfg.PerHost {
			hosts = append(hosts, host)
		}
	}
	slices.Sort(hosts)
	return hosts, n.total >= n.cfg.Parallel
}

func (n *Notifier) count(host string, by int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.total += by
	if n.sending[host] += by; n.sending[host] == 0 {
		delete(n.sending, host)
	}
}

// deliver makes one attempt and records it. When it cannot be recorded, the
// lease ends and another attempt is made: rather twice than not at all.
func (n *Notifier) deliver(ctx context.Context, d delivery) {
	defer func() {
		n.count(d.Host, -1)
		select {
		case n.freed <- struct{}{}:
		default:
		}
	}()
	r := n.cfg.Sender.Send(ctx, webhook.Message{ID: d.ID, URL: d.URL, Body: []byte(d.Payload)})
	state, pause := judgeDelivery(r, d.Tries)
	log := n.cfg.Log.With("job_id", d.JobID, "delivery", d.ID, "type", d.Type, "attempt", d.Attempt)
	if err := record(ctx, func(ctx context.Context) error {
		return n.cfg.Store.recordDelivery(ctx, d, r, state, pause)
	}); err != nil {
		log.Error("webhook attempt not recorded, it will be sent again", "error", err)
	}
	n.cfg.Metrics.attempted(d.Type, state, r)
	level := slog.LevelDebug
	switch state {
	case deliveryPending:
		level = slog.LevelWarn
	case deliveryDead:
		level = slog.LevelError
	}
	// The URL stays out: its query may hold the receiver's secrets.
	log.Log(ctx, level, "webhook attempt ended", "state", state, "status", r.Status, "code", r.Error,
		"seconds", r.Duration.Seconds(), "retry_seconds", pause.Seconds(), "error", r.Detail)
}

// forget removes deliveries that ended long ago.
func (n *Notifier) forget(ctx context.Context) {
	for {
		if err := n.cfg.Store.forgetDeliveries(ctx, n.cfg.KeepFor); err != nil && ctx.Err() == nil {
			n.cfg.Log.Warn("old webhooks not removed", "error", err)
		}
		if !sleep(ctx, time.Hour) {
			return
		}
	}
}
