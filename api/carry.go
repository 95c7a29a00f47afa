package api

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
)

// A document that leaves under a playback key leads to nothing but what lies
// under the same playback key, and carries the viewer's token on. All of it is
// done by paths: a URI that is relative inherits the path that it stands in,
// token and all, in every player there is, while a query is inherited by none.

// carrier says how the URIs of one document are to be written.
type carrier struct {
	hash   string // of the asset
	prefix string // of the generation
	name   string // of the document within the prefix
	entry  bool   // it was asked for in the playback key's own folder, not in the prefix
	depth  int    // how many folders below that it was asked for
	// child leads from the folder that the document was asked in to the one
	// that its children are asked in: "t/<session>/" when the token came by
	// query and goes on by path; empty: the same.
	child string
	// gate is the absolute path of that folder: key and licence lie there.
	gate string
}

// root leads from the document to the folder that it was asked in.
func (c carrier) root() string { return strings.Repeat("../", c.depth) }

// playlist rewrites an HLS playlist.
func (c carrier) playlist(doc []byte) ([]byte, error) {
	return rewritePlaylist(doc, func(uri string) (string, error) {
		target, query, err := resolveURI(uri, c.name)
		switch {
		case err != nil:
			return "", err
		case target == "":
			return c.local(uri), nil
		case !c.entry && c.child == "":
			return uri, nil
		}
		return c.root() + c.child + c.prefix + "/" + target + query, nil
	})
}

// local is gated for a playlist: the address of a key goes without scheme and
// host, so that a page under any name of this server reaches its own origin.
func (c carrier) local(uri string) string {
	gated := c.gated(uri)
	if i := strings.Index(gated, c.gate); gated != uri && i > 0 {
		return gated[i:]
	}
	return gated
}

// gated leads the key and licence routes of the asset to those of the playback
// key. The key's own name stays: ?kid=.
func (c carrier) gated(uri string) string {
	u, err := url.Parse(uri)
	if err != nil {
		return uri
	}
	switch u.Path {
	case "/api/key/" + c.hash:
		u.Path = c.gate + "key"
	case "/api/license/clearkey/" + c.hash:
		u.Path = c.gate + "license"
	default:
		return uri
	}
	return u.String()
}

// manifest rewrites a DASH manifest: a BaseURL for everything relative, and the
// addresses of licences.
func (c carrier) manifest(doc []byte) ([]byte, error) {
	doc, err := c.licences(doc)
	if err != nil {
		return nil, err
	}
	if !c.entry && c.child == "" {
		return doc, nil
	}
	base := c.root() + c.child + c.prefix + "/"
	if dir := path.Dir(c.name); dir != "." {
		base += dir + "/"
	}
	return insertBase(doc, base)
}

// licences rewrites the text of every element named Laurl (DASH-IF IOP,
// 7.6.2.4): where a player asks for a licence.
func (c carrier) licences(doc []byte) ([]byte, error) {
	dec := xml.NewDecoder(bytes.NewReader(doc))
	var out bytes.Buffer
	kept := int64(0) // how much of doc is in out
	inside := false
	for {
		start := dec.InputOffset()
		tok, err := dec.Token()
		if errors.Is(err, io.EOF) {
			out.Write(doc[kept:])
			return out.Bytes(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			inside = strings.EqualFold(t.Name.Local, "laurl")
		case xml.EndElement:
			inside = false
		case xml.CharData:
			text := string(t)
			uri := strings.TrimSpace(text)
			if !inside || uri == "" {
				continue
			}
			out.Write(doc[kept:start])
			if err := xml.EscapeText(&out, []byte(strings.Replace(text, uri, c.gated(uri), 1))); err != nil {
				return nil, err
			}
			kept = dec.InputOffset()
		}
	}
}
