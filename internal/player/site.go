package player

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// Site is the pages that sealcast itself serves: the player page under a
// playback key, alone (/watch/) or inside other pages (/embed/), the console,
// and what both load (/player/). All scripts are files of ours: the policies
// allow nothing inline.
type Site struct {
	fsys  fs.FS
	files map[string]siteFile // by name below /player/
}

type siteFile struct{ file, contentType, etag string }

// NewSite returns the pages of this binary.
func NewSite() *Site { return newSite(files) }

func newSite(fsys fs.FS) *Site {
	const js, css = "text/javascript; charset=utf-8", "text/css; charset=utf-8"
	s := &Site{fsys: fsys, files: map[string]siteFile{}}
	for name, f := range map[string]siteFile{
		"watch.css":       {file: "page/watch.css", contentType: css},
		"watch.js":        {file: "page/watch.js", contentType: js},
		"engines.js":      {file: "page/engines.js", contentType: js},
		"storyboard.js":   {file: "page/storyboard.js", contentType: js},
		"words.js":        {file: "page/words.js", contentType: js},
		"console.css":     {file: "page/console.css", contentType: css},
		"console.js":      {file: "page/console.js", contentType: js},
		"hls.min.js":      {file: hlsFile, contentType: js},
		"shaka-player.js": {file: shakaFile, contentType: js},
		"licenses.txt":    {file: licensesFile, contentType: "text/plain; charset=utf-8"},
	} {
		body, err := fs.ReadFile(fsys, f.file)
		if err != nil {
			continue // not built in: 404
		}
		sum := sha256.Sum256(body)
		f.etag = `"` + hex.EncodeToString(sum[:8]) + `"`
		s.files[name] = f
	}
	return s
}

// Watch serves the player page, which nothing may embed.
func (s *Site) Watch(w http.ResponseWriter, r *http.Request) { s.player(w, r, "'none'") }

// Embed serves the player page for other pages: those of the hosts, with any
// port, "*." for every depth below; without hosts, all.
func (s *Site) Embed(w http.ResponseWriter, r *http.Request, hosts []string) {
	s.player(w, r, frameAncestors(hosts))
}

func (s *Site) player(w http.ResponseWriter, r *http.Request, ancestors string) {
	page := "page/watch.html"
	if !available(s.fsys) {
		page = "page/missing.html"
	}
	s.page(w, r, page, "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob: data:; "+
		"worker-src blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors "+ancestors)
}

// Console serves the console, which asks for an API key.
func (s *Site) Console(w http.ResponseWriter, r *http.Request) {
	s.page(w, r, "page/console.html", "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; "+
		"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
}

func (s *Site) page(w http.ResponseWriter, r *http.Request, file, policy string) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	// The page's own requests name this origin; its address, with a token in the query perhaps, goes nowhere.
	h.Set("Referrer-Policy", "same-origin")
	http.ServeFileFS(w, r, s.fsys, file)
}

// File serves what the pages load; false: there is no such file.
func (s *Site) File(w http.ResponseWriter, r *http.Request, name string) bool {
	f, ok := s.files[name]
	if !ok {
		return false
	}
	h := w.Header()
	h.Set("Content-Type", f.contentType)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", f.etag)
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeFileFS(w, r, s.fsys, f.file)
	return true
}

// ancestorPattern is a host of a playback key's policy.
var ancestorPattern = regexp.MustCompile(`^(\*\.)?[a-z0-9.-]{1,253}$`)

// frameAncestors writes hosts as sources of frame-ancestors (CSP 3, 6.4.2).
func frameAncestors(hosts []string) string {
	if len(hosts) == 0 {
		return "*"
	}
	var out []string
	for _, host := range hosts {
		if _, err := url.Parse("https://" + host); err == nil && ancestorPattern.MatchString(host) {
			out = append(out, fmt.Sprintf("https://%[1]s:* http://%[1]s:*", host))
		}
	}
	if len(out) == 0 {
		return "'none'"
	}
	return strings.Join(out, " ")
}
