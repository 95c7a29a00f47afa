package localstacktest_test

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/redis/go-redis/v9"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
)

func TestMain(m *testing.M) { os.Exit(localstacktest.Run(m)) }

func TestEachTestHasItsOwn(t *testing.T) {
	seen := map[string]bool{}
	for _, who := range []string{"first", "second"} {
		t.Run(who, func(t *testing.T) {
			dsn := localstacktest.DSN(t)
			pool := localstacktest.Connect(t, dsn)
			var keys int
			if err := pool.QueryRow(t.Context(), `SELECT count(*) FROM kek_versions`).Scan(&keys); err != nil {
				t.Fatal("not migrated:", err)
			}
			if keys != 0 {
				t.Errorf("%d rows of another test", keys)
			}
			_, err := pool.Exec(t.Context(), `INSERT INTO kek_versions (version, check_nonce, check_value, state)
				VALUES (1, decode(repeat('00', 12), 'hex'), decode(repeat('00', 48), 'hex'), 'secondary')`)
			if err != nil {
				t.Fatal(err)
			}

			redisURL := localstacktest.RedisURL(t)
			options, err := redis.ParseURL(redisURL)
			if err != nil {
				t.Fatal(err)
			}
			client := redis.NewClient(options)
			defer client.Close()
			if n, err := client.DBSize(t.Context()).Result(); err != nil || n != 0 {
				t.Errorf("redis has %d keys, %v", n, err)
			}
			if err := client.Set(t.Context(), "a", "b", 0).Err(); err != nil {
				t.Error(err)
			}

			source, media := localstacktest.Buckets(t)
			put(t, source)
			for _, name := range []string{dsn, redisURL, source, media} {
				if seen[name] {
					t.Errorf("%s was given twice", name)
				}
				seen[name] = true
			}
		})
	}
	t.Run("nothing is left", func(t *testing.T) {
		pool := localstacktest.Pool(t)
		var databases []string
		err := pool.QueryRow(t.Context(), `SELECT array_agg(datname::text) FROM pg_database
			WHERE datname LIKE 'test-%' AND datname <> current_database()`).Scan(&databases)
		if err != nil || len(databases) != 0 {
			t.Errorf("databases left: %v, %v", databases, err)
		}
		buckets, err := storage(t).ListBuckets(t.Context())
		if err != nil || len(buckets) != 0 {
			t.Errorf("buckets left: %v, %v", buckets, err)
		}
	})
}

func put(t *testing.T, bucket string) {
	t.Helper()
	_, err := storage(t).PutObject(t.Context(), bucket, "a/b", strings.NewReader("x"), 1, minio.PutObjectOptions{})
	if err != nil {
		t.Error(err)
	}
}

func storage(t *testing.T) *minio.Client {
	t.Helper()
	s := localstacktest.Stack(t)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	client, err := minio.New(strings.TrimPrefix(s.S3Endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(s.S3AccessKey, s.S3SecretKey, ""), Region: s.S3Region, Transport: transport,
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}
