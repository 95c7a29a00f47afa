package api

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/token"
)

// What lies under a playback key:
//
//	/v1/p/{key}/[t/{token}/]<entry document>       the published generation
//	/v1/p/{key}/[t/{token}/]{prefix}/{name}        its inventory
//	/v1/p/{key}/[t/{token}/]poster.jpg, storyboard.vtt, text/…, static/…, original
//	/v1/p/{key}/[t/{token}/]thumbnail.jpg?width=&time=
//	/v1/p/{key}/[t/{token}/]playback.json          what there is, for a player page
//	/v1/p/{key}/[t/{token}/]key, license           content keys
//	/v1/p/{key}/session                            a cookie for a token
//
// The gate decides before anything is looked up.

const (
	deliveryPath        = "/v1/p/{pk}/{path...}"
	deliveryTokenPath   = "/v1/p/{pk}/t/{token}/{path...}"
	legacyMasterPath    = "/v1/{pk}/master.m3u8"
	maxDeliveredPath    = maxName
	privateControl      = "private, max-age=86400, immutable" // bytes that the viewer has seen anyway
	privateShortControl = "private, no-cache"
	publicControl       = "public, max-age=300" // a playback key may be closed
)

// getDelivery serves what lies under a playback key.
func (s *server) getDelivery(w http.ResponseWriter, r *http.Request) error {
	pk, path := r.PathValue("pk"), r.PathValue("path")
	if !isPlaybackKey(pk) || len(path) > maxDeliveredPath || !namePattern.MatchString(path) {
		return notFound()
	}
	prefix, name, _ := strings.Cut(path, "/")
	named := !prefixPattern.MatchString(prefix) || name == ""
	if named {
		prefix, name = "", path
	}
	grant, c, err := s.admit(r, pk, scopeOfName(name), true)
	if err != nil {
		return err
	}
	s.deliveryHeaders(w)
	d := delivery{
		server: s, grant: grant, prefix: prefix, name: name, entry: named, depth: strings.Count(path, "/"), folder: "/v1/p/" + pk + "/",
	}
	if err := d.carry(c); err != nil {
		return err
	}
	return d.serve(w, r)
}

// getLegacyMaster serves the multivariant playlist of a playback key under the
// address that it has elsewhere.
func (s *server) getLegacyMaster(w http.ResponseWriter, r *http.Request) error {
	pk := r.PathValue("pk")
	if !isPlaybackKey(pk) {
		return notFound()
	}
	grant, c, err := s.admit(r, pk, token.ScopeAll, true)
	if err != nil {
		return err
	}
	s.deliveryHeaders(w)
	d := delivery{server: s, grant: grant, name: anyMaster, entry: true, folder: "/v1/p/" + pk + "/", up: "../p/" + pk + "/"}
	if err := d.carry(c); err != nil {
		return err
	}
	return d.serve(w, r)
}

func (s *server) deliveryHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
	h.Set("Referrer-Policy", "no-referrer") // the address may hold a token
}

// delivery is one answer under a playback key.
type delivery struct {
	*server
	grant  access.Grant
	prefix string // of the generation; empty: the published one
	name   string // within it
	entry  bool   // asked for without the prefix
	folder string // of the playback key, absolute
	up     string // leads from where it was asked for to folder; empty: it was asked for there
	child  string // leads from folder to where children are asked for
	depth  int    // how many folders below folder it was asked for
}

// carry decides how children carry the token: in a path they inherit it, a
// query turns into a path with the session, a header or cookie is sent with
// every request anyway.
func (d *delivery) carry(c credential) error {
	switch {
	case d.grant.Anonymous:
	case c.carrier == access.CarrierPath:
		d.folder += "t/" + c.token + "/"
		d.up = ""
	case c.carrier == access.CarrierQuery && leadsOn(d.name):
		session, err := d.Gate.Session(d.grant)
		if err != nil {
			return err
		}
		d.child = "t/" + session + "/"
		d.folder += d.child
	}
	return nil
}

// leadsOn reports whether what has the name holds addresses of other things.
func leadsOn(name string) bool {
	return strings.HasSuffix(name, ".m3u8") || strings.HasSuffix(name, ".mpd") || name == playbackName
}

// carrier tells the rewriting of a document about this delivery.
func (d *delivery) carrier(prefix string) carrier {
	return carrier{
		hash: d.grant.Hash, prefix: prefix, name: d.name, entry: d.entry, depth: d.depth,
		child: d.up + d.child, gate: d.folder,
	}
}

func (d *delivery) serve(w http.ResponseWriter, r *http.Request) error {
	if d.entry {
		switch {
		case d.name == playbackName:
			return d.playback(w, r)
		case d.name == originalName:
			return d.original(w, r)
		case thumbnailTypes[d.name] != "":
			return d.thumbnail(w, r)
		}
		return d.serveNamed(w, r)
	}
	obj, err := d.object(r, d.grant.Hash, d.prefix, d.name)
	if err != nil {
		return err
	}
	return d.serveObject(w, r, d.prefix, obj)
}

