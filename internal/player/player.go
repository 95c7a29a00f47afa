// Package player is the small web page that plays a title: hls.js for the
// outputs ts and cmaf-aes128, Shaka Player for the output cmaf. It is there for the demo and the
// browser tests, and as an example of a page that sends the playback token with
// key requests and with nothing else.
//
// What to play stands in the fragment of the page's address, which a browser
// sends to no server and in no Referer:
//
//	/#api=<BASE_URL>&hash=<hash>&token=<token>&output=<output>
//
// The outputs are ts, cmaf and cmaf-aes128 and, of cmaf, cmaf-dash (Shaka
// Player by the manifest), cmaf-eme (hls.js by the playlist for EME players) and
// cmaf-identity (hls.js by the key route, through page/hls-clearkey.js, which
// other pages may copy).
//
// The two libraries come from npm (package-lock.json) and are copied into dist
// by "make deps"; they are not in the repository.
package player

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
)

//go:embed page all:dist
var files embed.FS

const (
	hlsFile      = "dist/hls.min.js"
	shakaFile    = "dist/shaka-player.compiled.js"
	licensesFile = "dist/licenses.txt"
)

// Available tells whether the libraries are part of this binary.
func Available() bool { return available(files) }

func available(fsys fs.FS) bool {
	for _, name := range []string{hlsFile, shakaFile, licensesFile} {
		if _, err := fs.Stat(fsys, name); err != nil {
			return false
		}
	}
	return true
}

// Handler serves the page at /. The page may connect to the given origins
// (scheme://host[:port], such as BASE_URL) and to no other, so that a crafted
// link cannot make it send a token elsewhere; a text that is no origin is left
// out. Without the libraries the page says how to get them.
func Handler(apiOrigins ...string) http.Handler { return handler(files, apiOrigins) }

func handler(fsys fs.FS, apiOrigins []string) http.Handler {
	const js, css = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
	mux := http.NewServeMux()
	serve := func(pattern, file, contentType string) {
		body, err := fs.ReadFile(fsys, file)
		if err != nil {
			return // not built in: 404
		}
		sum := sha256.Sum256(body)
		etag := `"` + hex.EncodeToString(sum[:8]) + `"`
		mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("Cache-Control", "no-cache")
			w.Header().Set("ETag", etag)
			http.ServeFileFS(w, r, fsys, file)
		})
	}
	page := "page/index.html"
	if !available(fsys) {
		page = "page/missing.html"
	}
	serve("/{$}", page, "text/html; charset=utf-8")
	serve("/app.css", "page/app.css", css)
	serve("/app.js", "page/app.js", js)
	serve("/hls-clearkey.js", "page/hls-clearkey.js", js)
	serve("/hls.min.js", hlsFile, js)
	serve("/shaka-player.js", shakaFile, js)
	serve("/licenses.txt", licensesFile, "text/plain; charset=utf-8")

	policy := contentSecurityPolicy(apiOrigins)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		mux.ServeHTTP(w, r)
	})
}

// contentSecurityPolicy allows our own scripts and styles, media by Media
// Source Extensions (blob:), the empty text track that hls.js adds (data:), the worker that hls.js makes of its own text
// (blob:), and connections to the API.
func contentSecurityPolicy(apiOrigins []string) string {
	var connect []string
	for _, o := range apiOrigins {
		if o, ok := plainOrigin(o); ok {
			connect = append(connect, o)
		}
	}
	if len(connect) == 0 {
		connect = []string{"'none'"}
	}
	return fmt.Sprintf("default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "+
		"media-src blob: data:; worker-src blob:; connect-src %s; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
		strings.Join(connect, " "))
}

// plainOrigin returns s without anything but scheme, host and port, if it can
// stand in a policy as it is.
func plainOrigin(s string) (string, bool) {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" ||
		strings.ContainsAny(u.Host, " ;,'\"*") {
		return "", false
	}
	return u.Scheme + "://" + u.Host, true
}
