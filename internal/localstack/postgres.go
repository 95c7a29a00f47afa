package localstack

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/jackc/pgx/v5"
)

const (
	pgUser     = "sealcast"
	pgDatabase = "sealcast"
)

func (s *Stack) startPostgres(ctx context.Context, t tools) error {
	log, err := s.folder.openLog("initdb")
	if err != nil {
		return err
	}
	defer log.Close()
	c, err := s.openCluster(ctx, t, log)
	if err != nil {
		return fmt.Errorf("prepare the postgres data folder: %w", err)
	}
	port, err := s.run(ctx, recipe{
		name: "postgres",
		command: func(port int) *exec.Cmd {
			return c.command("postgres", c.serverArgs(port)...)
		},
		ready: func(ctx context.Context, port int) error {
			return s.withPostgres(ctx, s.dsn(port, "postgres"), func(conn *pgx.Conn) error {
				return conn.Ping(ctx)
			})
		},
		ask:   syscall.SIGINT,  // fast shutdown: ends sessions, writes a checkpoint
		quick: syscall.SIGQUIT, // immediate shutdown: the next start recovers from the log
	})
	if err != nil {
		return err
	}
	s.DatabaseURL = s.dsn(port, pgDatabase)
	return s.withPostgres(ctx, s.dsn(port, "postgres"), func(conn *pgx.Conn) error {
		var found bool
		err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", pgDatabase).Scan(&found)
		if err != nil || found {
			return err
		}
		_, err = conn.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{pgDatabase}.Sanitize())
		return err
	})
}

// serverArgs are settings for development and tests. There is no Unix socket:
// its path could exceed the limit of 107 bytes (unix(7)).
func (c *cluster) serverArgs(port int) []string {
	args := []string{
		"-D", c.data, "-h", "127.0.0.1", "-p", strconv.Itoa(port),
		"-c", "unix_socket_directories=",
		"-c", "max_connections=200",
		"-c", "timezone=UTC", "-c", "log_timezone=UTC",
	}
	if c.throwaway {
		args = append(args, "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
	}
	return args
}

// CreateDatabase creates a database and returns its URL. It is a copy of the
// database template, to which nobody may be connected, or empty where template
// is "". Tests clone a migrated template in this way.
func (s *Stack) CreateDatabase(ctx context.Context, name, template string) (dsn string, err error) {
	u, err := url.Parse(s.DatabaseURL)
	if err != nil {
		return "", errors.New("create database: the stack has no database URL")
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		return "", fmt.Errorf("create database: %w", err)
	}
	query := "CREATE DATABASE " + pgx.Identifier{name}.Sanitize()
	if template != "" {
		query += " TEMPLATE " + pgx.Identifier{template}.Sanitize()
	}
	err = s.withPostgres(ctx, s.dsn(port, "postgres"), func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, query)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("create database %s: %w", name, err)
	}
	return s.dsn(port, name), nil
}

// dsn is the URL of a database of this stack.
func (s *Stack) dsn(port int, database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(pgUser, s.folder.state.PostgresPassword),
		Host:     loopback(port),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// withPostgres lends a connection.
func (s *Stack) withPostgres(ctx context.Context, dsn string, use func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	return errors.Join(use(conn), conn.Close(ctx))
}
