package keystoretest

import (
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
)

func oldVersionsOpen(t *testing.T, h Harness) {
	old := h.Open(t, h.ring(t, 1))
	first := issue(t, old, request(1))
	publish(t, h, old, "job-1", 1)

	now := h.Open(t, h.ring(t, 2, 1))
	r := request(2)
	r.JobID = otherJob
	next := issue(t, now, r)
	if first.KEKVersion != 1 || next.KEKVersion != 2 {
		t.Errorf("sealed under versions %d and %d, want 1 and 2", first.KEKVersion, next.KEKVersion)
	}
	same(t, served(t, now, asset(1), nil), active(first))
	same(t, issue(t, now, request(1)), active(first)) // not sealed anew

	back := h.Open(t, h.ring(t, 1, 2))
	same(t, issue(t, back, r), next)
}

func absentVersion(t *testing.T, h Harness) {
	old := h.Open(t, h.ring(t, 1))
	now := h.Open(t, h.ring(t, 2, 1))
	key := issue(t, now, request(1)) // after the older process had opened
	publish(t, h, now, "job-1", 1)
	for name, err := range map[string]error{
		"served": func() error { _, err := old.Served(t.Context(), asset(1), nil); return err }(),
		"get":    func() error { _, err := old.Get(t.Context(), asset(1), key.KID); return err }(),
		"issue":  func() error { _, err := old.Issue(t.Context(), request(1)); return err }(),
	} {
		if !errors.Is(err, keystore.ErrKEKMissing) {
			t.Errorf("%s: %v, want ErrKEKMissing", name, err)
		}
	}
}

// twoKeys publishes two keys that differ in every column.
func twoKeys(t *testing.T, h Harness) keystore.Store {
	t.Helper()
	one := h.Open(t, h.ring(t, 1))
	issue(t, one, request(1))
	publish(t, h, one, "job-1", 1)

	s := h.Open(t, h.ring(t, 2, 1))
	r := second(request(2))
	r.JobID, r.Attempt = otherJob, 2
	issue(t, s, r)
	publish(t, h, s, otherJob, 2)
	return s
}

// noneOpens checks that every row is found under the names that it now bears,
// and does not open.
func noneOpens(t *testing.T, h Harness, s keystore.Store, want int) {
	t.Helper()
	rows, err := h.Pool.Query(t.Context(), `SELECT kid, hash FROM content_keys`)
	if err != nil {
		t.Fatal(err)
	}
	type names struct {
		kid  []byte
		hash string
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (n names, err error) {
		err = row.Scan(&n.kid, &n.hash)
		return n, err
	})
	if err != nil || len(list) != want {
		t.Fatalf("%d rows, %v", len(list), err)
	}
	for _, n := range list {
		kid := cenc.KID(n.kid)
		if key, err := s.Served(t.Context(), n.hash, &kid); !errors.Is(err, keystore.ErrIntegrity) || !key.Content.IsZero() {
			t.Errorf("served: %v, want ErrIntegrity and no key", err)
		}
		if key, err := s.Get(t.Context(), n.hash, kid); !errors.Is(err, keystore.ErrIntegrity) || !key.Content.IsZero() {
			t.Errorf("get: %v, want ErrIntegrity and no key", err)
		}
	}
}

// fillers are values that a column may have while two rows exchange theirs.
var fillers = map[string]string{
	"kid":         `decode(repeat('f1', 16), 'hex')`,
	"hash":        `repeat('f', 64)`,
	"job_id":      `'filler'`,
	"attempt":     `99`,
	"track":       `'filler'`,
	"scheme":      `'cenc'`,
	"wrapped_key": `decode(repeat('f1', 32), 'hex')`,
	"wrap_nonce":  `decode(repeat('f1', 12), 'hex')`,
	"kek_version": `1`,
}

