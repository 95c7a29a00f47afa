//go:build faults

package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// skewed builds the program with a wall clock that is 65 s fast. Go asks the
// kernel for the time without libc, so libfaketime cannot do it; the overlay
// changes time.now of Go's runtime and nothing of ours.
func skewed(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "src", "runtime")
	overlay := map[string]string{}
	change := func(name string, pairs ...string) {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.NewReplacer(pairs...).Replace(string(text))
		if changed == string(text) {
			t.Fatalf("%s is not what it was: it has nothing to replace", name)
		}
		overlay[filepath.Join(source, name)] = filepath.Join(dir, name)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if runtime.GOARCH == "amd64" { // there time.now is written in assembly
		change("time_linux_amd64.s", "TEXT time·now", "TEXT runtime·rightNow")
		change("timeasm.go", "func time_now() (sec int64, nsec int32, mono int64)",
			"func time_now() (sec int64, nsec int32, mono int64) {\n\tsec, nsec, mono = rightNow()\n\treturn sec + 65, nsec, mono\n}\n\nfunc rightNow() (sec int64, nsec int32, mono int64)")
	} else {
		change("timestub.go", "return sec, nsec, nanotime()", "return sec + 65, nsec, nanotime()")
	}
	text, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		t.Fatal(err)
	}
	file, program := filepath.Join(dir, "overlay.json"), filepath.Join(dir, "sealcast")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-overlay", file, "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return dir
}

// The clock of one of two workers is 65 s fast: leases run on the database's
// clock, so no attempt is ended and none runs twice, on whichever worker.
func TestFaultsClockOfOneWorker(t *testing.T) {
	t.Parallel()
	dir := skewed(t)
	f := newFaultRig(t)
	f.serveAPI()
	fast := f.worker(environment{"PATH": dir + ":" + os.Getenv("PATH")}, "env") // which finds it in the new PATH
	if ahead := time.Until(firstTime(t, fast)); ahead < 50*time.Second {
		t.Fatalf("its clock is %s ahead", ahead)
	}
	f.worker(nil)
	var ids []string
	for range 4 {
		ids = append(ids, f.film(t, "640x360", 20))
	}
	for _, id := range ids {
		f.succeeds(t, id, 1)
	}
	if !strings.Contains(fast.out.String(), "attempt started") {
		t.Error("the fast worker had no job")
	}
	f.invariants(t)
}

// firstTime is when a process wrote its first line, by its own clock.
func firstTime(t *testing.T, p *process) time.Time {
	t.Helper()
	var line struct{ Time time.Time }
	first, _, _ := strings.Cut(p.out.String(), "\n")
	if err := json.Unmarshal([]byte(first), &line); err != nil {
		t.Fatalf("%v: %s", err, first)
	}
	return line.Time
}
