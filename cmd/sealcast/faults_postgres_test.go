//go:build faults

package main

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/localstack"
)

// Postgres crashes in the middle of an attempt and is back some seconds later.
func TestFaultsPostgresCrash(t *testing.T) {
	t.Parallel()
	f := newCrashRig(t)
	f.serveAPI()
	f.worker(nil)
	held := f.store.catch(t, true, 3, putOf(".m4s", ".ts"))
	id := f.film(t, "320x240", 8)
	f.reached(held, "the encode")
	if err := f.stack.Crash(localstack.Postgres); err != nil {
		t.Fatal(err)
	}
	held.free()
	outage(t, 3*time.Second)
	if err := f.stack.Revive(t.Context(), localstack.Postgres); err != nil {
		t.Fatal(err)
	}
	f.db.Reset()
	f.ends(id, "succeeded")
	f.invariants(t)
}

// Postgres swallows every packet for 30 s, longer than a lease lives: the
// attempt ends itself, another one does the job.
func TestFaultsPostgresBlackHole(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	// An encoder in no hurry: it would run for 40 s.
	worker := f.worker(f.badTool("ffmpeg", `args=(); for a in "$@"; do if [ "$a" = -i ]; then args+=(-re); fi; args+=("$a"); done; exec "$real" "${args[@]}"`, true))
	held := f.store.catch(t, true, 1, putOf(".m4s", ".ts"))
	id := f.film(t, "320x240", 40)
	f.reached(held, "the encode")
	f.child(worker, "-filter_complex")
	f.blackHole(localstack.Postgres)
	outage(t, 14*time.Second) // fenced after 11 s; the lease ends after 15 s
	if left := f.kin.alive(); len(left) > 0 {
		t.Errorf("the attempt should have ended itself, %d children are left: %q", len(left), left)
	}
	outage(t, 16*time.Second)
	f.clear(localstack.Postgres)
	held.free()
	if j := f.ends(id, "succeeded"); j.Attempt < 2 {
		t.Errorf("%d attempts\n%s", j.Attempt, worker.out.String())
	}
	f.invariants(t)
}

// The program has one connection to Postgres for everything.
func TestFaultsPoolOfOne(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.env["DATABASE_URL"] += "&pool_max_conns=1"
	f.serveAPI()
	f.worker(environment{"WORKER_CONCURRENCY": "2"})
	var ids []string
	for range 4 {
		ids = append(ids, f.film(t, "320x240", 4))
	}
	for _, id := range ids {
		f.ends(id, "succeeded")
	}
	f.invariants(t)
}

// Strangers take every connection that Postgres has, for 20 s, and the
// program's are closed.
func TestFaultsPostgresHasNoConnections(t *testing.T) {
	t.Parallel()
	f := newCrashRig(t)
	f.serveAPI()
	f.worker(nil)
	held := f.store.catch(t, true, 3, putOf(".m4s", ".ts"))
	id := f.film(t, "320x240", 8)
	f.reached(held, "the encode")
	f.cut(localstack.Postgres)
	var strangers []*pgx.Conn
	for {
		conn, err := pgx.Connect(t.Context(), f.stack.DatabaseURL)
		if err != nil {
			break // sorry, too many clients already
		}
		strangers = append(strangers, conn)
	}
	if len(strangers) < 20 {
		t.Errorf("only %d strangers came in", len(strangers))
	}
	f.mend(localstack.Postgres)
	held.free()
	outage(t, 20*time.Second)
	for _, conn := range strangers {
		_ = conn.Close(t.Context())
	}
	f.ends(id, "succeeded")
	f.invariants(t)
}

// A worker vanishes with its host in the middle of its publication: nobody
// tells Postgres, so its session stays, and the lock on the job's row with it.
// Another worker does the job all the same.
func TestFaultsWorkerVanishesBeforeCommit(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	first := f.worker(nil)
	held := f.pg.catch(t, false, `"publication_objects"`, "commit\x00") // until the test ends
	id := f.film(t, "320x240", 4)
	f.reached(held, "COMMIT")
	if n := f.count(`SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'`); n != 1 {
		t.Errorf("%d sessions hold a transaction open", n)
	}
	f.kill9(first)
	f.worker(nil)
	f.succeeds(t, id, 2)
	f.invariants(t)
}
