package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/token"
)

// Problem is an answer other than success (RFC 9457). Code is stable and made
// for programs, Detail is one sentence for people; both are fit for strangers.
type Problem struct { //nolint:errname // the word of RFC 9457
	Status     int
	Code       string
	Detail     string
	RetryAfter time.Duration // rounded up to seconds; 0: no such header

	challenge string // WWW-Authenticate
	cause     error  // for the log
}

// Error implements error with the code and, for the log, the cause.
func (p *Problem) Error() string {
	if p.cause != nil {
		return fmt.Sprintf("%s: %v", p.Code, p.cause)
	}
	return p.Code
}

// Unwrap gives the cause.
func (p *Problem) Unwrap() error { return p.cause }

func problem(status int, code, detail string) *Problem {
	return &Problem{Status: status, Code: code, Detail: detail}
}

func tokenRequired() *Problem {
	p := problem(http.StatusUnauthorized, "token_required", "send a playback token as Authorization: Bearer")
	p.challenge = "Bearer"
	return p
}

func ambiguousCredentials() *Problem {
	return problem(http.StatusBadRequest, "ambiguous_credentials", "send exactly one credential")
}

func apiKeyProblem(code, detail string) *Problem {
	p := problem(http.StatusUnauthorized, code, detail)
	p.challenge = "ApiKey"
	return p
}

func notFound() *Problem {
	return problem(http.StatusNotFound, "not_found", "there is nothing here")
}

func assetNotFound() *Problem {
	return problem(http.StatusNotFound, "asset_not_found", "there is no such asset")
}

func webhookNotFound() *Problem {
	return problem(http.StatusNotFound, "webhook_not_found", "the job has no such webhook")
}

func notPublished() *Problem {
	return problem(http.StatusNotFound, "not_published", "the title has no published generation")
}

func rateLimited(after time.Duration) *Problem {
	p := problem(http.StatusTooManyRequests, "rate_limited", "too many key requests")
	p.RetryAfter = max(after, time.Second)
	return p
}

const codeKeyIntegrity = "key_integrity"

func unavailable(cause error) *Problem {
	p := problem(http.StatusServiceUnavailable, "unavailable", "a service that this needs does not answer, try again later")
	p.RetryAfter, p.cause = 5*time.Second, cause
	return p
}

func internalError(cause error) *Problem {
	p := problem(http.StatusInternalServerError, "internal", "this should not have happened")
	p.cause = cause
	return p
}

func invalidRequest(detail string) *Problem {
	return problem(http.StatusBadRequest, "invalid_request", detail)
}

// toProblem is the one map from errors to answers. What it does not know comes
// from a dependency.
func toProblem(err error) *Problem {
	var p *Problem
	var refusal token.Error
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &refusal):
		return problem(http.StatusForbidden, refusal.Code, refusal.Error())
	case errors.Is(err, access.ErrTokenRequired):
		return tokenRequired()
	case errors.Is(err, access.ErrNotFound):
		return notFound()
	case errors.As(err, &tooLarge):
		return problem(http.StatusRequestEntityTooLarge, "body_too_large",
			fmt.Sprintf("the body may have at most %d bytes", tooLarge.Limit))
	case errors.Is(err, keystore.ErrNotFound):
		return problem(http.StatusNotFound, "no_key", "the title has no such key")
	case errors.Is(err, keystore.ErrIntegrity):
		p = problem(http.StatusInternalServerError, codeKeyIntegrity, "the stored key does not open")
		p.cause = err
		return p
	case errors.Is(err, ErrNotFound):
		return notFound()
	default:
		return unavailable(err)
	}
}

// refusals is how a route answers a token that is refused. The systems whose
// routes these are disagree about it.
type refusals int

const (
	refuseForbidden    refusals = iota // /api/…, /stream/…: 403
	refuseUnauthorized                 // /v1/…: 401 where another token would help
	refuseLegacy                       // /video/key/… and its like: 401, for a scope that is missing too
)

// unauthorized are the refusals of a token for what it is, not for what it is for.
var unauthorized = map[string]bool{
	token.CodeTooLarge: true, token.CodeInvalid: true, token.CodeExpired: true, token.CodeNotYetValid: true,
	token.CodeTTLExceeded: true, token.CodeIssuer: true, token.CodeRevoked: true,
}

// status gives a refused token the route's status.
func (f refusals) status(p *Problem) *Problem {
	if p.Status != http.StatusForbidden || f == refuseForbidden {
		return p
	}
	if unauthorized[p.Code] || (f == refuseLegacy && p.Code == token.CodeScope) {
		q := *p
		q.Status, q.challenge = http.StatusUnauthorized, "Bearer"
		return &q
	}
	return p
}

// fail answers with the problem behind err and keeps its cause for the access
// log. Once the answer has begun it can only cut the connection, so that a part
// never looks like the whole.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	p, x := toProblem(err), exchangeOf(r)
	p = x.refuse.status(p)
	if p.Status >= 500 && r.Context().Err() == context.Canceled { //nolint:errorlint // Err gives the bare value
		panic(http.ErrAbortHandler) // the client went away, and that is why it failed
	}
	x.code, x.cause = p.Code, p.cause
	if x.began() {
		panic(http.ErrAbortHandler)
	}
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	if p.challenge != "" {
		h.Set("WWW-Authenticate", p.challenge)
	}
	if p.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	body, _ := json.Marshal(struct {
		Type      string `json:"type"`
		Title     string `json:"title"`
		Status    int    `json:"status"`
		Code      string `json:"code"`
		Detail    string `json:"detail"`
		RequestID string `json:"request_id"`
	}{"about:blank", http.StatusText(p.Status), p.Status, p.Code, p.Detail, x.id})
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(p.Status)
	_, _ = w.Write(body)
}
