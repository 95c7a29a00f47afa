package worker

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// A worker that starts ends the leases of dead workers on its host; those of
// living ones and of other hosts stay.
func TestLeasesOfDeadWorkersEndWhenOneStartsOnTheirHost(t *testing.T) {
	h := newHouse(t)
	jobs := map[string]Job{}
	for i, name := range []string{"here/alive", "here/dead", "there/dead"} {
		job := h.submit(request(i, ""))
		var err error
		if jobs[name], err = h.store.Claim(t.Context(), job.ID, 1, name, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	there := make(chan struct{})
	open := sync.OnceFunc(func() { close(there) })
	ctx, leave := context.WithCancel(t.Context())
	left := make(chan error, 1)
	go func() {
		left <- h.store.present(ctx, "here/alive", func(context.Context, *pgx.Conn) error { open(); return nil })
	}()
	<-there
	started := h.worker(newScript(), func(c *Config) { c.Name = "here/new" })
	h.eventually("a lease ends", func() bool {
		return count(h, `SELECT count(*) FROM jobs WHERE lease_until <= clock_timestamp()`) > 0
	})
	for name, ended := range map[string]int{"here/alive": 0, "here/dead": 1, "there/dead": 0} {
		if n := count(h, `SELECT count(*) FROM jobs WHERE id = $1 AND lease_until <= clock_timestamp()`, jobs[name].ID); n != ended {
			t.Errorf("%s: %d leases ended, want %d", name, n, ended)
		}
	}
	started.stop()
	leave()
	if err := <-left; err != nil {
		t.Error(err)
	}
	// Now it is dead, too.
	h.worker(newScript(), func(c *Config) { c.Name = "here/newer" })
	h.eventually("its lease ends", func() bool {
		return count(h, `SELECT count(*) FROM jobs WHERE worker = 'here/alive' AND lease_until <= clock_timestamp()`) == 1
	})
}

// A worker whose connection is lost is present again on the next one.
func TestPresenceComesBack(t *testing.T) {
	h := newHouse(t)
	h.worker(newScript(), func(c *Config) { c.Name = "here/one" })
	held := func() bool {
		return count(h, `SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted
			AND classid = $1::int::oid AND objid = hashtext('here/one')::oid`, lockPresence) == 1
	}
	h.eventually("the worker is present", held)
	h.exec(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sealcast presence' AND datname = current_database()`)
	h.eventually("the lock is gone", func() bool { return !held() })
	h.eventually("the worker is present again", held)
}
