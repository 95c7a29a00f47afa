package api

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"image"
	"math"
	"net/http"
	"net/url"
	"path"
	"strconv"

	"github.com/sealcast/sealcast/internal/picture"
)

// A thumbnail is cut out of what the worker has made: the storyboard's tile at
// the time, or the poster. No byte of the source is decoded here.

const (
	storyboardName = "storyboard.vtt"
	minThumbnail   = 16 // pixels of width
	maxThumbnail   = 1920
	thumbnailsBusy = 2 // that are made at once
)

var thumbnailTypes = map[string]string{
	"thumbnail.jpg": "image/jpeg", "thumbnail.png": "image/png", "thumbnail.webp": "image/webp",
}

// thumbnailQuery is what a request asks for.
type thumbnailQuery struct {
	width int     // 0: as the picture is
	at    float64 // seconds; negative: the poster
}

func parseThumbnailQuery(rawQuery string) (thumbnailQuery, error) {
	q := thumbnailQuery{at: -1}
	query, err := url.ParseQuery(rawQuery)
	if err != nil {
		return q, invalidRequest("the query is malformed")
	}
	for name, values := range query {
		if len(values) > 1 {
			return q, invalidRequest(fmt.Sprintf("%s: stands there twice", shorten(name)))
		}
		switch name {
		case "width":
			if q.width, err = strconv.Atoi(values[0]); err != nil || q.width < minThumbnail || q.width > maxThumbnail {
				return q, invalidRequest(fmt.Sprintf("width: want a whole number from %d to %d", minThumbnail, maxThumbnail))
			}
		case "time":
			if q.at, err = strconv.ParseFloat(values[0], 64); err != nil || !(q.at >= 0) || math.IsInf(q.at, 0) {
				return q, invalidRequest("time: want seconds, 0 or more")
			}
		case "jwt", "token":
		default:
			return q, invalidRequest(fmt.Sprintf("unknown parameter %q", shorten(name)))
		}
	}
	return q, nil
}

// thumbnail makes a small picture.
func (d *delivery) thumbnail(w http.ResponseWriter, r *http.Request) error {
	q, err := parseThumbnailQuery(r.URL.RawQuery)
	if err != nil {
		return err
	}
	if err := d.limit(r, "thumbnail:"); err != nil {
		return err
	}
	prefix, obj, crop, err := d.picture(r, q.at)
	if err != nil {
		return err
	}
	c := content{
		contentType: thumbnailTypes[d.name], cacheControl: d.control(obj),
		etag: etag(sha256.Sum256(fmt.Appendf(nil, "thumbnail 1 %x %v %d %s", obj.SHA256, crop, q.width, d.name))),
	}
	if answered, err := answerConditional(w, r, c); answered || err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), firstByteTimeout)
	defer cancel()
	select {
	case d.thumbnails <- struct{}{}:
		defer func() { <-d.thumbnails }()
	case <-ctx.Done():
		return unavailable(errors.New("too many thumbnails are being made"))
	}
	body, err := d.cut(r, prefix, obj, crop, q.width)
	if err != nil {
		return err
	}
	c.size = int64(len(body))
	c.open = openBytes(body)
	return d.serveContent(w, r, c)
}

func (d *delivery) cut(r *http.Request, prefix string, obj Object, crop image.Rectangle, width int) ([]byte, error) {
	if obj.Size > picture.MaxBytes {
		return nil, internalError(fmt.Errorf("%s of %s has %d bytes", obj.Name, d.grant.Hash, obj.Size))
	}
	raw, err := d.readWhole(r, d.opener(d.grant.Hash, prefix, obj), obj)
	if err != nil {
		return nil, err
	}
	body, err := picture.Cut(raw, crop, width, picture.Format(path.Ext(d.name)[1:]))
	if err != nil {
		return nil, internalError(fmt.Errorf("thumbnail of %s: %w", d.grant.Hash, err))
	}
	return body, nil
}

// picture finds the storyboard's tile at a time, or the poster: without a time,
// and where there is no storyboard.
func (d *delivery) picture(r *http.Request, at float64) (prefix string, obj Object, crop image.Rectangle, err error) {
	if at >= 0 {
		prefix, obj, crop, err = d.tile(r, at)
		if !isNotFound(err) {
			return prefix, obj, crop, err
		}
	}
	prefix, obj, err = d.find(r, posterName)
	return prefix, obj, image.Rectangle{}, err
}

func (d *delivery) tile(r *http.Request, at float64) (prefix string, obj Object, crop image.Rectangle, err error) {
	prefix, obj, err = d.find(r, storyboardName)
	if err != nil {
		return "", Object{}, crop, err
	}
	vtt, err := d.readWhole(r, d.opener(d.grant.Hash, prefix, obj), obj)
	if err != nil {
		return "", Object{}, crop, err
	}
	name, crop, ok := tileAt(vtt, at)
	if !ok {
		return "", Object{}, crop, notFound()
	}
	obj, err = d.object(r, d.grant.Hash, prefix, name)
	return prefix, obj, crop, err
}

func isNotFound(err error) bool {
	var p *Problem
	return errors.As(err, &p) && p.Status == http.StatusNotFound
}
