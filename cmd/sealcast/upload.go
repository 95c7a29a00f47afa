package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sealcast/sealcast/internal/objstore"
	"github.com/sealcast/sealcast/pipeline"
)

// source is an uploaded file.
type source struct {
	hash string // SHA-256, which names the asset
	key  string // object key in the source bucket
	size int64
}

// uploadSource hashes a file and puts it into the source bucket, under a name
// that its content decides. A file that lies there already, with the same
// size, is not sent again.
func uploadSource(ctx context.Context, bucket *objstore.Bucket, path string, show func(progress)) (source, error) {
	f, err := os.Open(path)
	if err != nil {
		return source{}, err
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		return source{}, err
	}
	if !fi.Mode().IsRegular() {
		return source{}, fmt.Errorf("%s is no regular file", path)
	}
	sum := sha256.New()
	n, err := io.Copy(sum, &meter{ctx: ctx, r: f, label: "hash", size: fi.Size(), show: show})
	if err != nil {
		return source{}, fmt.Errorf("hash %s: %w", path, err)
	}
	src := source{hash: hex.EncodeToString(sum.Sum(nil)), size: n}
	src.key = "uploads/" + src.hash + "/" + objectBase(path)
	info, err := bucket.Stat(ctx, src.key)
	switch {
	case err == nil && info.Size == src.size:
		return src, nil
	case err != nil && !errors.Is(err, pipeline.ErrObjectNotFound):
		return source{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return source{}, err
	}
	body := &meter{ctx: ctx, r: io.LimitReader(f, n), label: "upload", size: n, show: show}
	if _, err := bucket.PutReader(ctx, src.key, body, n, "application/octet-stream", ""); err != nil {
		return source{}, fmt.Errorf("upload %s: %w", path, err)
	}
	return src, nil
}

// objectBase is the file's name without what object keys may not have.
func objectBase(path string) string {
	base := strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\\' || r == '\uFFFD' {
			return '_'
		}
		return r
	}, filepath.Base(path))
	if len(base) > 200 {
		base = strings.ToValidUTF8(base[len(base)-200:], "")
	}
	return base
}

// meter is a reader that shows how far it is, and stops with its context.
type meter struct {
	ctx   context.Context //nolint:containedctx // a reader has no other place for it
	r     io.Reader
	label string
	size  int64
	show  func(progress)
	done  int64
	start time.Time
	shown time.Time
}

// Read implements io.Reader.
func (m *meter) Read(p []byte) (int, error) {
	if m.ctx.Err() != nil {
		return 0, context.Cause(m.ctx)
	}
	now := time.Now()
	if m.start.IsZero() {
		m.start = now
	}
	n, err := m.r.Read(p)
	m.done += int64(n)
	if now.Sub(m.shown) > 100*time.Millisecond || (n > 0 && m.done == m.size) {
		m.shown = now
		m.show(m.progress(now))
	}
	return n, err
}

func (m *meter) progress(now time.Time) progress {
	p := progress{label: m.label, percent: 100, eta: -1}
	if m.size > 0 {
		p.percent = float64(m.done) / float64(m.size) * 100
	}
	if spent := now.Sub(m.start); m.done > 0 && spent > time.Second {
		p.eta = time.Duration(float64(spent) * (float64(m.size)/float64(m.done) - 1))
	}
	return p
}
