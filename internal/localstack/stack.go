// Package localstack starts a private PostgreSQL, Redis and MinIO on free
// loopback ports, for `sealcast dev`, the demo and the tests.
//
// The servers belong to the process that started them: Stop ends them, and when
// the process dies in any other way, SIGKILL included, the kernel ends them.
//
//	Dir/
//	  lock        held by the starting process and by every server (flock)
//	  state.json  credentials and ports, 0600
//	  log/        stdout and stderr of each server
//	  postgres/   root of the database cluster; may be a link, see pgFolder
//	  redis/  minio/
package localstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// startTimeout bounds what one server may take until it answers.
const startTimeout = 90 * time.Second

// region is what MinIO is told to be in; S3 clients want one to sign with.
const region = "us-east-1"

// Config says where a stack keeps its data.
type Config struct {
	// Dir is the data folder. It is created where missing, and kept, so that a
	// later Start finds the same data and credentials. Empty means a temporary
	// folder that Stop removes.
	Dir string
	// Log gets a line for each server that starts, ends or dies. May be nil.
	Log *slog.Logger
}

// Stack is three running servers and what a client needs to reach them.
type Stack struct {
	DatabaseURL string // postgres://… of the empty database "sealcast"
	RedisURL    string // redis://…
	S3Endpoint  string // http://127.0.0.1:port
	S3AccessKey string
	S3SecretKey string
	S3Region    string

	log     *slog.Logger
	folder  *folder
	starter *starter
	died    chan error

	mu       sync.Mutex
	stopping bool
	servers  []*server

	stopOnce sync.Once
	stopErr  error
}

// Start starts the three servers side by side and returns when each of them
// answers. ctx bounds the start only. On error nothing is left running; the
// error names the tools that are missing, or shows the last lines that the
// server which did not come up wrote.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	found, err := findTools()
	if err != nil {
		return nil, err
	}
	folder, err := openFolder(ctx, cfg.Dir)
	if err != nil {
		return nil, err
	}
	s := &Stack{
		S3Region: region,
		log:      log,
		folder:   folder,
		starter:  newStarter(folder.lock),
		died:     make(chan error, 1),
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	group, gctx := errgroup.WithContext(ctx)
	for _, start := range []func(context.Context, tools) error{s.startPostgres, s.startRedis, s.startMinIO} {
		group.Go(func() error { return start(gctx, found) })
	}
	err = group.Wait()
	if err == nil {
		err = folder.save()
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	return s, nil
}

// Died gives one value when a server has ended by itself: which one, and the
// last lines it wrote. Nothing comes when Stop ended it.
func (s *Stack) Died() <-chan error { return s.died }

// Stop ends the servers, within 10 s, and says when a process of theirs is left
// all the same. A temporary data folder is removed. Stop may be called more
// than once and from several goroutines: each call returns when all has ended.
func (s *Stack) Stop() error {
	s.stopOnce.Do(func() { s.stopErr = s.stop() })
	return s.stopErr
}

func (s *Stack) stop() error {
	s.mu.Lock()
	s.stopping = true
	servers := s.servers
	s.mu.Unlock()

	var group errgroup.Group
	for _, srv := range servers {
		group.Go(func() error { return srv.stop(s.log) })
	}
	err := group.Wait()
	s.starter.close()
	return errors.Join(err, s.folder.close())
}

// adopt takes a started server into the stack and watches it.
func (s *Stack) adopt(srv *server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.servers = append(s.servers, srv)
	go s.watch(srv)
}

func (s *Stack) watch(srv *server) {
	<-srv.done
	s.mu.Lock()
	expected := s.stopping || srv.dropped
	s.mu.Unlock()
	if expected {
		return
	}
	err := fmt.Errorf("%s ended by itself: %w", srv.name, srv.failure())
	s.log.Error("server ended by itself", "server", srv.name, "error", err)
	select {
	case s.died <- err:
	default: // one is enough: the first tells what went wrong
	}
}

// drop forgets a server that did not come up, so that its end is no news.
func (s *Stack) drop(srv *server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	srv.dropped = true
}

// FreePort returns a TCP port that was free on 127.0.0.1 a moment ago. It lies
// below the ports that Linux gives to outgoing connections and to listeners who
// do not care (ip_local_port_range, 32768 and up), so that hardly anybody takes
// it in the meantime.
func FreePort() (int, error) {
	const lowest, above, tries = 10240, 32768, 100
	var err error
	for range tries {
		port := lowest + rand.IntN(above-lowest) //nolint:gosec // no secret
		var l net.Listener
		if l, err = net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}
