package notices_test

import (
	"context"
	"errors"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/internal/notices"
)

func TestMain(m *testing.M) { os.Exit(localstacktest.Run(m)) }

// A listener hears what is said after Up, tells of a connection that was cut,
// opens another one, and lets a refusal of Up cost its connection.
func TestListener(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Pool(t)
	up, down, heard := make(chan struct{}), make(chan error, 1), make(chan string, 10)
	refuse := errors.New("not yet")
	first := true
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		notices.Listener{
			Pool: pool, Channel: "test_notices", Name: "sealcast test listener",
			Up: func(context.Context) error {
				if first {
					first = false
					return refuse
				}
				select {
				case up <- struct{}{}:
				case <-ctx.Done():
				}
				return nil
			},
			Heard: func(payload string) { heard <- payload },
			Down:  func(err error) { down <- err },
		}.Run(ctx)
	})
	if err := receive(t, down); !errors.Is(err, refuse) {
		t.Errorf("down with %v, want what Up said", err)
	}
	for range 2 {
		receive(t, up)
		if _, err := pool.Exec(t.Context(), `SELECT pg_notify('other', 'a'), pg_notify('test_notices', 'b')`); err != nil {
			t.Fatal(err)
		}
		if got := receive(t, heard); got != "b" {
			t.Errorf("heard %q", got)
		}
		var cut int
		err := pool.QueryRow(t.Context(), `
			SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'sealcast test listener'`).Scan(&cut)
		if err != nil || cut != 1 {
			t.Fatalf("%d connections, %v", cut, err)
		}
		if err := receive(t, down); err == nil {
			t.Error("down without an error")
		}
	}
	stop()
	running.Wait()
}

func receive[T any](t *testing.T, from <-chan T) (got T) {
	t.Helper()
	select {
	case got = <-from:
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
	}
	return got
}
