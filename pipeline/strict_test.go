package pipeline_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"time"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/internal/sandbox"
	"github.com/sealcast/sealcast/internal/verify"
	"github.com/sealcast/sealcast/pipeline"
)

// The strict client judges what lies in the bucket: it decrypts and decodes every
// segment without the product's code.

const viewerToken = "viewer-token"

// outlet serves a presentation out of the bucket, and its keys by the contract.
type outlet struct {
	l     *lab
	req   pipeline.Request
	types map[string]string
}

func (o *outlet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if hash, ok := strings.CutPrefix(r.URL.Path, "/api/key/"); ok {
		o.key(w, r, hash)
		return
	}
	if hash, ok := strings.CutPrefix(r.URL.Path, "/api/license/clearkey/"); ok {
		o.licence(w, r, hash)
		return
	}
	name, ok := strings.CutPrefix(r.URL.Path, "/"+pipeline.KeyPrefix(o.req.Hash, o.req.Prefix))
	if _, there := o.types[name]; !ok || !there {
		http.NotFound(w, r)
		return
	}
	object, err := o.l.media.Get(r.Context(), pipeline.KeyPrefix(o.req.Hash, o.req.Prefix)+name, "", 0, -1)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer object.Close()
	body, err := io.ReadAll(object)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	cache := "public, max-age=31536000, immutable"
	if base := path.Base(name); base == "master.m3u8" || path.Ext(base) == ".mpd" {
		cache = "public, max-age=2"
	}
	if ext := path.Ext(name); ext == ".m3u8" || ext == ".mpd" {
		body = bytes.ReplaceAll(body, []byte(baseURL), []byte("http://"+r.Host))
	}
	w.Header().Set("Content-Type", o.types[name])
	w.Header().Set("Cache-Control", cache)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// key is the key route.
func (o *outlet) key(w http.ResponseWriter, r *http.Request, hash string) {
	key := o.req.Keys[o.req.Options.Outputs[0]].Content
	if kid, err := cenc.ParseKID(r.URL.Query().Get("kid")); err == nil {
		key, _ = o.req.StoredKey(r.Context(), kid)
	}
	if o.allowed(w, r, hash, key) {
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(key.Bytes())
	}
}

// licence is the Clear Key route (W3C EME, 9.1): one key is asked for at a time.
func (o *outlet) licence(w http.ResponseWriter, r *http.Request, hash string) {
	var ask struct{ Kids []string }
	var key cenc.ContentKey
	if err := json.NewDecoder(r.Body).Decode(&ask); err == nil && len(ask.Kids) == 1 {
		if id, err := base64.RawURLEncoding.DecodeString(ask.Kids[0]); err == nil && len(id) == cenc.KeySize {
			key, _ = o.req.StoredKey(r.Context(), cenc.KID(id))
		}
	}
	if o.allowed(w, r, hash, key) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"keys":[{"kty":"oct","kid":%q,"k":%q}],"type":"temporary"}`, ask.Kids[0], base64.RawURLEncoding.EncodeToString(key.Bytes()))
	}
}

// allowed answers for a key that may not be had.
func (o *outlet) allowed(w http.ResponseWriter, r *http.Request, hash string, key cenc.ContentKey) bool {
	w.Header().Set("Cache-Control", "no-store")
	given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	var status int
	var code string
	switch {
	case !bearer:
		status, code = http.StatusUnauthorized, "token_required"
	case given != viewerToken:
		status, code = http.StatusForbidden, "invalid_token"
	case hash != o.req.Hash:
		status, code = http.StatusForbidden, "token_mismatch"
	case key.IsZero():
		status, code = http.StatusNotFound, "no_key"
	default:
		return true
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = fmt.Fprintf(w, `{"status":%d,"code":%q}`, status, code)
	return false
}

// accepted lets the strict client judge every output, as HLS and, where it has a
// manifest, as DASH, and gives what it saw.
func (l *lab) accepted(req pipeline.Request, p *pipeline.Presentation) (reports []*verify.Report) {
	l.t.Helper()
	for _, out := range p.Outputs {
		reports = append(reports, l.judged(req, p, out.MasterPlaylist))
		if out.Manifest != "" {
			reports = append(reports, l.judged(req, p, out.Manifest))
		}
	}
	return reports
}

// judged lets it judge one entry document.
func (l *lab) judged(req pipeline.Request, p *pipeline.Presentation, entry string) *verify.Report {
	l.t.Helper()
	o := &outlet{l: l, req: req, types: map[string]string{}}
	for _, object := range p.Objects {
		o.types[object.Name] = object.ContentType
	}
	srv := httptest.NewServer(o)
	defer srv.Close()
	report, err := verify.Run(l.t.Context(), verify.Config{
		URL: srv.URL + "/" + pipeline.KeyPrefix(req.Hash, req.Prefix) + entry, Token: viewerToken, Parallel: 1, Sandbox: sandbox.Disable,
	})
	if err != nil {
		l.t.Fatalf("%s: %v", entry, err)
	}
	if !report.OK {
		var text strings.Builder
		report.WriteText(&text)
		l.t.Errorf("%s is refused:\n%s", entry, text.String())
	}
	return report
}
