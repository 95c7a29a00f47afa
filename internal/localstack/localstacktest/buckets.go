package localstacktest

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sealcast/sealcast/internal/localstack"
)

// Buckets makes an empty source and an empty media bucket for the test, removed
// with all objects when it ends.
func Buckets(t testing.TB) (source, media string) {
	t.Helper()
	s := Stack(t)
	source, media = name("source"), name("media")
	if err := s.CreateBucket(t.Context(), source, media); err != nil {
		t.Fatalf("localstacktest: %v", err)
	}
	for _, bucket := range []string{source, media} {
		atEnd(t, "remove bucket", func(ctx context.Context) error { return removeBucket(ctx, s, bucket) })
	}
	return source, media
}

func removeBucket(ctx context.Context, s *localstack.Stack, bucket string) error {
	transport := &http.Transport{} // no proxy: this is loopback
	defer transport.CloseIdleConnections()
	client, err := minio.New(strings.TrimPrefix(s.S3Endpoint, "http://"), &minio.Options{
		Creds:     credentials.NewStaticV4(s.S3AccessKey, s.S3SecretKey, ""),
		Region:    s.S3Region,
		Transport: transport,
	})
	if err != nil {
		return err
	}
	err = client.RemoveBucketWithOptions(ctx, bucket, minio.RemoveBucketOptions{ForceDelete: true})
	if minio.ToErrorResponse(err).Code == minio.NoSuchBucket {
		return nil
	}
	return err
}
