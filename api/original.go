package api

import (
	"context"
	"errors"
	"io"
	"net/http"
)

// originalName is the source of a title under its playback keys. It has no
// address under /stream: what a camera says of its owner is for those only who
// may download.
const originalName = "original"

// Originals finds the source that a published title was made of. ErrNotFound
// when it was removed, or when other bytes lie under its name.
type Originals interface {
	Original(ctx context.Context, hash string) (Original, error)
}

// Original is a source that is still there.
type Original struct {
	Size int64
	// Open reads n bytes from offset off, of these very bytes or not at all.
	Open func(ctx context.Context, off, n int64) (io.ReadCloser, error)
}

// original serves the source. Its SHA-256 is the title's hash.
func (d *delivery) original(w http.ResponseWriter, r *http.Request) error {
	if d.Originals == nil {
		return notFound()
	}
	if _, err := d.server.entry(r, d.grant.Hash); err != nil {
		return err
	}
	found, err := d.Originals.Original(r.Context(), d.grant.Hash)
	switch {
	case errors.Is(err, ErrNotFound):
		return notFound()
	case errors.Is(err, ErrObjectStore):
		d.metrics.failed(r, depObjects)
		return unavailable(err)
	case err != nil:
		d.metrics.failed(r, depPostgres)
		return unavailable(err)
	}
	// A stranger's bytes: never to be shown by a browser as something of ours.
	w.Header().Set("Content-Disposition", "attachment")
	return d.serveContent(w, r, content{
		size: found.Size, contentType: "application/octet-stream", cacheControl: d.control(Object{}), etag: `"` + d.grant.Hash + `"`, open: found.Open,
	})
}