// One address for every HLS player: anyMaster. The output cmaf, whose own
// playlist has that name, has another address here.
const (
	anyMaster  = "master.m3u8"
	cmafMaster = "cmaf/master.m3u8"
)

// mostPlayable are the multivariant playlists from the one that most players
// play on: of an encrypted title AES-128 on whole segments.
func mostPlayable(encrypted bool) []string {
	if encrypted {
		return []string{"ts/master.m3u8", "cmaf-aes128/master.m3u8", anyMaster}
	}
	return []string{anyMaster, "ts/master.m3u8", "cmaf-aes128/master.m3u8"}
}

func (d *delivery) serveMaster(w http.ResponseWriter, r *http.Request) error {
	entry, err := d.server.entry(r, d.grant.Hash)
	if err != nil {
		return err
	}
	// One look: while a running attempt begins to show its outputs, the best one
	// must not be missed by the first look and the next one found by the second.
	obj, err := d.object(r, d.grant.Hash, entry.Prefix, mostPlayable(entry.Encrypted)...)
	if err != nil {
		return err
	}
	d.name = obj.Name
	return d.serveObject(w, r, entry.Prefix, obj)
}

// serveNamed serves an entry document, or what else has a name of its own.
func (d *delivery) serveNamed(w http.ResponseWriter, r *http.Request) error {
	switch d.name {
	case anyMaster:
		return d.serveMaster(w, r)
	case cmafMaster:
		d.name = "master.m3u8"
	}
	_, document := entryDocuments[d.name]
	if !document && scopeOfName(d.name) == token.ScopeAll {
		return notFound() // segments and media playlists have their prefix
	}
	prefix, obj, err := d.find(r, d.name)
	if err != nil {
		return err
	}
	return d.serveObject(w, r, prefix, obj)
}

// find looks up what has a fixed address: an entry document in the published
// generation, anything else in the current parts.
func (d *delivery) find(r *http.Request, name string) (prefix string, obj Object, err error) {
	entry, err := d.server.entry(r, d.grant.Hash)
	if err != nil {
		return "", Object{}, err
	}
	prefix = entry.Prefix
	if _, document := entryDocuments[name]; !document {
		if prefix, err = d.partPrefix(r, d.grant.Hash, name, entry); err != nil {
			return "", Object{}, err
		}
	}
	obj, err = d.object(r, d.grant.Hash, prefix, name)
	return prefix, obj, err
}

const (
	kindHLS  = "application/vnd.apple.mpegurl"
	kindDASH = "application/dash+xml"
)

func (d *delivery) serveObject(w http.ResponseWriter, r *http.Request, prefix string, obj Object) error {
	open := d.opener(d.grant.Hash, prefix, obj)
	if obj.ContentType != kindHLS && obj.ContentType != kindDASH {
		return d.serveContent(w, r, content{
			size: obj.Size, contentType: obj.ContentType, cacheControl: d.control(obj), etag: etag(obj.SHA256), open: open,
		})
	}
	raw, err := d.readWhole(r, open, obj)
	if err != nil {
		return err
	}
	c := d.carrier(prefix)
	rewrite := c.playlist
	if obj.ContentType == kindDASH {
		rewrite = c.manifest
	}
	body, err := rewrite(raw)
	if err != nil {
		return internalError(fmt.Errorf("rewrite %s of %s: %w", d.name, d.grant.Hash, err))
	}
	if _, document := entryDocuments[d.name]; document && d.entry {
		entry, err := d.server.entry(r, d.grant.Hash)
		if err != nil {
			return err
		}
		if body, err = entry.addTracks(body, d.name, c.root()+c.child, c.gate); err != nil {
			return internalError(fmt.Errorf("name the text tracks of %s in %s: %w", d.grant.Hash, d.name, err))
		}
	}
	control := privateShortControl
	switch {
	case d.child != "":
		control = secretControl // the body has a token in it
	case d.shared() && obj.Early:
		control = earlyControl(obj)
	case d.shared():
		control = entryControl
	}
	return d.serveContent(w, r, content{
		size: int64(len(body)), contentType: obj.ContentType, cacheControl: control,
		open: openBytes(body),
	})
}

// shared reports whether caches that many share may keep the answer: nobody was
// asked for a token, and nothing else about the client counts.
func (d *delivery) shared() bool {
	pk := d.grant.PlaybackKey
	return d.grant.Anonymous && pk != nil && len(pk.Hosts) == 0 && len(pk.IPs) == 0 && pk.NotAfter == nil
}

// control says who may keep bytes and for how long. What has an address of its
// own, without a prefix, may be replaced at any time, and what is shown early
// withdrawn.
func (d *delivery) control(obj Object) string {
	switch {
	case d.shared() && obj.Early:
		return earlyControl(obj)
	case d.shared() && d.entry:
		return entryControl
	case d.shared():
		return publicControl
	case d.entry || obj.Early:
		return privateShortControl
	}
	return privateControl
}
