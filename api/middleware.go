package api

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/internal/cenc"
)

// exchange is what one request gathers for its log line and its metrics. It
// records the status on the way to the client.
type exchange struct {
	http.ResponseWriter
	id      string
	client  netip.Addr
	from    string // client as text
	pattern string // of the route; noPattern: none fits
	hash    string // of the asset, once it is well-formed
	code    string // of the problem
	cause   error  // for the log
	status  int
	bytes   int64
	aborted bool // the connection was cut before the end of the answer
	grant   access.Grant
	caller  access.APIKey // of an administrator
	refuse  refusals      // how the route refuses tokens

	givesKeys bool // the route hands out keys
}

type exchangeKey struct{}

const (
	noPattern        = "other"
	statusClientGone = 499 // in log and metrics alone: the client went away before an answer
)

func exchangeOf(r *http.Request) *exchange {
	return r.Context().Value(exchangeKey{}).(*exchange)
}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.ResponseWriter }

func (x *exchange) began() bool { return x.status != 0 }

func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && status >= 200 {
		x.status = status
	}
	x.ResponseWriter.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	n, err := x.ResponseWriter.Write(b)
	x.bytes += int64(n)
	return n, err
}

// observe is the outermost layer: request id, client address, recovery, one
// log line, metrics. The line has neither path nor query nor headers, where
// tokens may stand, in the wrong place too.
func (s *server) observe(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		peer := peerAddr(r.RemoteAddr)
		x := &exchange{
			ResponseWriter: w,
			id:             requestID(r.Header.Get("X-Request-Id"), isTrusted(s.TrustedProxies, peer)),
			client:         clientAddr(peer, r.Header.Values("X-Forwarded-For"), s.TrustedProxies),
			pattern:        noPattern,
		}
		x.from = x.client.String()
		r = r.WithContext(context.WithValue(r.Context(), exchangeKey{}, x))
		w.Header().Set("X-Request-Id", x.id)
		defer func() {
			if s.finish(r, x, start, recover()) {
				panic(http.ErrAbortHandler)
			}
		}()
		if !cleanPath(r.URL) {
			fail(x, r, notFound())
			return
		}
		next.ServeHTTP(x, r)
	})
}

// finish turns a panic into an answer if none has begun, records the request,
// and reports whether the connection has to be cut.
func (s *server) finish(r *http.Request, x *exchange, start time.Time, caught any) bool {
	if caught != nil && caught != http.ErrAbortHandler { //nolint:errorlint // as net/http compares it
		x.cause = fmt.Errorf("panic: %v", caught)
		s.Log.LogAttrs(r.Context(), slog.LevelError, "handler panicked",
			slog.String("request_id", x.id), slog.String("stack", string(bytes.TrimSpace(debug.Stack()))))
		if !x.began() && r.Context().Err() == nil {
			fail(x, r, internalError(x.cause))
			caught = nil
		}
	}
	if x.aborted = caught != nil; x.aborted && !x.began() {
		x.status = statusClientGone
	}
	s.record(r, x, time.Since(start))
	return x.aborted
}

func (s *server) record(r *http.Request, x *exchange, took time.Duration) {
	method := r.Method
	switch method {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
	default:
		method = "other"
	}
	if x.status == 0 {
		x.status = http.StatusOK
	}
	s.metrics.answered(answerLabels{x.pattern, method, x.status, x.givesKeys}, took)
	level := slog.LevelInfo
	switch {
	case x.status >= 500, x.cause != nil:
		level = slog.LevelError
	case x.pattern == "/healthz" || x.pattern == "/readyz":
		level = slog.LevelDebug
	}
	attrs := append(make([]slog.Attr, 0, 11),
		slog.String("request_id", x.id), slog.String("client", x.from),
		slog.String("method", method), slog.String("pattern", x.pattern),
		slog.Int("status", x.status), slog.Int64("bytes", x.bytes),
		slog.Float64("duration_ms", float64(took.Microseconds())/1000),
	)
	if x.hash != "" {
		attrs = append(attrs, slog.String("hash", x.hash))
	}
	if x.code != "" {
		attrs = append(attrs, slog.String("code", x.code))
	}
	if x.aborted {
		attrs = append(attrs, slog.Bool("aborted", true))
	}
	if x.cause != nil {
		attrs = append(attrs, slog.String("error", x.cause.Error()))
	}
	// By the handler, for the logger would look up where in the source it was called.
	if ctx, h := context.WithoutCancel(r.Context()), s.Log.Handler(); h.Enabled(ctx, level) {
		line := slog.NewRecord(time.Now(), level, "http request", 0)
		line.AddAttrs(attrs...)
		_ = h.Handle(ctx, line)
	}
}

