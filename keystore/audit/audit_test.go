package audit_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/keystore/audit"
)

func TestMain(m *testing.M) { os.Exit(localstacktest.RunWhole(m)) }

var hash = strings.Repeat("ab", 32)

// memory is an object store that remembers anchors.
type memory struct {
	mu   sync.Mutex
	keys []string
}

func (m *memory) PutAnchor(_ context.Context, key string, body []byte) error {
	if !json.Valid(body) {
		return fmt.Errorf("no JSON: %s", body)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keys = append(m.keys, key)
	return nil
}

func (m *memory) AnchorKeys(_ context.Context, prefix string) ([]string, error) {
	var out []string
	for _, k := range m.keys {
		if strings.HasPrefix(k, prefix) {
			out = append(out, k)
		}
	}
	return out, nil
}

func appendOne(t testing.TB, pool *pgxpool.Pool, subject string) {
	t.Helper()
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		return audit.Append(t.Context(), tx, audit.Entry{
			Actor: "operator", Action: audit.ActionShred, Subject: subject,
			Details: map[string]any{"text": "ünïcode \" \\ \u2028 <>&", "n": 3},
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

func newJournal(t testing.TB, pool *pgxpool.Pool) *audit.Journal {
	t.Helper()
	j, err := audit.NewJournal(pool, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func verify(t testing.TB, pool *pgxpool.Pool, anchors audit.Anchors) audit.Report {
	t.Helper()
	rep, err := audit.Verify(t.Context(), pool, anchors, nil)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func good(t testing.TB, rep audit.Report, entries int64) {
	t.Helper()
	if rep.Bad != nil || rep.Entries != entries {
		t.Errorf("%d good entries, want %d; bad: %v", rep.Entries, entries, rep.Bad)
	}
}

func one[T any](t testing.TB, pool *pgxpool.Pool, sql string, args ...any) (v T) {
	t.Helper()
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestChainOfEveryWriter(t *testing.T) {
	pool := localstacktest.Pool(t)
	good(t, verify(t, pool, nil), 0)
	appendOne(t, pool, "a")
	// A program from before the chain.
	if _, err := pool.Exec(t.Context(), `INSERT INTO audit_log (actor, action, subject, details) VALUES ('api_key', 'asset.delete', $1, '{"keys": 2}')`, hash); err != nil {
		t.Fatal(err)
	}
	j := newJournal(t, pool)
	for i := range 3 {
		if err := j.Record(audit.Access{Hash: hash, KID: fmt.Sprint(i), UID: "ü\u2028<\x00", Client: "192.0.2.1"}, "r"); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	appendOne(t, pool, "b")
	good(t, verify(t, pool, nil), 6)
	if n := one[int](t, pool, `SELECT count(*) FROM audit_entries WHERE action = 'key.read' AND subject = $1`, hash); n != 3 {
		t.Errorf("%d reads", n)
	}
}

func TestChainOfManyProcessesAtOnce(t *testing.T) {
	dsn := localstacktest.DSN(t)
	pool := localstacktest.Connect(t, dsn)
	var group sync.WaitGroup
	for p := range 3 {
		group.Go(func() {
			mine := localstacktest.Connect(t, dsn)
			j := newJournal(t, mine)
			for i := range 400 {
				a := audit.Access{Hash: hash, Token: fmt.Sprint(p, "-", i)}
				if i%3 == 0 {
					a.Code = "no_key"
				}
				if err := j.Record(a, ""); err != nil {
					t.Error(err)
				}
				if i%20 == 0 {
					appendOne(t, mine, fmt.Sprint(p, i))
				}
			}
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	good(t, verify(t, pool, nil), 3*(400+20))
	if n := one[int](t, pool, `SELECT count(DISTINCT details ->> 'token') FROM audit_entries WHERE action IN ('key.read', 'key.refuse')`); n != 1200 {
		t.Errorf("%d different accesses, want 1200", n)
	}
}

func TestEqualAccessesAreOneEntry(t *testing.T) {
	pool := localstacktest.Pool(t)
	j := newJournal(t, pool)
	for i := range 50 {
		if err := j.Record(audit.Access{Hash: hash, Token: "t"}, fmt.Sprint("request-", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	// The timer may have cut the fifty in two.
	sum := one[int](t, pool, `SELECT sum(coalesce((details ->> 'count')::int, 1)) FROM audit_entries`)
	if entries := one[int](t, pool, `SELECT count(*) FROM audit_entries`); sum != 50 || entries > 3 {
		t.Errorf("%d entries for %d accesses, want 50 in one", entries, sum)
	}
	if id := one[string](t, pool, `SELECT details ->> 'request_id' FROM audit_entries ORDER BY seq LIMIT 1`); id != "request-0" {
		t.Errorf("request %s", id)
	}
}

func TestNothingIsQueuedAfterClose(t *testing.T) {
	j := newJournal(t, localstacktest.Pool(t))
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	if err := j.Record(audit.Access{Hash: hash}, ""); err == nil {
		t.Error("recorded")
	}
}

// recompute computes the chain anew over what the rows hold now.
const recompute = `
	DO $$ DECLARE e audit_entries; h bytea := (SELECT genesis FROM audit_head); BEGIN
	FOR e IN SELECT * FROM audit_entries ORDER BY seq LOOP
		h := sha256(audit_field('sealcast/audit/v1') || audit_field(h) || audit_field(int8send(e.seq)) ||
			audit_field(int8send((extract(epoch FROM e.at) * 1000000)::bigint)) || audit_field(convert_to(e.actor, 'UTF8')) ||
			audit_field(convert_to(e.action, 'UTF8')) || audit_field(convert_to(e.subject, 'UTF8')) || audit_field(convert_to(e.details::text, 'UTF8')));
		UPDATE audit_entries SET hash = h WHERE seq = e.seq;
	END LOOP;
	UPDATE audit_head SET seq = (SELECT max(seq) FROM audit_entries), hash = h; END $$`

// Whatever somebody does to the rows, the first one that is not as it was is
// named. The trigger only keeps accidents away.
func TestVerifyNamesTheFirstBadEntry(t *testing.T) {
	for _, test := range []struct {
		name string
		sql  []string
		bad  int64
		why  string
	}{
		{name: "nothing"},
		{"content", []string{`UPDATE audit_entries SET details = '{"n":4}' WHERE seq = 5`}, 5, "changed"},
		{"a space in the details", []string{`UPDATE audit_entries SET details = (details::text || ' ')::json WHERE seq = 5`}, 5, "changed"},
		{"time", []string{`UPDATE audit_entries SET at = at + interval '1 microsecond' WHERE seq = 1`}, 1, "changed"},
		{"actor", []string{`UPDATE audit_entries SET actor = 'x' WHERE seq = 12`}, 12, "changed"},
		{"removed", []string{`DELETE FROM audit_entries WHERE seq = 5`}, 5, "missing"},
		{"removed and renumbered", []string{`DELETE FROM audit_entries WHERE seq = 5`, `UPDATE audit_entries SET seq = seq - 1 WHERE seq = 6`}, 5, "changed"},
		{"first removed", []string{`DELETE FROM audit_entries WHERE seq = 1`}, 1, "missing"},
		{"exchanged", []string{`UPDATE audit_entries SET seq = seq + 100 WHERE seq = 4`, `UPDATE audit_entries SET seq = 4 WHERE seq = 7`, `UPDATE audit_entries SET seq = 7 WHERE seq = 104`}, 4, "changed"},
		{"tail removed", []string{`DELETE FROM audit_entries WHERE seq > 9`}, 10, "the chain went on to entry 12"},
		{"tail removed and the head put back", []string{
			`DELETE FROM audit_entries WHERE seq > 9`,
			`UPDATE audit_head SET seq = 9, hash = (SELECT hash FROM audit_entries WHERE seq = 9)`,
		}, 10, "anchor"},
		{"all removed and the head put back", []string{`DELETE FROM audit_entries`, `UPDATE audit_head SET seq = 0, hash = genesis`}, 1, "anchor"},
		{"changed and computed anew", []string{`UPDATE audit_entries SET actor = 'nobody' WHERE seq = 3`, recompute}, 8, "anchor"},
		{"added past the chain", []string{`INSERT INTO audit_entries SELECT 13, at, actor, action, subject, details, hash FROM audit_entries WHERE seq = 12`}, 13, "behind the head"},
		{"head changed", []string{`UPDATE audit_head SET hash = genesis`}, 12, "head"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			pool := localstacktest.Pool(t)
			anchors := &memory{}
			anchorer := audit.NewAnchorer(pool, anchors, time.Hour, slog.New(slog.DiscardHandler))
			for i := range 12 {
				appendOne(t, pool, fmt.Sprint("subject-", i+1))
				if n := i + 1; n == 8 || n == 11 {
					for range 2 { // the second time the head has not moved
						if err := anchorer.Once(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if len(anchors.keys) != 2 {
				t.Fatalf("anchors: %v", anchors.keys)
			}
			for _, sql := range append([]string{`ALTER TABLE audit_entries DISABLE TRIGGER ALL`}, test.sql...) {
				if _, err := pool.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			rep := verify(t, pool, anchors)
			if test.bad == 0 {
				good(t, rep, 12)
				if rep.Anchors != 2 || rep.Anchored != 11 {
					t.Errorf("anchors %d up to %d", rep.Anchors, rep.Anchored)
				}
				return
			}
			if rep.Bad == nil || rep.Bad.Seq != test.bad || !strings.Contains(rep.Bad.Why, test.why) {
				t.Errorf("got %v, want entry %d: …%s…", rep.Bad, test.bad, test.why)
			}
		})
	}
}

func TestAnchorsOfAnotherChainAreTold(t *testing.T) {
	pool := localstacktest.Pool(t)
	appendOne(t, pool, "a")
	anchors := &memory{keys: []string{
		"audit/0011223344556677/00000000000000000009-" + strings.Repeat("0", 64) + ".json", "audit/readme.txt",
	}}
	if rep := verify(t, pool, anchors); rep.Bad != nil || rep.Foreign["0011223344556677"] != 1 || len(rep.Foreign) != 1 || rep.Anchors != 0 {
		t.Errorf("%+v", rep)
	}
}

// A trail that is replaced whole, under a genesis of its own, holds by itself:
// the anchors of the one before give it away.
func TestAnchorsTellOfAReplacedTrail(t *testing.T) {
	pool := localstacktest.Pool(t)
	for range 3 {
		appendOne(t, pool, "a")
	}
	anchors := &memory{}
	if err := audit.NewAnchorer(pool, anchors, time.Hour, slog.New(slog.DiscardHandler)).Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := verify(t, pool, anchors)
	if len(before.Foreign) != 0 || before.Anchors != 1 {
		t.Fatalf("%+v", before)
	}
	for _, sql := range []string{
		`ALTER TABLE audit_entries DISABLE TRIGGER ALL`, `UPDATE audit_entries SET actor = 'nobody' WHERE seq = 2`,
		`UPDATE audit_head SET genesis = sha256('mine')`, recompute,
	} {
		if _, err := pool.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	rep := verify(t, pool, anchors)
	if rep.Bad != nil || rep.Chain == before.Chain || rep.Anchors != 0 || rep.Foreign[before.Chain] != 1 {
		t.Errorf("%+v, want an anchor of chain %s", rep, before.Chain)
	}
}

func TestRowsAreAppendOnly(t *testing.T) {
	pool := localstacktest.Pool(t)
	appendOne(t, pool, "a")
	for _, sql := range []string{`UPDATE audit_entries SET actor = 'x'`, `DELETE FROM audit_entries`, `TRUNCATE audit_entries`, `DELETE FROM audit_head`, `TRUNCATE audit_head`} {
		if _, err := pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: done", sql)
		}
	}
}
