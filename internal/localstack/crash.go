package localstack

import (
	"context"
	"fmt"
	"path/filepath"
	"syscall"
)

// The servers of a stack, for Crash and Revive.
const (
	Postgres = "postgres"
	Redis    = "redis"
	MinIO    = "minio"
)

// Crash ends a server without its consent: Redis and MinIO by SIGKILL,
// PostgreSQL by SIGQUIT, which ends all its processes without a checkpoint. It
// returns when the server is gone. For tests.
func (s *Stack) Crash(name string) error {
	s.mu.Lock()
	var srv *server
	for _, one := range s.servers {
		if one.name == name && !one.dropped {
			srv = one
		}
	}
	if srv != nil {
		srv.dropped = true
	}
	s.mu.Unlock()
	if srv == nil {
		return fmt.Errorf("crash %s: it does not run", name)
	}
	pid := srv.cmd.Process.Pid
	if srv.quick == syscall.SIGKILL {
		pid = -pid
	}
	if err := syscall.Kill(pid, srv.quick); err != nil {
		return fmt.Errorf("crash %s: %w", name, err)
	}
	<-srv.done
	return nil
}

// Revive starts a crashed server again on its data and returns when it
// answers. Its URL stays, unless its port was taken meanwhile. For tests.
func (s *Stack) Revive(ctx context.Context, name string) error {
	found, err := findTools()
	if err != nil {
		return err
	}
	start := map[string]func(context.Context, tools) error{
		Postgres: s.startPostgres, Redis: s.startRedis, MinIO: s.startMinIO,
	}[name]
	if start == nil {
		return fmt.Errorf("revive %s: no such server", name)
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	return start(ctx, found)
}

// Data is the folder of a server's data. For tests.
func (s *Stack) Data(name string) string { return filepath.Join(s.folder.path, name) }