// dispatch serves the routes of one path: headers, method, deadlines,
// credentials, handler, in this order. Without routes it is the 404.
func (s *server) dispatch(routes []route) http.Handler {
	byMethod := map[string]route{}
	var allow []string
	for _, rt := range routes {
		byMethod[rt.method] = rt
		allow = append(allow, rt.method)
		if rt.method == http.MethodGet {
			byMethod[http.MethodHead] = rt
			allow = append(allow, http.MethodHead)
		}
	}
	allowed := strings.Join(append(allow, http.MethodOptions), ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(routes) == 0 {
			fail(w, r, notFound())
			return
		}
		x := exchangeOf(r)
		x.pattern, x.refuse, x.givesKeys = routes[0].path, routes[0].refuse, routes[0].secret && routes[0].path != sessionPath
		if hash := r.PathValue("hash"); cenc.IsHash(hash) {
			x.hash = hash
		}
		if routes[0].secret {
			secretHeaders(w.Header())
		}
		if routes[0].cors {
			s.origins.answer(w.Header(), r, routes[0].cookies)
		}
		rt, ok := byMethod[r.Method]
		switch {
		case ok:
			if err := s.serve(w, r, rt); err != nil {
				if rt.secret {
					s.refused(r, err)
				}
				fail(w, r, err)
			}
		case r.Method == http.MethodOptions:
			if err := s.options(w, r, routes[0], allow, allowed); err != nil {
				fail(w, r, err)
			}
		default:
			w.Header().Set("Allow", allowed)
			fail(w, r, problem(http.StatusMethodNotAllowed, "method_not_allowed", "this path has other methods, see Allow"))
		}
	})
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, rt route) error {
	if !rt.quick {
		var cancel context.CancelFunc
		r, cancel = limitTime(w, r, rt)
		defer cancel()
	}
	if err := s.authorize(r, rt.auth); err != nil {
		return err
	}
	if rt.limit > 0 && r.ContentLength > rt.limit {
		return &http.MaxBytesError{Limit: rt.limit} // before "100 Continue" asks for a body that is refused anyway
	}
	return rt.handle(w, r)
}

// limitTime sets the deadlines of a request. The one that it gives is for the
// route's handler, and cancel for afterwards.
func limitTime(w http.ResponseWriter, r *http.Request, rt route) (_ *http.Request, cancel context.CancelFunc) {
	conn, cancel := http.NewResponseController(w), func() {}
	if rt.timeout > 0 {
		var ctx context.Context
		ctx, cancel = context.WithTimeout(r.Context(), rt.timeout)
		r = r.WithContext(ctx)
		if rt.timeout+writeGrace > serverTimeout { // else the server's own is good enough
			_ = conn.SetWriteDeadline(time.Now().Add(rt.timeout + writeGrace))
		}
	}
	switch {
	case rt.limit > 0:
		_ = conn.SetReadDeadline(time.Now().Add(rt.timeout))
		r.Body = http.MaxBytesReader(w, r.Body, rt.limit)
	case r.ContentLength == 0 && (rt.timeout == 0 || rt.timeout >= serverTimeout):
		// Nothing is left to read. The server's ReadTimeout would cancel the
		// context of an answer that takes longer.
		_ = conn.SetReadDeadline(time.Time{})
	}
	return r, cancel
}

const writeGrace = 10 * time.Second // to write the answer after the handler's own time

// cleanPath refuses dot segments, empty segments and encoded separators, which
// http.ServeMux would redirect or hand decoded to PathValue.
func cleanPath(u *url.URL) bool {
	if !strings.HasPrefix(u.Path, "/") || strings.ContainsAny(u.Path, "\\\x00") {
		return false
	}
	if u.RawPath != "" { // else it is the plain encoding of Path, which encodes neither of these
		escaped := strings.ToLower(u.EscapedPath())
		for _, encoded := range []string{"%2f", "%2e", "%5c"} {
			if strings.Contains(escaped, encoded) {
				return false
			}
		}
	}
	for rest, more := u.Path[1:], true; more; {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if segment == "." || segment == ".." || (segment == "" && more) {
			return false
		}
	}
	return true
}

var requestIDPattern = regexp.MustCompile(`^[A-Za-z0-9_-]{8,64}$`)

// requestID takes over the id that a trusted proxy gives.
func requestID(given string, trusted bool) string {
	if trusted && requestIDPattern.MatchString(given) {
		return given
	}
	var b [12]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
