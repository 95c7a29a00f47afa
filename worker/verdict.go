package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/hibiken/asynq"

	"github.com/sealcast/sealcast/internal/webhook"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/pipeline"
)

const defaultMaxAttempts = 3

// verdict says what becomes of an attempt.
type verdict struct {
	outcome string // one of the outcome constants
	code    string // failed and retried
	message string
	delay   time.Duration // retried
	light   bool          // retried: with less memory
}

// judge is the only mapper from errors to the fate of a job. err is what the
// attempt returned; cause is why its context ended, if it did. What breaks
// while the children are being killed says nothing about the job, so the
// cause comes first. light says that the attempt made do with less memory: it
// is the one more chance of a job that ran out of it, also beyond maxAttempts.
func judge(err, cause error, failures, maxAttempts int, light bool, backoff time.Duration) verdict {
	switch {
	case err == nil:
		return verdict{outcome: outcomeSucceeded}
	case errors.Is(err, errCancelled), errors.Is(cause, errCancelled):
		return verdict{outcome: outcomeCancelled}
	case errors.Is(err, ErrFenced), errors.Is(cause, errFenceLost), errors.Is(cause, errSelfFenced):
		return verdict{outcome: outcomeFenced}
	case errors.Is(err, errCommitUnknown):
		return verdict{outcome: outcomeFenced} // the row or the reaper decides
	case errors.Is(cause, errDraining), errors.Is(err, errOtherFilm):
		return verdict{outcome: outcomeReleased}
	}
	code, message, permanent := describe(err)
	if code == pipeline.CodeOutOfMemory {
		if !light {
			return verdict{outcome: outcomeRetried, code: code, message: message, delay: retryDelay(failures, backoff), light: true}
		}
		permanent = true
	}
	if permanent || failures+1 >= maxAttempts {
		return verdict{outcome: outcomeFailed, code: code, message: message}
	}
	return verdict{outcome: outcomeRetried, code: code, message: message, delay: retryDelay(failures, backoff)}
}

// describe gives what a stranger may know, and whether another attempt would
// fail the same way.
func describe(err error) (code, message string, permanent bool) {
	var request *RequestError
	var media *pipeline.Error
	switch {
	case errors.As(err, &request):
		return request.Code, request.Message, true
	case errors.As(err, &media):
		return media.Code, media.Message, media.Permanent
	case errors.Is(err, errPanic):
		return "internal_error", "The attempt ended with an internal error.", false
	case errors.Is(err, keystore.ErrUnavailable), errors.Is(err, keystore.ErrIntegrity), errors.Is(err, keystore.ErrConflict),
		errors.Is(err, keystore.ErrKEKMissing), errors.Is(err, keystore.ErrKEKExhausted), errors.Is(err, keystore.ErrNotFound):
		return pipeline.CodeKeyUnavailable, "The content key could not be issued or read.", false
	}
	return "internal_error", "The attempt could not be carried out.", false
}

// retryDelay is backoff·2^failures, at most 10 min, plus up to a quarter.
func retryDelay(failures int, backoff time.Duration) time.Duration {
	const most = 10 * time.Minute
	d := most
	if failures < 16 {
		d = min(most, backoff<<failures)
	}
	return d + rand.N(d/4+1)
}

// refuse tells asynq never to run a task again: it is archived with the text,
// where an operator can read it.
func refuse(why *RequestError) error { return fmt.Errorf("%w: %w", why, asynq.SkipRetry) }

// keepMark begins the text of every error with which a task is given up that
// must not be lost. Where its retries are used up asynq archives it all the
// same; rescue brings it back.
const keepMark = "not adopted yet: "

func notAdopted(err error) error { return fmt.Errorf("%s%w", keepMark, err) }

// keepable says whether an archived task is there by accident: its handler had
// no answer, or its worker died. Refused tasks stay.
func keepable(lastErr string) bool {
	return strings.HasPrefix(lastErr, keepMark) || lastErr == asynq.ErrLeaseExpired.Error()
}

// errLater tells asynq to ring again soon.
var errLater = errors.New("not now")

// isFailure tells asynq which errors use up a task's retries: none of ours,
// because a retry means only that a dependency was away.
func isFailure(error) bool { return false }

// askAgainDelay is when asynq rings again after an error.
func askAgainDelay(int, error, *asynq.Task) time.Duration {
	return time.Second + rand.N(time.Second)
}

// record writes an outcome even though the attempt's context has ended. It
// tries for a while, because a lost record costs a whole attempt.
func record(ctx context.Context, write func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*queryTimeout)
	defer cancel()
	for {
		err := write(ctx)
		if err == nil || errors.Is(err, ErrFenced) {
			return err
		}
		if !sleep(ctx, 250*time.Millisecond) {
			return err
		}
	}
}

// deliveryPauses are the pauses after each failed try to deliver a webhook:
// 11 tries in about 24 h.
var deliveryPauses = []time.Duration{
	5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour, 6 * time.Hour, 10 * time.Hour,
}

// judgeDelivery says what becomes of a webhook after its tries-th try, and how
// long a pending one waits: up to a tenth more or less than its pause, so that
// receivers which come back are not met by everything at once.
func judgeDelivery(r webhook.Result, tries int) (state string, pause time.Duration) {
	switch {
	case r.Delivered():
		return deliveryDelivered, 0
	case r.Error == webhook.ErrorInterrupted:
		return deliveryPending, 0
	case r.Status == http.StatusGone, tries > len(deliveryPauses):
		return deliveryDead, 0
	}
	pause = deliveryPauses[max(tries, 1)-1]
	return deliveryPending, pause - pause/10 + rand.N(pause/5)
}
