package webhook

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const testSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

func client(t *testing.T, timeout time.Duration, roots *x509.CertPool, entries ...string) *Client {
	t.Helper()
	signer, err := NewSigner(testSecret)
	if err != nil {
		t.Fatal(err)
	}
	return NewClient(Config{Signer: signer, Targets: allow(t, entries...), Timeout: timeout, RootCAs: roots})
}

func message(url string) Message {
	return Message{ID: "01997f5c-0000-7000-8000-000000000001", URL: url, Body: []byte(`{"type":"job.completed"}`)}
}

// raw is a receiver that does with a connection what it likes.
func raw(t *testing.T, talk func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			talk(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return "http://" + l.Addr().String() + "/"
}

func readRequest(c net.Conn) {
	b := make([]byte, 64<<10)
	for got := ""; !strings.HasSuffix(got, "}"); {
		n, err := c.Read(b)
		if err != nil {
			return
		}
		got += string(b[:n])
	}
}

// A receiver with a certificate, and one that nobody vouches for.
func TestSendOverTLS(t *testing.T) {
	type seen struct {
		header http.Header
		body   string
	}
	got := make(chan seen, 1)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- seen{r.Header, string(body)}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer srv.Close()
	srv.Config.ErrorLog = nil
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())

	m := message(srv.URL + "/hook?a=b")
	r := client(t, time.Minute, roots, "127.0.0.1").Send(t.Context(), m)
	if !r.Delivered() || r.Status != http.StatusAccepted || r.Error != "" || r.Duration <= 0 {
		t.Fatalf("%+v", r)
	}
	s := <-got
	at, err := strconv.ParseInt(s.header.Get("webhook-timestamp"), 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)).Abs() > 5*time.Minute {
		t.Errorf("timestamp %q", s.header.Get("webhook-timestamp"))
	}
	signer, _ := NewSigner(testSecret)
	if want := signer.Sign(m.ID, time.Unix(at, 0), m.Body); s.header.Get("webhook-signature") != want {
		t.Errorf("signature %q", s.header.Get("webhook-signature"))
	}
	if s.body != string(m.Body) || s.header.Get("webhook-id") != m.ID || s.header.Get("content-type") != "application/json" || s.header.Get("accept-encoding") != "" {
		t.Errorf("%q %v", s.body, s.header)
	}
	if r := client(t, time.Minute, nil, "127.0.0.1").Send(t.Context(), m); r.Error != ErrorTLS || r.Status != 0 {
		t.Errorf("an unknown certificate: %+v", r)
	}
}

// No redirect is followed, inward or not, and no status but 2xx is success.
func TestSendReplies(t *testing.T) {
	var inner atomic.Int32
	inside := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inner.Add(1) }))
	defer inside.Close()
	var status atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", inside.URL)
		w.WriteHeader(int(status.Load()))
	}))
	defer srv.Close()
	c := client(t, time.Minute, nil, "127.0.0.1")
	for want, delivered := range map[int]bool{
		200: true, 204: true, 299: true, 301: false, 302: false, 303: false, 307: false, 308: false, 400: false, 410: false, 429: false, 500: false, 503: false,
	} {
		status.Store(int32(want))
		if r := c.Send(t.Context(), message(srv.URL)); r.Status != want || r.Delivered() != delivered || r.Error != "" {
			t.Errorf("%d: %+v", want, r)
		}
	}
	if n := inner.Load(); n != 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
}

// The environment's proxy would connect where the guard does not see it.
func TestSendWithoutProxy(t *testing.T) {
	var used atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { used.Add(1) }))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	if r := client(t, time.Minute, nil, "receiver.invalid:80").Send(t.Context(), message("http://receiver.invalid/")); r.Error != ErrorDNS {
		t.Errorf("%+v", r)
	}
	if used.Load() != 0 {
		t.Error("the proxy was used")
	}
}

