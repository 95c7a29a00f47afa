package audit_test

import (
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/keystore/audit"
)

// The statements of docs/keys.md begin a new chain where the old one ends. The
// old one lies in a schema of its own and can be verified there, against its
// anchors; the new one goes on at once.
func TestNewChain(t *testing.T) {
	doc, err := os.ReadFile("../../docs/keys.md")
	if err != nil {
		t.Fatal(err)
	}
	_, sql, _ := strings.Cut(string(doc), "\n```sql\n")
	sql, _, ok := strings.Cut(sql, "\n```\n")
	if !ok {
		t.Fatal("docs/keys.md has no statements")
	}
	dsn := localstacktest.DSN(t)
	pool := localstacktest.Connect(t, dsn)
	store := &memory{}
	anchorer := audit.NewAnchorer(pool, store, time.Hour, slog.New(slog.DiscardHandler))
	add := func(n int) {
		t.Helper()
		for range n {
			appendOne(t, pool, hash)
		}
		if err := anchorer.Once(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	verified := func(what string, pool *pgxpool.Pool, entries int64) audit.Report {
		t.Helper()
		rep, err := audit.Verify(t.Context(), pool, store, nil)
		if err != nil || rep.Bad != nil || rep.Entries != entries || rep.Anchored != entries {
			t.Errorf("%s: %+v, bad %v, %v; want %d entries", what, rep, rep.Bad, err, entries)
		}
		return rep
	}
	add(5)
	old := verified("before", pool, 5)
	if _, err := pool.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
	add(3)
	next := verified("the new chain", pool, 3)
	if next.Foreign[old.Chain] != 1 || next.Chain != old.Head[:16] {
		t.Errorf("the chain is %s after %s, head %s; foreign %v", next.Chain, old.Chain, old.Head, next.Foreign)
	}
	if _, err := pool.Exec(t.Context(), `DELETE FROM audit_entries`); err == nil || !strings.Contains(err.Error(), "append-only") {
		t.Errorf("the new table is not append-only: %v", err)
	}
	archive := localstacktest.Connect(t, dsn+"&search_path=audit_1,public")
	if rep := verified("the old chain", archive, 5); rep.Chain != old.Chain || rep.Head != old.Head || rep.Foreign[next.Chain] != 1 {
		t.Errorf("the old chain: %+v", rep)
	}
	tampered, err := archive.Exec(t.Context(), `ALTER TABLE audit_1.audit_entries DISABLE TRIGGER audit_append_only; UPDATE audit_1.audit_entries SET actor = 'x' WHERE seq = 2`)
	if err != nil {
		t.Fatal(tampered, err)
	}
	if rep, err := audit.Verify(t.Context(), archive, store, nil); err != nil || rep.Bad == nil || rep.Bad.Seq != 2 {
		t.Errorf("the old chain, changed: %+v, %v", rep, err)
	}
}
