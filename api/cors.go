package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

const (
	corsAllowHeaders  = "Authorization, Content-Type, Range"
	corsExposeHeaders = "Accept-Ranges, Content-Length, Content-Range, ETag, Retry-After, X-Request-Id"
	corsMaxAge        = "600" // seconds
)

// origins are the pages that may read an answer (the CORS protocol of the
// Fetch standard). Credentials are allowed where a cookie may carry a token.
type origins struct {
	exact   map[string]bool
	anyPort map[string]bool // scheme and host
}

// parseOrigins takes exact origins, as browsers write them, and origins with
// the port "*". Every other wildcard is refused, "*" above all.
func parseOrigins(list []string) (origins, error) {
	o := origins{exact: map[string]bool{}, anyPort: map[string]bool{}}
	var faults []error
	for _, entry := range list {
		if err := CheckOrigin(entry); err != nil {
			faults = append(faults, fmt.Errorf("CORS origin %q: %w", entry, err))
			continue
		}
		if base, anyPort := strings.CutSuffix(entry, ":*"); anyPort {
			o.anyPort[base] = true
		} else {
			o.exact[entry] = true
		}
	}
	return o, errors.Join(faults...)
}

// CheckOrigin says what is wrong with an entry of Config.CORSOrigins.
func CheckOrigin(entry string) error {
	s, anyPort := strings.CutSuffix(entry, ":*")
	if s == "*" {
		return errors.New("list the origins that may play, not all of them")
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" ||
		s != u.Scheme+"://"+u.Host || s != strings.ToLower(s) || strings.ContainsFunc(s, notOriginChar) {
		return errors.New("want scheme://host or scheme://host:port in lower case, without a path")
	}
	switch port := u.Port(); {
	case port == "" && strings.HasSuffix(u.Host, ":"), port != "" && !isPort(port):
		return errors.New("the port is not a number from 1 to 65535")
	case port != "" && anyPort:
		return errors.New("one port or *, not both")
	case u.Scheme == "http" && port == "80", u.Scheme == "https" && port == "443":
		return errors.New("browsers leave the default port out, and so must this")
	}
	return nil
}

func notOriginChar(c rune) bool {
	return (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune(":/.-_[]", c)
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == s
}

func (o origins) allows(origin string) bool {
	if o.exact[origin] || o.anyPort[origin] {
		return true
	}
	i := strings.LastIndexByte(origin, ':')
	return i > 0 && o.anyPort[origin[:i]] && isPort(origin[i+1:])
}

// origin gives the request's one Origin if it is allowed.
func (o origins) origin(r *http.Request) (string, bool) {
	values := r.Header.Values("Origin")
	if len(values) != 1 || !o.allows(values[0]) {
		return "", false
	}
	return values[0], true
}

// answer lets an allowed page read the answer, a refusal too. Vary is set for
// everybody: a cache must not give one page the answer of another.
func (o origins) answer(h http.Header, r *http.Request, cookies bool) {
	h.Add("Vary", "Origin")
	if origin, ok := o.origin(r); ok {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Expose-Headers", corsExposeHeaders)
		if cookies {
			h.Set("Access-Control-Allow-Credentials", "true")
		}
	}
}

// options answers a preflight, and a plain OPTIONS with Allow alone.
func (s *server) options(w http.ResponseWriter, r *http.Request, rt route, methods []string, allowed string) error {
	h := w.Header()
	want := r.Header.Get("Access-Control-Request-Method")
	if !rt.cors || want == "" || r.Header.Get("Origin") == "" {
		h.Set("Allow", allowed)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	h.Add("Vary", "Access-Control-Request-Method, Access-Control-Request-Headers")
	if _, ok := s.origins.origin(r); !ok {
		return problem(http.StatusForbidden, "origin_not_allowed", "this origin is not one of those that may play")
	}
	h.Del("Access-Control-Expose-Headers")
	h.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	h.Set("Access-Control-Allow-Headers", corsAllowHeaders)
	h.Set("Access-Control-Max-Age", corsMaxAge)
	if !slices.Contains(methods, want) {
		h.Set("Allow", allowed) // the browser compares with Access-Control-Allow-Methods and stops
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
