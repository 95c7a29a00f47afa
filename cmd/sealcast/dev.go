package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/sealcast/sealcast/internal/player"
	"github.com/sealcast/sealcast/migrations"
)

const defaultDevDir = ".sealcast"

func devCommand() *command {
	return &command{
		name: "dev", summary: "run everything on this machine, with servers of its own",
		long: `Starts a private Postgres, Redis and MinIO on loopback ports, applies the
migrations, and runs serve and the player page in the foreground. Data, generated
secrets and ports are kept below -dir. For other shells it writes dev.env there:
  . .sealcast/dev.env && sealcast submit film.mp4
Ctrl-C ends all of it within 10 s.`,
		needs: func(c *config) []any { return []any{&c.Log} },
		exits: []int{exitOK, exitFailure, exitUsage, exitInterrupted},
		newFlags: func(fs *flag.FlagSet) action {
			dir := fs.String("dir", defaultDevDir, "`folder` for data, secrets and dev.env")
			return func(ctx context.Context, s *session) error { return dev(ctx, s, *dir) }
		},
	}
}

func dev(ctx context.Context, s *session, dir string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	log := newLogger(s.cfg.Log, s.stderr)
	signalled := ctx
	err = withLocal(ctx, s, dir, log, func(ctx context.Context, l *local) error {
		env := filepath.Join(dir, "dev.env")
		if err := writePrivate(env, l.environ.shell()); err != nil {
			return err
		}
		if l.moved {
			log.Warn("the API's port was taken, so it has another one; titles published before have the old one in their key URIs")
		}
		fmt.Fprintf(s.stdout, `
sealcast runs. Ctrl-C ends it.

  API          %s
  player page  http://%s/
  metrics      http://%s/metrics
  environment  %s

In another shell:
  . %s
  sealcast submit film.mp4

`, l.environ["BASE_URL"], l.playerAddr, l.environ["METRICS_ADDR"], env, shellQuote(env))
		return wait(ctx, signalled)
	})
	return interrupted(ctx, err)
}

// wait waits until everything shall end: nil when that is because of a signal,
// which is how it should be, else what ended by itself.
func wait(ctx, signalled context.Context) error {
	<-ctx.Done()
	if signalled.Err() != nil {
		return nil //nolint:nilerr // told to end: that is no fault
	}
	return context.Cause(ctx)
}

// withLocal runs f beside a private stack, serve and the player page, and ends
// them all when f returns. When one of them ends by itself, f's context ends
// with the reason as its cause. An empty dir means temporary data.
func withLocal(ctx context.Context, s *session, dir string, log *slog.Logger, f func(context.Context, *local) error) (err error) {
	l, err := startLocal(ctx, dir, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stack.Stop()) }()

	environ := maps.Clone(l.environ)
	for _, name := range []string{"LOG_LEVEL", "LOG_FORMAT"} {
		environ[name] = s.environ[name]
	}
	var cfg config
	if _, err := cfg.load(environ, serveNeeds); err != nil {
		return err
	}
	if err := migrations.Apply(ctx, cfg.Database.URL.reveal(), log); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	ready := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cancel(runServices(ctx, &cfg, roles{api: true, work: true}, log, func() { close(ready) }))
	}()
	defer func() { cancel(nil); <-ended }()
	stopPlayer, err := servePlayer(ctx, l, cancel)
	if err != nil {
		return err
	}
	defer stopPlayer()
	go func() {
		select {
		case err := <-l.stack.Died():
			cancel(err)
		case <-ctx.Done():
		}
	}()
	select {
	case <-ready:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	l.cfg = &cfg
	return f(ctx, l)
}

// servePlayer serves the player page on an origin of its own, as a site would.
func servePlayer(ctx context.Context, l *local, failed func(error)) (stop func(), err error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", l.playerAddr)
	if err != nil {
		return nil, fmt.Errorf("player page: %w", err)
	}
	srv := newHTTPServer(player.Handler(l.environ["BASE_URL"]))
	go func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("player page: %w", err))
		}
	}()
	return func() { _ = srv.Close() }, nil
}

// newHTTPServer returns a server with limits for pages and metrics.
func newHTTPServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
	}
}

func shellQuote(path string) string {
	if rel, err := filepath.Rel(mustGetwd(), path); err == nil && len(rel) < len(path) {
		path = rel
	}
	return "'" + path + "'"
}

func mustGetwd() string {
	dir, err := os.Getwd()
	if err != nil {
		return "/"
	}
	return dir
}