// exchange swaps a column of the two rows, which it tells apart by a column
// that it leaves alone.
func exchange(t *testing.T, h Harness, column string) {
	t.Helper()
	const one, two = `is_default`, `NOT is_default`
	set := func(tx pgx.Tx, where, value string, args ...any) error {
		_, err := tx.Exec(t.Context(), fmt.Sprintf(`UPDATE content_keys SET %s = %s WHERE %s`, column, value, where), args...)
		return err
	}
	err := pgx.BeginFunc(t.Context(), h.Pool, func(tx pgx.Tx) error {
		var a, b any
		read := `SELECT ` + column + ` FROM content_keys WHERE `
		return errors.Join(
			tx.QueryRow(t.Context(), read+one).Scan(&a),
			tx.QueryRow(t.Context(), read+two).Scan(&b),
			set(tx, one, fillers[column]),
			set(tx, two, `$1`, a),
			set(tx, one, `$1`, b),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func exchangedColumns(t *testing.T, h Harness) {
	s := twoKeys(t, h)
	for _, columns := range [][]string{
		{"hash"},
		{"kid"},
		{"track"},
		{"job_id"},
		{"attempt"},
		{"scheme"},
		{"kek_version"},
		{"wrapped_key"},
		{"wrap_nonce"},
		{"wrapped_key", "wrap_nonce"},
		{"wrapped_key", "wrap_nonce", "kek_version"},
		{"wrapped_key", "wrap_nonce", "kek_version", "scheme", "track"},
		{"hash", "kid"},
		{"job_id", "attempt", "track"},
	} {
		t.Run(fmt.Sprint(columns), func(t *testing.T) {
			for _, column := range columns {
				exchange(t, h, column)
			}
			noneOpens(t, h, s, 2)
			for _, column := range columns {
				exchange(t, h, column)
			}
		})
	}
	if _, err := s.Served(t.Context(), asset(1), nil); err != nil {
		t.Error("exchanged back:", err)
	}
}

func changedColumn(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1, 2))
	issue(t, s, request(1))
	publish(t, h, s, "job-1", 1)
	for _, change := range []string{
		`attempt = attempt + 1`,
		`job_id = 'job-11'`,
		`job_id = 'job-1:1'`,
		`track = 'cmaf-aes128'`,
		`scheme = 'cenc'`,
		`scheme = 'aes-128'`,
		`hash = reverse(hash)`,
		`kid = set_bit(kid, 0, 1 - get_bit(kid, 0))`,
		`kek_version = 2`,
		`wrap_nonce = decode(repeat('00', 12), 'hex')`,
		`wrapped_key = decode(repeat('00', 32), 'hex')`,
	} {
		t.Run(change, func(t *testing.T) {
			exec(t, h, `CREATE TABLE before AS SELECT * FROM content_keys`)
			exec(t, h, `UPDATE content_keys SET `+change)
			noneOpens(t, h, s, 1)
			exec(t, h, `DELETE FROM content_keys`)
			exec(t, h, `INSERT INTO content_keys SELECT * FROM before`)
			if _, err := h.Pool.Exec(t.Context(), `DROP TABLE before`); err != nil {
				t.Fatal(err)
			}
			served(t, s, asset(1), nil)
		})
	}
}

func flippedBit(t *testing.T, h Harness) {
	s := h.Open(t, h.ring(t, 1))
	key := issue(t, s, request(1))
	publish(t, h, s, "job-1", 1)
	for column, size := range map[string]int{"wrapped_key": 32, "wrap_nonce": 12} {
		flip := fmt.Sprintf(`UPDATE content_keys SET %[1]s = set_bit(%[1]s, $1, 1 - get_bit(%[1]s, $1))`, column)
		for i := range size {
			bit := 8*i + i%8
			exec(t, h, flip, bit)
			noneOpens(t, h, s, 1)
			if _, err := s.Issue(t.Context(), request(1)); !errors.Is(err, keystore.ErrIntegrity) {
				t.Errorf("issue again: %v, want ErrIntegrity, not another key", err)
			}
			exec(t, h, flip, bit)
		}
	}
	same(t, served(t, s, asset(1), nil), active(key))
}
