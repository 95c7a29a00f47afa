//go:build faults

package main

import (
	"testing"
	"time"
)

// A worker or an API whose KEK is missing or another one does not start, and
// says which; the job waits for one that has it.
func TestFaultsWrongKEK(t *testing.T) {
	t.Parallel()
	f := newFaultRig(t)
	f.serveAPI()
	first := f.worker(nil)
	f.ends(f.film(t, "320x240", 4), "succeeded") // the KEK has check value and rows now
	first.stop(t)
	waiting := f.film(t, "320x240", 4)
	for name, change := range map[string]environment{
		"other bytes": {"KEK_1": randomHex(32)},
		"missing":     {"KEK_1": "", "KEK_2": randomHex(32), "KEK_PRIMARY": "2"},
	} {
		for _, role := range []string{"worker", "api"} {
			change["LISTEN_ADDR"] = freeAddr(t)
			p := f.run(change, []string{role})
			select {
			case <-p.done:
			case <-time.After(time.Minute):
				t.Fatalf("%s: %s runs", name, role)
			}
			if code := p.cmd.ProcessState.ExitCode(); code != exitFailure {
				t.Errorf("%s: %s ended with %d:\n%s", name, role, code, p.out.String())
			}
		}
	}
	if j := f.row(waiting); j.State != "queued" || j.Attempt != 0 {
		t.Errorf("the waiting job is %+v", j)
	}
	f.worker(nil)
	f.ends(waiting, "succeeded")
	f.invariants(t)
}
