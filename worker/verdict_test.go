package worker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/pipeline"
)

func TestJudge(t *testing.T) {
	permanent := &pipeline.Error{Code: "source_empty", Message: "Empty.", Permanent: true}
	transient := fmt.Errorf("wrapped: %w", &pipeline.Error{Code: "store_unavailable", Message: "Away.", Err: errors.New("10.0.0.1")})
	hungry := fmt.Errorf("wrapped: %w", &pipeline.Error{Code: pipeline.CodeOutOfMemory, Message: "Hungry."})
	for _, c := range []struct {
		name       string
		err, cause error
		failures   int
		outcome    string
		code       string
		light      bool // the attempt was
	}{
		{"success", nil, nil, 0, outcomeSucceeded, "", false},
		{"success although shutting down", nil, errDraining, 0, outcomeSucceeded, "", false},
		{"success although the fence is seen lost after COMMIT", nil, errFenceLost, 0, outcomeSucceeded, "", false},
		{"permanent", permanent, nil, 0, outcomeFailed, "source_empty", false},
		{"transient", transient, nil, 0, outcomeRetried, "store_unavailable", false},
		{"transient, second time", transient, nil, 1, outcomeRetried, "store_unavailable", false},
		{"transient, last time", transient, nil, 2, outcomeFailed, "store_unavailable", false},
		{"children killed by a shutdown", permanent, errDraining, 2, outcomeReleased, "", false},
		{"children killed by a lost fence", permanent, errFenceLost, 2, outcomeFenced, "", false},
		{"children killed by self-fencing", transient, errSelfFenced, 0, outcomeFenced, "", false},
		{"fenced at publication", fmt.Errorf("publish: %w", ErrFenced), nil, 0, outcomeFenced, "", false},
		{"fenced at publication while shutting down", fmt.Errorf("publish: %w", ErrFenced), errDraining, 0, outcomeFenced, "", false},
		{"commit unknown", fmt.Errorf("%w: %w", errCommitUnknown, context.DeadlineExceeded), errDraining, 0, outcomeFenced, "", false},
		{"sealed", errSealed(true), nil, 0, outcomeFailed, CodeEncryptionSealed, false},
		{"key store away", fmt.Errorf("x: %w", keystore.ErrUnavailable), nil, 0, outcomeRetried, "key_unavailable", false},
		{"panic", errPanic, nil, 0, outcomeRetried, "internal_error", false},
		{"anything else", errors.New("row of 10.0.0.1"), nil, 0, outcomeRetried, "internal_error", false},
		{"out of memory", hungry, nil, 0, outcomeRetried, "out_of_memory", false},
		{"out of memory, last time", hungry, nil, 2, outcomeRetried, "out_of_memory", false},
		{"out of memory although light", hungry, nil, 1, outcomeFailed, "out_of_memory", true},
		{"out of memory while shutting down", hungry, errDraining, 0, outcomeReleased, "", false},
		{"another fault of a light attempt", transient, nil, 1, outcomeRetried, "store_unavailable", true},
		{"cancelled", transient, errCancelled, 0, outcomeCancelled, "", false},
		{"cancelled at publication", fmt.Errorf("publish: %w", errCancelled), nil, 0, outcomeCancelled, "", false},
		{"cancelled while shutting down", permanent, errCancelled, 0, outcomeCancelled, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := judge(c.err, c.cause, c.failures, 3, c.light, 5*time.Second)
			if v.outcome != c.outcome || v.code != c.code {
				t.Errorf("got %+v, want %s %s", v, c.outcome, c.code)
			}
			if (v.code == "") != (v.message == "") {
				t.Errorf("code %q with message %q", v.code, v.message)
			}
			if v.light != (c.outcome == outcomeRetried && c.code == "out_of_memory") {
				t.Errorf("light %v", v.light)
			}
			least := 5 * time.Second << c.failures
			if c.outcome == outcomeRetried && (v.delay < least || v.delay > least+least/4) {
				t.Errorf("retried after %v, want %v plus up to a quarter", v.delay, least)
			}
		})
	}
}

func TestRetryDelayIsBounded(t *testing.T) {
	for _, n := range []int{0, 10, 15, 16, 63, 1 << 30} {
		if d := retryDelay(n, 5*time.Second); d <= 0 || d > 13*time.Minute {
			t.Errorf("after %d failures: %v", n, d)
		}
	}
}

func TestRefuseKeepsTheReason(t *testing.T) {
	err := refuse(badPayload("why"))
	var bad *RequestError
	if !errors.Is(err, asynq.SkipRetry) || !errors.As(err, &bad) || bad.Message != "why" {
		t.Error(err)
	}
}

func TestTransitions(t *testing.T) {
	for _, final := range []State{StateSucceeded, StateFailed, StateCancelled} {
		retryable := final != StateSucceeded
		if !final.Final() || final.CanBecome(StateQueued) != retryable || final.CanBecome(StateRunning) || final.CanBecome(final) {
			t.Errorf("%s is not final", final)
		}
	}
	if StateQueued.CanBecome(StateSucceeded) || !StateQueued.CanBecome(StateRunning) || StateQueued.Final() || StateRunning.Final() {
		t.Error("queued or running")
	}
}
