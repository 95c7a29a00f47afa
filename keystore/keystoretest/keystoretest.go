// Package keystoretest is the contract of keystore.Store as a test suite. An
// implementation is one when Run passes.
package keystoretest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
)

// Harness is an empty store to test.
type Harness struct {
	// Pool reaches the database behind the store: the suite publishes in its
	// transactions, and tampers with the rows of content_keys.
	Pool *pgxpool.Pool
	// Open opens a store on that database with a keyring, as a process does
	// when it starts.
	Open func(t *testing.T, keys *keystore.Keyring) keystore.Store
	// Ring gives a keyring of KEK versions, the first one primary; nil: of KEKs
	// in memory.
	Ring func(t *testing.T, versions ...int) *keystore.Keyring
}

// Run tests the stores that newHarness makes; each test asks for one of its own.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	for name, test := range map[string]func(*testing.T, Harness){
		"issue makes a pending key":              issueMakesAPendingKey,
		"issue is idempotent":                    issueIsIdempotent,
		"issue is insert-only":                   issueIsInsertOnly,
		"issue at once gives one key":            issueAtOnce,
		"issue refuses malformed requests":       issueRefusesMalformed,
		"one key never serves two schemes":       oneKeyOneScheme,
		"pending is not served":                  pendingIsNotServed,
		"activation serves":                      activationServes,
		"activation of another attempt":          activationOfAnotherAttempt,
		"activation rolls back with its tx":      activationRollsBack,
		"one default key":                        oneDefault,
		"default and kid":                        defaultAndKID,
		"key of another asset":                   keyOfAnotherAsset,
		"states":                                 states,
		"shred":                                  shred,
		"old KEK versions open":                  oldVersionsOpen,
		"absent KEK version is an error":         absentVersion,
		"exchanged columns do not open":          exchangedColumns,
		"a changed column does not open":         changedColumn,
		"a flipped bit does not open":            flippedBit,
		"keys redact themselves":                 keysRedact,
		"a cancelled context is not unavailable": cancelled,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, newHarness(t))
		})
	}
}

// KEK is a KEK that tests know by one byte.
func KEK(b byte) []byte { return bytes.Repeat([]byte{b}, keystore.KEKSize) }

// ring is a keyring of the versions, the first one primary.
func (h Harness) ring(t *testing.T, versions ...int) *keystore.Keyring {
	t.Helper()
	if h.Ring != nil {
		return h.Ring(t, versions...)
	}
	return Keyring(t, versions...)
}

// Keyring has versions whose KEKs are in memory and known by one byte, their own
// number; the first one is primary.
func Keyring(t testing.TB, versions ...int) *keystore.Keyring {
	t.Helper()
	keks := map[int][]byte{}
	for _, v := range versions {
		keks[v] = KEK(byte(v))
	}
	keys, err := keystore.NewKeyring(versions[0], keks)
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

const (
	keyURI   = "https://play.example/api/key/"
	otherJob = "job-2"
)

func asset(n int) string { return fmt.Sprintf("%064x", n) }

// request asks for the default key of an asset: job-1, attempt 1, cmaf.
func request(n int) keystore.Request {
	return keystore.Request{
		Hash: asset(n), JobID: "job-1", Attempt: 1, Track: "cmaf",
		Scheme: cenc.SchemeCBCS, KeyURI: keyURI + asset(n), Default: true,
	}
}

// second makes r ask for the attempt's second output.
func second(r keystore.Request) keystore.Request {
	r.Track, r.Scheme, r.Default = "ts", cenc.SchemeAES128, false
	r.KeyURI += "?kid=" + keystore.KIDPlaceholder
	return r
}

func issue(t *testing.T, s keystore.Store, r keystore.Request) keystore.Key {
	t.Helper()
	key, err := s.Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// publish activates the keys of an attempt and says how many they were.
func publish(t *testing.T, h Harness, s keystore.Store, jobID string, attempt int) int64 {
	t.Helper()
	var n int64
	err := pgx.BeginFunc(t.Context(), h.Pool, func(tx pgx.Tx) (err error) {
		n, err = s.Activate(t.Context(), tx, jobID, attempt)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func exec(t *testing.T, h Harness, sql string, args ...any) {
	t.Helper()
	tag, err := h.Pool.Exec(t.Context(), sql, args...)
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(strings.Fields(sql), " "), err)
	}
	if tag.RowsAffected() == 0 {
		t.Fatalf("%s: no row", strings.Join(strings.Fields(sql), " "))
	}
}

// same compares keys, their secret too, without printing it.
func same(t *testing.T, got, want keystore.Key) {
	t.Helper()
	if !bytes.Equal(got.Content.Bytes(), want.Content.Bytes()) {
		t.Errorf("key %s: another content key than before", got.KID)
	}
	got.Content, want.Content = cenc.ContentKey{}, cenc.ContentKey{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("key differs (-want +got):\n%s", diff)
	}
}

func active(k keystore.Key) keystore.Key {
	k.State = keystore.StateActive
	return k
}
