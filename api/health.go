package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/singleflight"
)

const checkTimeout = 2 * time.Second

// healthz says that the process answers, nothing else.
func (s *server) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readyz says which dependency is up or down, and why only to the log.
func (s *server) readyz(w http.ResponseWriter, r *http.Request) error {
	answer := struct {
		Status string            `json:"status"`
		Checks map[string]string `json:"checks"`
	}{"ok", map[string]string{}}
	status := http.StatusOK
	for name, err := range s.checks.run(r.Context()) {
		answer.Checks[name] = "up"
		if err != nil {
			answer.Checks[name], answer.Status = "down", "unavailable"
			status = http.StatusServiceUnavailable
			w.Header().Set("Retry-After", "5")
		}
	}
	return writeJSON(w, status, answer)
}

// checks run in parallel, each with its own deadline. Requests that come
// together share one run of each, so that a check that ignores its deadline
// holds one goroutine, however often it is asked for.
type checks struct {
	byName map[string]func(context.Context) error
	flight singleflight.Group
	log    *slog.Logger
}

func newChecks(byName map[string]func(context.Context) error, log *slog.Logger) *checks {
	return &checks{byName: byName, log: log}
}

func (c *checks) run(ctx context.Context) map[string]error {
	running := map[string]<-chan singleflight.Result{}
	for name, check := range c.byName {
		running[name] = c.flight.DoChan(name, func() (_ any, err error) {
			defer func() {
				if caught := recover(); caught != nil {
					err = fmt.Errorf("check panicked: %v", caught)
				}
			}()
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), checkTimeout)
			defer cancel()
			return nil, check(ctx)
		})
	}
	deadline := time.NewTimer(checkTimeout + 100*time.Millisecond)
	defer deadline.Stop()
	results := map[string]error{}
	late := false
	for name, ch := range running {
		results[name] = errors.New("no answer in time")
		if late {
			select {
			case res := <-ch:
				results[name] = res.Err
			default:
			}
		} else {
			select {
			case res := <-ch:
				results[name] = res.Err
			case <-deadline.C:
				late = true
			}
		}
		if err := results[name]; err != nil {
			c.log.WarnContext(ctx, "dependency is down", slog.String("dependency", name), slog.Any("error", err))
		}
	}
	return results
}
