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
// named by verify-audit, and so is a trail that was cut or replaced whole.
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
	var chain string
	if err := r.db.QueryRow(t.Context(), `SELECT left(encode(genesis, 'hex'), 16) FROM audit_head`).Scan(&chain); err != nil {
		t.Fatal(err)
	}
	sql(`UPDATE audit_head SET genesis = sha256('another'), hash = sha256('another')`) // a trail of its own, which holds
	r.exits(exitTampered, "replaced whole", "verify-audit")
	r.exits(exitTampered, chain, "verify-audit", "-other-chain", strings.Repeat("0", 16))
	r.exits(exitOK, "0 entries are as they were written", "verify-audit", "-other-chain", chain)
	r.exits(exitUsage, "16 hex digits", "verify-audit", "-other-chain", "x")
}

// A rewrap that is killed with SIGKILL in the middle loses nothing: the next
// run goes on, two at once share the rest, and the API hands out every key all
// the time. Then the old KEK can be retired and taken away.
func TestE2ERewrap(t *testing.T) {
	t.Parallel()
	const titles = 200
	r := newRig(t)
	r.env["KEK_2"] = randomHex(32)
	r.env["KEY_LIMIT_CLIENT_PER_MINUTE"], r.env["LOG_LEVEL"] = "1000000", "info"
	keys := make([]keystore.Key, titles)
	store := r.keyStore(1)
	for i := range keys {
		_, keys[i] = r.title(store, i)
	}
	api := r.start([]string{"api"})
	r.ready(api)
	r.exits(exitFailure, "is the primary", "retire-kek", "1")
	r.env["KEK_PRIMARY"] = "2" // of the processes that start from now on
	stop, reading := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(reading)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			want := keys[i%titles]
			a := r.do("GET", "/api/key/"+want.Hash, "", "Authorization: Bearer "+r.token(want.Hash, time.Minute))
			if a.status != http.StatusOK || string(a.body) != string(want.Content.Bytes()) {
				t.Errorf("key %d during the rewrap: %d %s", i, a.status, a.body)
				return
			}
		}
	}()
	r.exits(exitOK, "200 content keys would be sealed anew under KEK version 2", "rewrap", "-dry-run")
	if n := r.count(`SELECT count(*) FROM kek_versions WHERE version = 1 AND state = 'primary'`); n != 1 {
		t.Error("the dry run moved the primary")
	}
	left := func() int {
		return r.count(`SELECT count(*) FROM content_keys WHERE kek_version = 1 AND wrapped_key IS NOT NULL`)
	}
	killed := r.start([]string{"keys", "rewrap", "-batch", "1"})
	for deadline := time.Now().Add(time.Minute); left() > titles-20; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("nothing is rewrapped:\n%s", killed.out.String())
		}
	}
	_ = killed.cmd.Process.Kill()
	<-killed.done
	middle := left()
	if middle == 0 || middle == titles {
		t.Fatalf("%d keys are left: the kill came too early or too late", middle)
	}
	r.exits(exitRemains, fmt.Sprintf("%d content keys are still sealed", middle), "retire-kek", "1")
	two := []*process{r.start([]string{"keys", "rewrap", "-batch", "3"}), r.start([]string{"keys", "rewrap", "-batch", "3"})}
	for _, p := range two {
		<-p.done
		if code := p.cmd.ProcessState.ExitCode(); code != exitOK && code != exitRemains {
			t.Errorf("exit code %d:\n%s", code, p.out.String())
		}
	}
	r.exits(exitOK, "0 content keys were sealed anew", "rewrap")
	close(stop)
	<-reading
	if n := r.count(`SELECT wraps FROM kek_versions WHERE version = 2`); n != titles+1 {
		t.Errorf("%d seals under version 2, want %d and the check value's: a key was sealed twice, or not", n, titles)
	}
	r.exits(exitOK, "KEK version 1 is retired", "retire-kek", "1")
	r.exits(exitOK, "retired", "list")
	r.exits(exitOK, `"keys": 200`, "list", "-json")
	api.end(t)
	delete(r.env, "KEK_1")
	api = r.start([]string{"api"})
	r.ready(api)
	want := keys[7]
	key := func() answer {
		return r.do("GET", "/api/key/"+want.Hash, "", "Authorization: Bearer "+r.token(want.Hash, time.Minute))
	}
	if a := key(); a.status != http.StatusOK || string(a.body) != string(want.Content.Bytes()) {
		t.Errorf("without the old KEK: %d", a.status)
	}
	r.exits(exitUsage, "-yes", "shred", want.Hash)
	r.exits(exitOK, "1 content keys would be destroyed", "shred", "-dry-run", want.Hash)
	r.exits(exitOK, "backups", "shred", "-yes", want.Hash)
	for shredded := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		a := key()
		if a.status == http.StatusNotFound {
			break
		}
		if time.Since(shredded) > 2*time.Second { // docs/keys.md says one
			t.Fatalf("a shredded key: %d", a.status)
		}
	}
	r.exits(exitFailure, "no content keys", "shred", "-yes", want.Hash)
	r.exits(exitOK, "as they were written", "verify-audit")
}

// A title packaged again plays under new keys; who is at the old generation
// gets its keys until GC_RETENTION is over, and then no more.
func TestE2ERepackage(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.env["GC_RETENTION"], r.env["LOG_LEVEL"] = "1h", "info"
	r.serve()
	hash, source := r.upload(clip(t, "320x180", 3))
	first := r.succeeded(r.accepted(r.submit("video:transcode", hash, source, `{}`)))
	r.play(first)
	a := r.do("POST", "/api/media/"+hash+"/repackage", "", "X-API-Key: "+r.env["API_KEY"])
	second := r.succeeded(r.accepted(a))
	r.play(second)
	if n := r.count(`SELECT count(*) FROM content_keys WHERE hash = $1 AND state = 'retiring' AND retire_at > now()`, hash); n != 2 {
		t.Errorf("%d keys retire, want 2", n)
	}
	bearer := "Authorization: Bearer " + r.token(hash, time.Minute)
	if a := r.do("GET", "/api/key/"+hash, "", bearer); a.status != http.StatusOK {
		t.Errorf("the old key: %d", a.status)
	}
	if _, err := r.db.Exec(t.Context(), `UPDATE content_keys SET retire_at = now() WHERE state = 'retiring'`); err != nil {
		t.Fatal(err)
	}
	if a := r.do("GET", "/api/key/"+hash, "", bearer); a.status != http.StatusNotFound {
		t.Errorf("the old key, an hour later: %d", a.status)
	}
	r.play(second)
	r.exits(exitOK, "as they were written", "verify-audit")
}
