package localstack

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

func (s *Stack) startMinIO(ctx context.Context, t tools) error {
	dir, err := s.folder.sub("minio")
	if err != nil {
		return err
	}
	s.S3AccessKey, s.S3SecretKey = s.folder.state.S3AccessKey, s.folder.state.S3SecretKey
	port, err := s.run(ctx, recipe{
		name: "minio",
		command: func(port int) *exec.Cmd {
			cmd := exec.Command(t.minio, "server", "--quiet", "--address", loopback(port),
				"--certs-dir", filepath.Join(dir, "certs"), filepath.Join(dir, "data"))
			cmd.Dir = dir
			cmd.Env = environment(dir,
				"MINIO_ROOT_USER="+s.S3AccessKey,
				"MINIO_ROOT_PASSWORD="+s.S3SecretKey,
				"MINIO_SITE_REGION="+region,
				"MINIO_BROWSER=off",
				"MINIO_UPDATE=off",
				"MINIO_CALLHOME_ENABLE=off",
				"MINIO_SCANNER_SPEED=slowest", // the host is busy with encoding
			)
			return cmd
		},
		// A port that accepts is not enough: MinIO listens before it can serve.
		ready: func(ctx context.Context, port int) error {
			return s.withS3(loopback(port), func(c *minio.Client) error {
				_, err := c.ListBuckets(ctx)
				return err
			})
		},
		ask:   syscall.SIGTERM,
		quick: syscall.SIGKILL,
	})
	if err != nil {
		return err
	}
	s.S3Endpoint = "http://" + loopback(port)
	return nil
}

// CreateBucket creates buckets. One that exists is left as it is.
func (s *Stack) CreateBucket(ctx context.Context, names ...string) error {
	return s.withS3(s.S3Endpoint[len("http://"):], func(c *minio.Client) error {
		for _, name := range names {
			err := c.MakeBucket(ctx, name, minio.MakeBucketOptions{Region: region})
			if code := minio.ToErrorResponse(err).Code; err != nil && code != minio.BucketAlreadyOwnedByYou {
				return fmt.Errorf("create bucket %s: %w", name, err)
			}
		}
		return nil
	})
}

// withS3 lends a client whose connections are closed behind it.
func (s *Stack) withS3(addr string, use func(*minio.Client) error) error {
	transport := &http.Transport{} // no proxy: this is loopback
	defer transport.CloseIdleConnections()
	client, err := minio.New(addr, &minio.Options{
		Creds:      credentials.NewStaticV4(s.S3AccessKey, s.S3SecretKey, ""),
		Region:     region,
		Transport:  transport,
		MaxRetries: 1,
	})
	if err != nil {
		return errors.Join(errors.New("s3 client"), err)
	}
	return use(client)
}
