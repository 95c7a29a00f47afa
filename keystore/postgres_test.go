package keystore_test

import (
	"os"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/keystore/keystoretest"
)

func TestMain(m *testing.M) { os.Exit(localstacktest.RunWhole(m)) }

func TestPostgresIsAStore(t *testing.T) {
	keystoretest.Run(t, func(t *testing.T) keystoretest.Harness {
		pool := localstacktest.Pool(t)
		return keystoretest.Harness{
			Pool: pool,
			Open: func(t *testing.T, keys *keystore.Keyring) keystore.Store { return open(t, pool, keys) },
		}
	})
}

func open(t testing.TB, pool *pgxpool.Pool, keys *keystore.Keyring) *keystore.Postgres {
	t.Helper()
	s, err := keystore.Open(t.Context(), pool, keys, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var (
	keyring = keystoretest.Keyring
	kek     = keystoretest.KEK
)

const hash = "00000000000000000000000000000000000000000000000000000000000000ab"

func request(attempt int) keystore.Request {
	return keystore.Request{
		Hash: hash, JobID: "job-1", Attempt: attempt, Track: "cmaf", Scheme: cenc.SchemeCBCS,
		KeyURI: "https://play.example/api/key/" + hash, Default: true,
	}
}

func exec(t testing.TB, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	if _, err := pool.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func one[T any](t testing.TB, pool *pgxpool.Pool, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := pool.QueryRow(t.Context(), sql, args...).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func BenchmarkServed(b *testing.B) {
	pool := localstacktest.Pool(b)
	s, err := keystore.Open(b.Context(), pool, keyring(b, 1), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	key, err := s.Issue(b.Context(), request(1))
	if err != nil {
		b.Fatal(err)
	}
	exec(b, pool, `UPDATE content_keys SET state = 'active', activated_at = now()`)
	for name, kid := range map[string]*cenc.KID{"default": nil, "kid": &key.KID} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Served(b.Context(), hash, kid); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
