package keystore_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/keystore"
)

// versions is the KEK table in one line: "1 secondary, 2 primary".
func versions(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	return one[string](t, pool, `SELECT coalesce(string_agg(version || ' ' || state, ', ' ORDER BY version), '') FROM kek_versions`)
}

func snapshot(t *testing.T, pool *pgxpool.Pool) string {
	t.Helper()
	return one[string](t, pool, `SELECT coalesce(string_agg(k::text, E'\n' ORDER BY version), '') FROM kek_versions k`)
}

func TestOpenRegistersVersions(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Pool(t)
	for _, step := range []struct {
		ring []int // the first is primary
		want string
	}{
		{[]int{1}, "1 primary"},
		{[]int{1, 2}, "1 primary, 2 secondary"},
		{[]int{2, 1}, "1 secondary, 2 primary"},
		{[]int{3, 1, 2}, "1 secondary, 2 secondary, 3 primary"},
		{[]int{1}, "1 primary, 2 secondary, 3 secondary"}, // nothing is sealed under 2 and 3
	} {
		open(t, pool, keyring(t, step.ring...))
		if got := versions(t, pool); got != step.want {
			t.Errorf("after %v: %s, want %s", step.ring, got, step.want)
		}
	}
	before := snapshot(t, pool)
	open(t, pool, keyring(t, 1))
	if diff := cmp.Diff(before, snapshot(t, pool)); diff != "" {
		t.Errorf("opening again changed the table:\n%s", diff)
	}
}

func TestOpenRefusesWrongBytes(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Pool(t)
	open(t, pool, keyring(t, 1, 2))
	before := snapshot(t, pool)
	for name, test := range map[string]struct {
		primary, wrong int
		keks           map[int][]byte
	}{
		"primary": {1, 1, map[int][]byte{1: kek(0xee), 2: kek(2)}},
		"older":   {1, 2, map[int][]byte{1: kek(1), 2: kek(0xee)}},
		"swapped": {2, 1, map[int][]byte{1: kek(2), 2: kek(1)}},
		"and new": {3, 2, map[int][]byte{1: kek(1), 2: kek(0xee), 3: kek(3)}},
	} {
		keys, err := keystore.NewKeyring(test.primary, test.keks)
		if err != nil {
			t.Fatal(err)
		}
		s, err := keystore.Open(t.Context(), pool, keys, nil)
		if !errors.Is(err, keystore.ErrKEKMismatch) || s != nil {
			t.Fatalf("%s: %v, want ErrKEKMismatch", name, err)
		}
		for _, part := range []string{fmt.Sprintf("KEK version %d", test.wrong), fmt.Sprintf("restore the original KEK_%d", test.wrong)} {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", name, err, part)
			}
		}
		if strings.Contains(err.Error(), "eeee") || strings.Contains(err.Error(), "238 238") {
			t.Errorf("%s: the error shows bytes: %v", name, err)
		}
	}
	if diff := cmp.Diff(before, snapshot(t, pool)); diff != "" {
		t.Errorf("a refused opening changed the table:\n%s", diff)
	}
}

