// Package notices hears what Postgres is told with NOTIFY, on a connection of
// its own that is opened anew whenever it is lost.
package notices

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	timeout = 5 * time.Second  // to connect, to listen, to answer a ping
	ping    = 10 * time.Second // a quiet connection is asked whether it lives
	pause   = time.Second      // before the next connection
)

// Listener hears one channel. A connection that is cut ends at once, one whose
// server is gone without a word after 15 s: until then nothing is heard and
// nobody is told.
type Listener struct {
	Pool    *pgxpool.Pool // whose server it is; the connection is none of the pool's
	Channel string        // an SQL identifier
	Name    string        // of the connection, for the server's list

	Up    func(ctx context.Context) error // may be nil: every notice from now on will be heard; an error closes the connection
	Heard func(payload string)
	Down  func(err error) // the connection was lost, or could not be made
}

// Run listens until ctx ends. It calls the functions one at a time.
func (l Listener) Run(ctx context.Context) {
	for {
		err := l.once(ctx)
		if ctx.Err() != nil {
			return
		}
		l.Down(err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// once ends with an error when the connection does.
func (l Listener) once(ctx context.Context) error {
	cfg := l.Pool.Config().ConnConfig
	cfg.RuntimeParams["application_name"] = l.Name
	dial, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(dial, cfg)
	if err != nil {
		return fmt.Errorf("listen to %s: %w", l.Channel, err)
	}
	defer hangUp(ctx, conn)
	if _, err := conn.Exec(dial, "LISTEN "+l.Channel); err != nil {
		return fmt.Errorf("listen to %s: %w", l.Channel, err)
	}
	if l.Up != nil {
		if err := l.Up(ctx); err != nil {
			return err
		}
	}
	for {
		if err := l.next(ctx, conn); err != nil {
			return err
		}
	}
}

// next waits for a notice, or until the connection has been quiet for a while
// and still lives.
func (l Listener) next(ctx context.Context, conn *pgx.Conn) error {
	wait, cancel := context.WithTimeout(ctx, ping)
	defer cancel()
	notice, err := conn.WaitForNotification(wait)
	if err == nil {
		l.Heard(notice.Payload)
		return nil
	}
	if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) || conn.IsClosed() {
		return fmt.Errorf("wait for notices of %s: %w", l.Channel, err)
	}
	alive, cancelPing := context.WithTimeout(ctx, timeout)
	defer cancelPing()
	if err := conn.Ping(alive); err != nil {
		return fmt.Errorf("ping the connection that listens to %s: %w", l.Channel, err)
	}
	return nil
}

func hangUp(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
