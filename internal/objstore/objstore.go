// Package objstore is the S3 client behind the small interfaces that
// pipeline and api declare. It is tested against MinIO.
package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/sealcast/sealcast/pipeline"
)

// Config says where the store is.
type Config struct {
	Endpoint  string // http://host:port or https://host
	AccessKey string
	SecretKey string
	Region    string
}

// Client talks to one S3 endpoint.
type Client struct{ api *minio.Client }

// New returns a client; it does not connect yet.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Endpoint)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, fmt.Errorf("object store endpoint: want http://host:port or https://host")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 32
	transport.ResponseHeaderTimeout = 30 * time.Second
	transport.DisableCompression = true
	api, err := minio.New(u.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(cfg.AccessKey, cfg.SecretKey, ""),
		Secure: u.Scheme == "https", Region: cfg.Region, Transport: transport,
		BucketLookup: minio.BucketLookupPath,
		MaxRetries:   1, // callers retry with their own patience
	})
	if err != nil {
		return nil, fmt.Errorf("object store client: %w", err)
	}
	return &Client{api: api}, nil
}

// Bucket returns a handle on one bucket.
func (c *Client) Bucket(name string) *Bucket { return &Bucket{api: c.api, name: name} }

// EnsureBucket makes a bucket unless it exists.
func (c *Client) EnsureBucket(ctx context.Context, name string) error {
	exists, err := c.api.BucketExists(ctx, name)
	if err != nil {
		return fmt.Errorf("look for bucket %s: %w", name, err)
	}
	if exists {
		return nil
	}
	if err := c.api.MakeBucket(ctx, name, minio.MakeBucketOptions{}); err != nil {
		return fmt.Errorf("make bucket %s: %w", name, err)
	}
	return nil
}

// BucketExists reports whether the bucket is there; an error means that the
// store did not answer.
func (c *Client) BucketExists(ctx context.Context, name string) (bool, error) {
	return c.api.BucketExists(ctx, name)
}

// Bucket is one bucket. It implements pipeline.ObjectStore.
type Bucket struct {
	api  *minio.Client
	name string
}

// Stat returns an object's facts, or pipeline.ErrObjectNotFound.
func (b *Bucket) Stat(ctx context.Context, key string) (pipeline.ObjectInfo, error) {
	info, err := b.api.StatObject(ctx, b.name, key, minio.StatObjectOptions{})
	if err != nil {
		return pipeline.ObjectInfo{}, wrap("stat", key, err)
	}
	return pipeline.ObjectInfo{Key: key, Size: info.Size, ETag: info.ETag}, nil
}

// Get reads n bytes from offset off; n < 0 reads to the end. With an etag the
// object must still have it, else the error is pipeline.ErrObjectChanged.
// The error is told here, not at the first Read.
func (b *Bucket) Get(ctx context.Context, key, etag string, off, n int64) (io.ReadCloser, error) {
	var opts minio.GetObjectOptions
	if n == 0 {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	if off > 0 || n > 0 {
		end := int64(0) // minio-go: (off, 0) reads from off to the end
		if n > 0 {
			end = off + n - 1
		}
		if err := setRange(&opts, off, end, n); err != nil {
			return nil, err
		}
	}
	if etag != "" {
		if err := opts.SetMatchETag(etag); err != nil {
			return nil, fmt.Errorf("etag %q: %w", etag, err)
		}
	}
	core := minio.Core{Client: b.api}
	body, _, _, err := core.GetObject(ctx, b.name, key, opts)
	if err != nil {
		return nil, wrap("get", key, err)
	}
	return body, nil
}

func setRange(opts *minio.GetObjectOptions, off, end, n int64) error {
	if n < 0 && off == 0 {
		return nil
	}
	if n == 1 && off == 0 {
		opts.Set("Range", "bytes=0-0") // SetRange(0, 0) means the whole object
		return nil
	}
	if err := opts.SetRange(off, end); err != nil {
		return fmt.Errorf("range %d+%d: %w", off, n, err)
	}
	return nil
}

// Put writes an object whole. The store checks the bytes by their MD5.
func (b *Bucket) Put(ctx context.Context, key string, body []byte, contentType, cacheControl string) (pipeline.ObjectInfo, error) {
	info, err := b.api.PutObject(ctx, b.name, key, bytes.NewReader(body), int64(len(body)), minio.PutObjectOptions{
		ContentType: contentType, CacheControl: cacheControl,
		// The MD5 is enough for integrity; a second digest for the signature
		// would read the bytes once more on both sides.
		SendContentMd5: true, DisableContentSha256: true, DisableMultipart: true,
	})
	if err != nil {
		return pipeline.ObjectInfo{}, wrap("put", key, err)
	}
	return pipeline.ObjectInfo{Key: key, Size: int64(len(body)), ETag: info.ETag}, nil
}

// PutReader writes an object from a stream, in parts when it is large; a size
// of −1 is not known.
func (b *Bucket) PutReader(ctx context.Context, key string, body io.Reader, size int64, contentType, cacheControl string) (pipeline.ObjectInfo, error) {
	info, err := b.api.PutObject(ctx, b.name, key, body, size, minio.PutObjectOptions{
		ContentType: contentType, CacheControl: cacheControl, PartSize: partSize, NumThreads: 2,
	})
	if err != nil {
		return pipeline.ObjectInfo{}, wrap("put", key, err)
	}
	return pipeline.ObjectInfo{Key: key, Size: info.Size, ETag: info.ETag}, nil
}

// partSize is that of large objects: at most 10,000 of them make 156 GiB.
const partSize = 16 << 20

// List returns every object below a prefix.
func (b *Bucket) List(ctx context.Context, prefix string) ([]pipeline.ObjectInfo, error) {
	var out []pipeline.ObjectInfo
	for info := range b.api.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if info.Err != nil {
			return nil, wrap("list", prefix, info.Err)
		}
		out = append(out, pipeline.ObjectInfo{Key: info.Key, Size: info.Size, ETag: info.ETag})
	}
	return out, nil
}

// Delete removes an object; one that is not there is no error.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	if err := b.api.RemoveObject(ctx, b.name, key, minio.RemoveObjectOptions{}); err != nil {
		return wrap("delete", key, err)
	}
	return nil
}

func wrap(op, key string, err error) error {
	var resp minio.ErrorResponse
	if errors.As(err, &resp) {
		switch {
		case resp.Code == "NoSuchKey" || resp.Code == "NoSuchBucket" || resp.StatusCode == http.StatusNotFound:
			return fmt.Errorf("%s %s: %w (%s)", op, key, pipeline.ErrObjectNotFound, resp.Code)
		case resp.StatusCode == http.StatusPreconditionFailed:
			return fmt.Errorf("%s %s: %w", op, key, pipeline.ErrObjectChanged)
		}
	}
	return fmt.Errorf("%s %s: %w", op, key, err)
}