func TestOpenRefusesAMissingVersion(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Pool(t)
	s := open(t, pool, keyring(t, 1))
	for attempt := range 3 {
		if _, err := s.Issue(t.Context(), request(attempt+1)); err != nil {
			t.Fatal(err)
		}
	}
	before := snapshot(t, pool)
	_, err := keystore.Open(t.Context(), pool, keyring(t, 2), nil)
	if !errors.Is(err, keystore.ErrKEKMissing) {
		t.Fatalf("%v, want ErrKEKMissing", err)
	}
	for _, part := range []string{"3 content keys", "version 1", "set KEK_1"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if diff := cmp.Diff(before, snapshot(t, pool)); diff != "" {
		t.Errorf("a refused opening changed the table:\n%s", diff)
	}
	exec(t, pool, `UPDATE content_keys SET state = 'shredded', wrapped_key = NULL, wrap_nonce = NULL`)
	open(t, pool, keyring(t, 2)) // a shredded row needs no KEK
}

func TestOpenRefusesARetiredPrimary(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Pool(t)
	s := open(t, pool, keyring(t, 1))
	exec(t, pool, `UPDATE kek_versions SET state = 'retired'`)
	if _, err := keystore.Open(t.Context(), pool, keyring(t, 1), nil); !errors.Is(err, keystore.ErrKEKRetired) {
		t.Errorf("%v, want ErrKEKRetired", err)
	}
	if _, err := s.Issue(t.Context(), request(1)); !errors.Is(err, keystore.ErrKEKRetired) {
		t.Errorf("issue under a version retired since: %v, want ErrKEKRetired", err)
	}
	open(t, pool, keyring(t, 2, 1))
	if got := versions(t, pool); got != "1 retired, 2 primary" {
		t.Error(got)
	}
}

func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	dsn := localstacktest.DSN(t)
	const processes = 8
	errs := make([]error, processes)
	var group sync.WaitGroup
	for i := range processes {
		pool := localstacktest.Connect(t, dsn)
		keys := keyring(t, 1+i%2, 2-i%2)
		group.Go(func() {
			s, err := keystore.Open(t.Context(), pool, keys, nil)
			if err == nil {
				_, err = s.Issue(t.Context(), request(i+1))
			}
			errs[i] = err
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	pool := localstacktest.Connect(t, dsn)
	if got := versions(t, pool); got != "1 primary, 2 secondary" && got != "1 secondary, 2 primary" {
		t.Errorf("%s: want one primary", got)
	}
	open(t, pool, keyring(t, 1, 2)) // the check values are of these KEKs
	if got := one[int64](t, pool, `SELECT sum(wraps)::bigint FROM kek_versions`); got != processes+2 {
		t.Errorf("%d wraps counted, want %d", got, processes+2)
	}
}

func TestOpenNeedsMigrations(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Pool(t)
	exec(t, pool, `DROP TABLE content_keys`)
	exec(t, pool, `DROP TABLE kek_versions`)
	_, err := keystore.Open(t.Context(), pool, keyring(t, 1), nil)
	if err == nil || errors.Is(err, keystore.ErrUnavailable) || !strings.Contains(err.Error(), "run the migrations") {
		t.Errorf("got %v", err)
	}
}

func TestSealsAreCountedWithTheirRows(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Pool(t)
	s := open(t, pool, keyring(t, 1))
	wraps := func() int64 { return one[int64](t, pool, `SELECT wraps FROM kek_versions WHERE version = 1`) }
	if wraps() != 1 {
		t.Errorf("%d wraps after opening, want the check value's", wraps())
	}
	for range 3 {
		if _, err := s.Issue(t.Context(), request(1)); err != nil {
			t.Fatal(err)
		}
	}
	if wraps() != 2 {
		t.Errorf("%d wraps, want 2: asking again seals nothing", wraps())
	}
	// A row that is refused leaves no count, and no count leaves no row.
	exec(t, pool, `ALTER TABLE content_keys ADD CONSTRAINT forbidden CHECK (attempt <> 2)`)
	if _, err := s.Issue(t.Context(), request(2)); err == nil || wraps() != 2 {
		t.Errorf("refused row: %v, %d wraps", err, wraps())
	}
}

func TestExhaustedKEKStops(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Pool(t)
	s := open(t, pool, keyring(t, 1))
	exec(t, pool, `UPDATE kek_versions SET wraps = $1`, int64(keystore.MaxWraps)-2)

	const callers = 6
	errs := make([]error, callers)
	var group sync.WaitGroup
	for i := range callers {
		group.Go(func() { _, errs[i] = s.Issue(t.Context(), request(i+1)) })
	}
	group.Wait()
	issued := 0
	for _, err := range errs {
		if err == nil {
			issued++
			continue
		}
		if !errors.Is(err, keystore.ErrKEKExhausted) || !strings.Contains(err.Error(), "KEK version 1") {
			t.Errorf("%v, want ErrKEKExhausted", err)
		}
	}
	if rows := one[int](t, pool, `SELECT count(*) FROM content_keys`); issued != 2 || rows != 2 {
		t.Errorf("%d keys issued in %d rows, want 2: the budget's rest", issued, rows)
	}
	for i, err := range errs { // what is sealed still opens
		if err == nil {
			if _, err := s.Issue(t.Context(), request(i+1)); err != nil {
				t.Error(err)
			}
		}
	}
	s = open(t, pool, keyring(t, 2, 1))
	if key, err := s.Issue(t.Context(), request(callers+1)); err != nil || key.KEKVersion != 2 {
		t.Errorf("after a new primary: %v", err)
	}
}

// A publish transaction that rolls back for another reason is the caller's.
func TestActivateSaysNothingOfRows(t *testing.T) {
	t.Parallel()
	pool := localstacktest.Pool(t)
	s := open(t, pool, keyring(t, 1))
	if _, err := s.Issue(t.Context(), request(1)); err != nil {
		t.Fatal(err)
	}
	exec(t, pool, `ALTER TABLE content_keys ADD CONSTRAINT forbidden CHECK (state <> 'active')`)
	err := pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error {
		_, err := s.Activate(t.Context(), tx, "job-1", 1)
		return err
	})
	noRowValues(t, err, one[string](t, pool, `SELECT encode(wrapped_key, 'hex') FROM content_keys`))
}
