package worker

import (
	"errors"

	"github.com/sealcast/sealcast/internal/webhook"
)

// WithCallbacks returns the store with webhooks on: jobs may name a
// callback_url that targets allows. Without it every callback_url is refused,
// because nobody would ever be called back.
func (s *JobStore) WithCallbacks(targets *webhook.Targets) *JobStore {
	with := *s
	with.targets = targets
	return &with
}

// callbackForm refuses what is no URL for a webhook on any server.
func callbackForm(raw string) *RequestError {
	if raw == "" {
		return nil
	}
	_, err := webhook.ParseURL(raw)
	return callbackError(CodePayloadInvalid, err)
}

// checkCallback refuses what this server would not send to.
func (s *JobStore) checkCallback(raw string) *RequestError {
	switch {
	case raw == "":
		return nil
	case s.targets == nil:
		return &RequestError{CodeWebhooksOff, `"callback_url" cannot be served: webhooks are off until the operator sets WEBHOOK_SECRET`}
	}
	return callbackError(CodeCallbackRefused, s.targets.CheckURL(raw))
}

func callbackError(code string, err error) *RequestError {
	var why *webhook.Refusal
	if !errors.As(err, &why) {
		return nil
	}
	return &RequestError{code, `"callback_url" ` + why.Reason}
}
