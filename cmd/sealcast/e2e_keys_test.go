package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
)

// keyStore opens the rig's key store with its KEKs, as a process would.
func (r *rig) keyStore(primary int) *keystore.Postgres {
	r.t.Helper()
	keks := map[int][]byte{}
	for n := 1; r.env[fmt.Sprint("KEK_", n)] != ""; n++ {
		keks[n], _ = hex.DecodeString(r.env[fmt.Sprint("KEK_", n)])
	}
	ring, err := keystore.NewKeyring(primary, keks)
	if err != nil {
		r.t.Fatal(err)
	}
	keys, err := keystore.Open(r.t.Context(), r.db, ring, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	return keys
}

// title makes a title that has nothing but its active content key.
func (r *rig) title(keys *keystore.Postgres, n int) (hash string, key keystore.Key) {
	r.t.Helper()
	hash = fmt.Sprintf("%064x", n)
	key, err := keys.Issue(r.t.Context(), keystore.Request{
		Hash: hash, JobID: fmt.Sprint("job-", n), Attempt: 1, Track: "cmaf", Scheme: cenc.SchemeCBCS,
		KeyURI: r.env["BASE_URL"] + "/api/key/" + hash, Default: true,
	})
	if err == nil {
		err = pgx.BeginFunc(r.t.Context(), r.db, func(tx pgx.Tx) error {
			_, err := keys.Activate(r.t.Context(), tx, key.JobID, 1)
			return err
		})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return hash, key
}

// keys runs `sealcast keys …` and gives what it prints and its exit code.
func (r *rig) keys(args ...string) (string, int) {
	r.t.Helper()
	cmd := exec.Command("sealcast", append([]string{"keys"}, args...)...)
	cmd.Env = r.environ()
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		r.t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// exits runs `sealcast keys …` and looks at its exit code and its words.
func (r *rig) exits(code int, words string, args ...string) string {
	r.t.Helper()
	out, got := r.keys(args...)
	if got != code || !strings.Contains(out, words) {
		r.t.Errorf("keys %s: exit code %d, want %d and %q:\n%s", strings.Join(args, " "), got, code, words, out)
	}
	return out
}

// end ends a process in good order.
func (p *process) end(t testing.TB) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		t.Fatalf("it does not end:\n%s", p.out.String())
	}
}

// Keys that the API hands out are on record when it has ended, refusals too;
// the anchors that it writes vouch for them; a row that somebody changes is
// named by verify-audit, and so is a trail that was cut.
func TestE2EAudit(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.env["AUDIT_ANCHOR_EVERY"] = "50ms"
	r.env["LOG_LEVEL"] = "info"
	hash, key := r.title(r.keyStore(1), 1)
	p := r.start([]string{"api"})
	r.ready(p)
	bearer := "Authorization: Bearer " + r.token(hash, time.Minute)
	for range 3 {
		if a := r.do("GET", "/api/key/"+hash, "", bearer); a.status != http.StatusOK || string(a.body) != string(key.Content.Bytes()) {
			t.Fatalf("key: %d", a.status)
		}
	}
	if a := r.do("GET", "/api/key/"+strings.Repeat("ab", 32), "", bearer); a.status != http.StatusForbidden {
		t.Fatalf("another title: %d", a.status)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if out, code := r.keys("verify-audit"); code == 0 && !strings.Contains(out, " 0 anchors") && !strings.Contains(out, "newer than") {
			break
		} else if time.Now().After(deadline) {
			t.Fatalf("no anchor of the last entry: %d\n%s\n%s", code, out, p.out.String())
		}
	}
	p.end(t)
	reads := r.count(`SELECT sum(coalesce((details ->> 'count')::int, 1)) FROM audit_entries
		WHERE action = 'key.read' AND subject = $1 AND details ->> 'kid' = $2 AND details ->> 'client' = '127.0.0.1'`, hash, key.KID.String())
	refusals := r.count(`SELECT count(*) FROM audit_entries WHERE action = 'key.refuse' AND details ->> 'code' = 'token_mismatch'`)
	if reads != 3 || refusals != 1 {
		t.Errorf("%d reads and %d refusals on record, want 3 and 1", reads, refusals)
	}
	all := r.count(`SELECT count(*) FROM audit_entries`)
	r.exits(exitOK, fmt.Sprintf("%d entries are as they were written", all), "verify-audit")

	sql := func(text string) {
		t.Helper()
		if _, err := r.db.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	sql(`ALTER TABLE audit_entries DISABLE TRIGGER ALL`)
	sql(`UPDATE audit_entries SET details = '{}' WHERE seq = 2`)
	r.exits(exitTampered, "entry 2: ", "verify-audit")
	sql(`DELETE FROM audit_entries`)
	sql(`UPDATE audit_head SET seq = 0, hash = genesis`)
	r.exits(exitTampered, "entry 1: it is missing; an anchor", "verify-audit")
}
