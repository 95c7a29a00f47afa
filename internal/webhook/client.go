// Package webhook sends one signed message to one receiver, as Standard
// Webhooks 1.0 says (https://www.standardwebhooks.com). The URLs come from
// outside, so a client of this package connects to nothing but public
// addresses and what the operator allows beside them.
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// Why no reply came; a closed set.
const (
	ErrorRefused     = "target_refused" // it leads where webhooks do not go
	ErrorDNS         = "dns"
	ErrorConnect     = "connect"
	ErrorTLS         = "tls"
	ErrorTimeout     = "timeout"
	ErrorBroken      = "broken"      // the connection ended without a reply that can be read
	ErrorInterrupted = "interrupted" // we were told to stop
)

const (
	maxReply   = 64 << 10 // bytes of a reply's body that are read
	maxHeaders = 64 << 10
)

// Config is what a Client needs.
type Config struct {
	Signer  *Signer
	Targets *Targets
	Timeout time.Duration  // of a whole exchange, 15 s
	RootCAs *x509.CertPool // nil: the system's
}

// Message is what is sent. ID stays the same however often it is sent.
type Message struct {
	ID   string
	URL  string
	Body []byte // JSON
}

// Result is what came of one attempt: a status, or the reason why none came.
type Result struct {
	Status   int
	Error    string // one of the Error constants; empty with a status
	Detail   error  // behind Error, for the log
	Duration time.Duration
}

// Delivered reports whether the receiver has taken the message.
func (r Result) Delivered() bool { return r.Status >= 200 && r.Status < 300 }

// Client sends messages. It follows no redirect, uses no proxy, keeps no
// connection and believes nothing that a reply says but its status.
type Client struct {
	cfg       Config
	transport *http.Transport
}

// NewClient returns a client.
func NewClient(cfg Config) *Client {
	if cfg.Timeout <= 0 {
		cfg.Timeout = 15 * time.Second
	}
	return &Client{cfg: cfg, transport: cfg.Targets.transport(cfg.RootCAs)}
}

// transport connects to nothing but what t allows.
func (t *Targets) transport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy: nil, // a proxy would connect where the guard does not see it
		DialContext: func(ctx context.Context, network, target string) (net.Conn, error) {
			d := net.Dialer{ControlContext: func(_ context.Context, _, resolved string, _ syscall.RawConn) error {
				return t.checkConnect(target, resolved)
			}}
			return d.DialContext(ctx, network, target)
		},
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		DisableKeepAlives:      true,
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeaders,
	}
}

// Send makes one attempt. A 2xx status counts from its header on; of the body
// at most 64 KiB are read and none is kept.
func (c *Client) Send(ctx context.Context, m Message) Result {
	start := time.Now()
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	status, reason, err := c.send(ctx, m)
	return Result{Status: status, Error: reason, Detail: err, Duration: time.Since(start)}
}

func (c *Client) send(ctx context.Context, m Message) (status int, reason string, err error) {
	if err := c.cfg.Targets.CheckURL(m.URL); err != nil {
		return 0, ErrorRefused, err
	}
	var at progress
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, at.trace()), http.MethodPost, m.URL, bytes.NewReader(m.Body))
	if err != nil {
		return 0, ErrorRefused, err
	}
	now := time.Now()
	for name, value := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "sealcast-webhooks",
		"Webhook-Id": m.ID, "Webhook-Timestamp": strconv.FormatInt(now.Unix(), 10),
		"Webhook-Signature": c.cfg.Signer.Sign(m.ID, now, m.Body),
	} {
		req.Header.Set(name, value)
	}
	res, err := c.transport.RoundTrip(req) // unlike a http.Client it follows nothing
	if err != nil {
		return 0, at.reason(ctx, err), err
	}
	_, _ = io.CopyN(io.Discard, res.Body, maxReply)
	_ = res.Body.Close()
	return res.StatusCode, "", nil
}

// progress is how far an exchange got.
type progress struct{ stage atomic.Value }

func (p *progress) trace() *httptrace.ClientTrace {
	p.stage.Store(ErrorConnect)
	return &httptrace.ClientTrace{
		TLSHandshakeStart: func() { p.stage.Store(ErrorTLS) },
		GotConn:           func(httptrace.GotConnInfo) { p.stage.Store(ErrorBroken) },
	}
}

func (p *progress) reason(ctx context.Context, err error) string {
	var refused *Refusal
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.As(err, &refused):
		return ErrorRefused
	case errors.Is(ctx.Err(), context.Canceled):
		return ErrorInterrupted
	case ctx.Err() != nil, errors.As(err, &timeout) && timeout.Timeout():
		return ErrorTimeout
	case errors.As(err, &dns):
		return ErrorDNS
	}
	return p.stage.Load().(string)
}
