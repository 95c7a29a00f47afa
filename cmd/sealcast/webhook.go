package main

import (
	"context"
	"errors"

	"github.com/sealcast/sealcast/api"
	"github.com/sealcast/sealcast/internal/webhook"
	"github.com/sealcast/sealcast/worker"
)

// on reports whether webhooks can be signed.
func (c *webhookConfig) on() bool { return c.Secret.reveal() != "" }

func (c *webhookConfig) targets() *webhook.Targets {
	list := make([]webhook.Allow, 0, len(c.Allow))
	for _, a := range c.Allow {
		list = append(list, a.Allow)
	}
	return webhook.NewTargets(list...)
}

func (c *webhookConfig) secrets() []string {
	list := []string{c.Secret.reveal()}
	if before := c.Previous.reveal(); before != "" {
		list = append(list, before)
	}
	return list
}

// newNotifier returns what delivers webhooks, or nil when they are off.
func (p *platform) newNotifier(ctx context.Context) (*worker.Notifier, error) {
	if !p.cfg.Webhook.on() {
		return nil, p.tellOff(ctx)
	}
	signer, err := webhook.NewSigner(p.cfg.Webhook.secrets()...)
	if err != nil {
		return nil, err
	}
	return worker.NewNotifier(worker.NotifierConfig{
		Store:   p.jobs,
		Sender:  webhook.NewClient(webhook.Config{Signer: signer, Targets: p.cfg.Webhook.targets()}),
		Metrics: worker.NewNotifierMetrics(p.registry),
		Log:     p.log,
	}), nil
}

// tellOff warns where that is news: an installation without webhooks is fine,
// one whose receivers wait has lost its secret.
func (p *platform) tellOff(ctx context.Context) error {
	n, _, err := p.jobs.Backlog(ctx)
	if err != nil {
		return err
	}
	if n > 0 {
		p.log.Warn("webhooks wait and are not sent: set WEBHOOK_SECRET", "waiting", n)
	} else {
		p.log.Info("webhooks are off: jobs with a callback_url are refused until WEBHOOK_SECRET is set")
	}
	return nil
}

// webhooks shows the deliveries to the API.
type webhooks struct{ store *worker.JobStore }

// Deliveries implements api.Webhooks.
func (w webhooks) Deliveries(ctx context.Context, jobID string) ([]api.Delivery, error) {
	list, err := w.store.Deliveries(ctx, jobID)
	if err != nil {
		return nil, webhookError(err)
	}
	out := make([]api.Delivery, 0, len(list))
	for _, d := range list {
		out = append(out, deliveryForAPI(d))
	}
	return out, nil
}

// Redeliver implements api.Webhooks.
func (w webhooks) Redeliver(ctx context.Context, jobID, delivery string) (api.Delivery, error) {
	d, err := w.store.Redeliver(ctx, jobID, delivery)
	return deliveryForAPI(d), webhookError(err)
}

func webhookError(err error) error {
	switch {
	case errors.Is(err, worker.ErrJobNotFound):
		return api.ErrNotFound
	case errors.Is(err, worker.ErrDeliveryNotFound):
		return api.ErrDeliveryNotFound
	}
	return err
}

func deliveryForAPI(d worker.Delivery) api.Delivery {
	out := api.Delivery{
		ID: d.ID, Type: d.Type, State: d.State, CreatedAt: d.CreatedAt,
		NextAttemptAt: d.NextAt, EndedAt: d.EndedAt,
	}
	for _, a := range d.Attempts {
		tried := api.DeliveryAttempt{StartedAt: a.StartedAt, Seconds: a.Seconds, Status: a.Status}
		if a.Error != "" {
			tried.Error = &a.Error
		}
		out.Attempts = append(out.Attempts, tried)
	}
	return out
}
