package main

import (
	"bytes"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// snag is a fault at one message on its way to a server. It works once.
type snag struct {
	words []string                 // of a wire: all must have been sent on the connection, the last one now
	match func(*http.Request) bool // of the object store
	skip  int                      // so many that match go by first
	// applied says that the server gets the message. Then the answer is lost,
	// else the message is; in both cases the connection is cut.
	applied bool

	reached chan struct{} // closed when the message, or its answer, is held
	release chan struct{} // closed to go on
	let     sync.Once
}

func newSnag(s *snag) *snag {
	s.reached, s.release = make(chan struct{}), make(chan struct{})
	return s
}

// free lets the fault happen.
func (s *snag) free() { s.let.Do(func() { close(s.release) }) }

// wire forwards TCP connections and reads what is sent: the protocols of
// Postgres and Redis show their words in clear.
type wire struct {
	ln       net.Listener
	upstream string
	mu       sync.Mutex
	snag     *snag
}

func newWire(t testing.TB, upstream string) *wire {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{ln: ln, upstream: upstream}
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go w.serve(conn)
		}
	}()
	t.Cleanup(func() { _ = ln.Close() })
	return w
}

func (w *wire) addr() string { return w.ln.Addr().String() }

// catch arms the wire.
func (w *wire) catch(t testing.TB, applied bool, words ...string) *snag {
	t.Helper()
	s := newSnag(&snag{words: words, applied: applied})
	w.mu.Lock()
	w.snag = s
	w.mu.Unlock()
	t.Cleanup(s.free)
	return s
}

func (w *wire) armed() *snag {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.snag
}

// take disarms: the first connection that comes wins.
func (w *wire) take(s *snag) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.snag != s {
		return false
	}
	w.snag = nil
	return true
}

func (w *wire) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", w.upstream)
	if err != nil {
		return
	}
	c := &wireConn{wire: w, client: client, server: server}
	go c.answers()
	c.questions()
	_ = server.Close()
}

// wireConn is one connection through a wire.
type wireConn struct {
	*wire
	client, server net.Conn
	of             *snag // whose words were seen
	seen           int   // how many of its words

	mu   sync.Mutex
	lost *snag // the answer that comes next is lost
}

func (c *wireConn) questions() {
	buf := make([]byte, 256<<10)
	for {
		n, err := c.client.Read(buf)
		if n > 0 {
			if s := c.caught(buf[:n]); s != nil && !s.applied {
				close(s.reached)
				<-s.release
				return
			}
			if _, err := c.server.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// caught follows the words of the armed snag and returns it at the last one.
func (c *wireConn) caught(sent []byte) *snag {
	s := c.armed()
	if s == nil {
		return nil
	}
	if c.of != s {
		c.of, c.seen = s, 0
	}
	for c.seen < len(s.words) {
		i := bytes.Index(sent, []byte(s.words[c.seen]))
		if i < 0 {
			return nil
		}
		sent = sent[i:]
		c.seen++
	}
	c.seen = 0
	if s.applied {
		c.mu.Lock()
		c.lost = s
		c.mu.Unlock()
	} else if !c.take(s) {
		return nil
	}
	return s
}

func (c *wireConn) answers() {
	defer func() { _ = c.client.Close() }()
	buf := make([]byte, 256<<10)
	for {
		n, err := c.server.Read(buf)
		if n > 0 {
			c.mu.Lock()
			s := c.lost
			c.lost = nil
			c.mu.Unlock()
			// Redis does not know a script at first; the client sends it whole then.
			if s != nil && !bytes.HasPrefix(buf[:n], []byte("-NOSCRIPT")) && c.take(s) {
				close(s.reached)
				<-s.release
				return
			}
			if _, err := c.client.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// storeGate is an HTTP proxy before the object store. It tells requests apart,
// which bytes cannot.
type storeGate struct {
	addr string
	mu   sync.Mutex
	snag *snag
	puts []string // keys of every PUT that passed
	// parts has every key for which a multipart upload was begun.
	parts []string
}

func newStoreGate(t testing.TB, upstream string) *storeGate {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &storeGate{addr: ln.Addr().String()}
	target := &url.URL{Scheme: "http", Host: upstream}
	proxy := &httputil.ReverseProxy{
		// The host stays as it is: it is signed.
		Rewrite:      func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		Transport:    &http.Transport{MaxIdleConnsPerHost: 32, DisableCompression: true},
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { g.serve(proxy, w, r) })}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	return g
}

// catch arms the gate for the request number skip+1 that matches.
func (g *storeGate) catch(t testing.TB, applied bool, skip int, match func(*http.Request) bool) *snag {
	t.Helper()
	s := newSnag(&snag{match: match, skip: skip, applied: applied})
	g.mu.Lock()
	g.snag = s
	g.mu.Unlock()
	t.Cleanup(s.free)
	return s
}

func (g *storeGate) caught(r *http.Request) *snag {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Method == http.MethodPut {
		g.puts = append(g.puts, r.URL.Path)
	}
	if r.Method == http.MethodPost && r.URL.Query().Has("uploads") {
		g.parts = append(g.parts, r.URL.Path)
	}
	s := g.snag
	if s == nil || !s.match(r) {
		return nil
	}
	if s.skip > 0 {
		s.skip--
		return nil
	}
	g.snag = nil
	return s
}

func (g *storeGate) serve(proxy http.Handler, w http.ResponseWriter, r *http.Request) {
	s := g.caught(r)
	if s == nil {
		proxy.ServeHTTP(w, r)
		return
	}
	if s.applied {
		proxy.ServeHTTP(nowhere{http.Header{}}, r)
	}
	close(s.reached)
	select {
	case <-s.release:
	case <-r.Context().Done(): // the client is dead
	}
	panic(http.ErrAbortHandler) // cuts the connection
}

// nowhere is an answer that nobody gets.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (n nowhere) WriteHeader(int)             {}

// putOf matches PUTs of objects whose name has one of the suffixes.
func putOf(suffixes ...string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		for _, s := range suffixes {
			if r.Method == http.MethodPut && strings.HasSuffix(r.URL.Path, s) {
				return true
			}
		}
		return false
	}
}
