package localstack

import (
	"context"
	"fmt"
	"net/url"
	"os/exec"
	"strings"
	"syscall"

	"github.com/redis/go-redis/v9"
)

// redisConfig goes to the server's stdin: a password in argv could be read by
// every user of the machine. The queue must never lose a task to eviction.
const redisConfig = `bind 127.0.0.1
port %d
requirepass %s
databases 64
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
`

func (s *Stack) startRedis(ctx context.Context, t tools) error {
	dir, err := s.folder.sub("redis")
	if err != nil {
		return err
	}
	password := s.folder.state.RedisPassword
	port, err := s.run(ctx, recipe{
		name: "redis",
		command: func(port int) *exec.Cmd {
			cmd := exec.Command(t.redis, "-")
			cmd.Dir = dir // the append-only file lies in the working folder
			cmd.Env = environment(dir)
			cmd.Stdin = strings.NewReader(fmt.Sprintf(redisConfig, port, password))
			return cmd
		},
		ready: func(ctx context.Context, port int) error {
			client := redis.NewClient(&redis.Options{Addr: loopback(port), Password: password, MaxRetries: -1})
			defer client.Close()
			return client.Ping(ctx).Err()
		},
		ask:   syscall.SIGTERM,
		quick: syscall.SIGKILL,
	})
	if err != nil {
		return err
	}
	u := url.URL{Scheme: "redis", User: url.UserPassword("", password), Host: loopback(port), Path: "/0"}
	s.RedisURL = u.String()
	return nil
}