// A name that leads to this machine is refused when it is connected to, and
// nothing arrives.
func TestSendToNameOfLoopback(t *testing.T) {
	var calls atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())

	// localhost stands for a name of the outside that resolves inward: the
	// client is asked past the check of the URL, which knows this one.
	c := client(t, time.Minute, nil)
	conn, err := c.transport.DialContext(t.Context(), "tcp", "localhost:"+port)
	if err == nil {
		_ = conn.Close()
		t.Fatal("connected")
	}
	var at progress
	at.trace()
	if got := at.reason(t.Context(), err); got != ErrorRefused {
		t.Errorf("%s: %v", got, err)
	}
	for _, host := range []string{"127.0.0.1", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "localhost"} {
		if r := c.Send(t.Context(), message("https://"+net.JoinHostPort(strings.Trim(host, "[]"), port))); r.Error != ErrorRefused {
			t.Errorf("%s: %+v", host, r)
		}
	}
	if calls.Load() != 0 {
		t.Error("something arrived")
	}
	if r := client(t, time.Minute, nil, "localhost:"+port).Send(t.Context(), message("http://localhost:"+port)); !r.Delivered() {
		t.Errorf("with the name allowed: %+v", r)
	}
}

func TestSendToBadReceivers(t *testing.T) {
	const short = 300 * time.Millisecond
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	gone := make(chan struct{})
	t.Cleanup(func() { close(gone) })
	for _, c := range []struct {
		name, url, want string
		timeout         time.Duration
	}{
		{"nobody listens", "http://" + closed.Addr().String(), ErrorConnect, time.Minute},
		{"hangs up at once", raw(t, func(net.Conn) {}), ErrorBroken, time.Minute},
		{"hangs up after the request", raw(t, readRequest), ErrorBroken, time.Minute},
		{"talks another protocol", raw(t, func(c net.Conn) { readRequest(c); _, _ = io.WriteString(c, "220 mail.example ESMTP\r\n") }), ErrorBroken, time.Minute},
		{"sends headers without end", raw(t, func(c net.Conn) {
			readRequest(c)
			_, err := io.WriteString(c, "HTTP/1.1 200 OK\r\n")
			for err == nil {
				_, err = io.WriteString(c, "X-Filler: "+strings.Repeat("a", 1000)+"\r\n")
			}
		}), ErrorBroken, time.Minute},
		{"hangs", raw(t, func(c net.Conn) { readRequest(c); _, _ = io.Copy(io.Discard, c) }), ErrorTimeout, short},
		{"drips its header", raw(t, func(c net.Conn) {
			readRequest(c)
			for _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nX: "); err == nil; _, err = io.WriteString(c, "a") {
				select {
				case <-gone:
					return
				case <-time.After(10 * time.Millisecond):
				}
			}
		}), ErrorTimeout, short},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := client(t, c.timeout, nil, "127.0.0.1").Send(t.Context(), message(c.url))
			if r.Error != c.want || r.Status != 0 || r.Detail == nil {
				t.Errorf("%+v, want %s", r, c.want)
			}
		})
	}
}

// Of a reply without end only a little is read, and its status counts.
func TestSendReadsLittle(t *testing.T) {
	sent := make(chan int64, 1)
	url := raw(t, func(c net.Conn) {
		readRequest(c)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
		var n int64
		for block := make([]byte, 64<<10); n < 1<<30; {
			m, err := c.Write(block)
			n += int64(m)
			if err != nil {
				break
			}
		}
		sent <- n
	})
	if r := client(t, time.Minute, nil, "127.0.0.1").Send(t.Context(), message(url)); !r.Delivered() {
		t.Errorf("%+v", r)
	}
	if n := <-sent; n >= 1<<30 {
		t.Error("all of it was read")
	}
}

func TestSendInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url := raw(t, func(c net.Conn) { readRequest(c); cancel(); _, _ = io.Copy(io.Discard, c) })
	if r := client(t, time.Minute, nil, "127.0.0.1").Send(ctx, message(url)); r.Error != ErrorInterrupted {
		t.Errorf("%+v", r)
	}
}
