//go:build faults

package main

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/localstack"
)

// MinIO is killed in the middle of the uploads and is back 5 s later.
func TestFaultsStoreKilled(t *testing.T) {
	t.Parallel()
	f := newCrashRig(t)
	f.serveAPI()
	f.worker(nil)
	held := f.store.catch(t, true, 5, putOf(".m4s", ".ts"))
	id := f.film(t, "320x240", 8)
	f.reached(held, "the uploads")
	if err := f.stack.Crash(localstack.MinIO); err != nil {
		t.Fatal(err)
	}
	held.free()
	outage(t, 5*time.Second)
	if err := f.stack.Revive(t.Context(), localstack.MinIO); err != nil {
		t.Fatal(err)
	}
	f.ends(id, "succeeded")
	f.invariants(t)
}

// MinIO swallows every packet for 45 s.
func TestFaultsStoreStalls(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	f.worker(nil)
	held := f.store.catch(t, true, 5, putOf(".m4s", ".ts"))
	id := f.film(t, "320x240", 8)
	f.reached(held, "the uploads")
	f.blackHole(localstack.MinIO)
	held.free()
	outage(t, 45*time.Second)
	f.clear(localstack.MinIO)
	f.ends(id, "succeeded")
	f.invariants(t)
}

// The folder for temporary files has no byte left.
func TestFaultsScratchFull(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	script := fmt.Sprintf("mount -t tmpfs -o size=4k tmpfs %[1]q && head -c 4096 /dev/zero >%[1]q/full && ! echo x 2>/dev/null >%[1]q/more && exec sealcast worker", f.scratch)
	args := []string{"unshare", "--mount"}
	if os.Geteuid() != 0 {
		args = append(args, "--map-root-user")
	}
	p := f.run(nil, []string{"version"}, append(args, "sh", "-c", script)...)
	f.until("the worker has started", func() bool {
		select {
		case <-p.done:
			t.Fatalf("the worker ended:\n%s", p.out.String())
		default:
		}
		return strings.Contains(p.out.String(), "worker started")
	})
	f.succeeds(t, f.film(t, "320x240", 4), 1)
	f.invariants(t)
}
