// Package localstacktest gives tests real servers: one private stack per test
// binary, started when the first test asks for it, and for each test a migrated
// database, a Redis database and buckets of its own.
//
//	func TestMain(m *testing.M) { os.Exit(localstacktest.Run(m)) }
//
//	func TestSomething(t *testing.T) {
//		t.Parallel()
//		pool := localstacktest.Pool(t)
//		…
//	}
//
// A server or tool that is missing fails the test; nothing is skipped.
package localstacktest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/sealcast/sealcast/internal/localstack"
)

// cleanupTimeout bounds what the end of a test may take to remove what is its.
const cleanupTimeout = 15 * time.Second

var (
	inside atomic.Bool // Run is at work
	serial atomic.Int64

	startOnce sync.Once
	stack     *localstack.Stack
	startErr  error
)

// Run runs the tests of a package, stops the stack if one of them started it,
// and returns the exit code. TestMain calls it.
func Run(m *testing.M) int {
	logging.Disable() // the Redis client's own: tests take Redis away
	inside.Store(true)
	code := m.Run()
	inside.Store(false)
	if stack == nil {
		return code
	}
	select {
	case err := <-stack.Died():
		fmt.Fprintln(os.Stderr, "localstacktest: a server died during the tests:", err)
		code = max(code, 1)
	default:
	}
	if err := stack.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "localstacktest: stop:", err)
		code = max(code, 1)
	}
	return code
}

// RunWhole is Run for a package whose goroutines must all have ended by then.
func RunWhole(m *testing.M) int {
	code := Run(m)
	if code != 0 {
		return code // what failed may have left some
	}
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// Stack is the stack of this test binary. It is shared: do not stop it, and do
// not flush all of it. Redis publish/subscribe crosses its databases.
func Stack(t testing.TB) *localstack.Stack {
	t.Helper()
	if !inside.Load() {
		t.Fatal("localstacktest: TestMain of this package must be os.Exit(localstacktest.Run(m))")
	}
	startOnce.Do(func() {
		stack, startErr = localstack.Start(context.Background(), localstack.Config{})
	})
	if startErr != nil {
		t.Fatalf("localstacktest: start: %v", startErr)
	}
	return stack
}

// name makes a name that no other test of this binary has.
func name(kind string) string { return fmt.Sprintf("%s-%d", kind, serial.Add(1)) }

// atEnd runs f when the test ends, with a context of its own.
func atEnd(t testing.TB, what string, f func(context.Context) error) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		if err := f(ctx); err != nil {
			t.Errorf("localstacktest: %s: %v", what, err)
		}
	})
}
