package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// answer is what came back for a request, without its body.
type answer struct {
	URL         string
	Status      int
	Type        string // Content-Type
	Cache       string // Cache-Control
	AllowOrigin string // Access-Control-Allow-Origin
	AllowHeader string // Access-Control-Allow-Headers
	Bytes       int64
	Err         string // no answer, or not all of it
}

func (a answer) ok() bool {
	return a.Err == "" && (a.Status == http.StatusOK || a.Status == http.StatusPartialContent)
}

// what tells what went wrong.
func (a answer) what() string {
	if a.Err != "" {
		return a.Err
	}
	return fmt.Sprintf("status %d", a.Status)
}

// client fetches with bounds. The token goes to key routes only.
type client struct {
	http      *http.Client
	token     string
	keyOrigin string // the only origin that the token is sent to
	origin    string // the Origin header; empty: none
	userAgent string
	timeout   time.Duration
}

func newClient(c Config, entry *url.URL) *client {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = c.Parallel
	transport.ResponseHeaderTimeout = c.Timeout
	keys := c.KeyOrigin
	if keys == "" {
		keys = entry.Scheme + "://" + entry.Host
	}
	return &client{
		http: &http.Client{Transport: transport, CheckRedirect: checkRedirect}, token: c.Token,
		keyOrigin: keys, origin: c.Origin, userAgent: "sealcast-verify", timeout: c.Timeout,
	}
}

// checkRedirect follows media to a CDN, but never with a credential.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if via[0].Header.Get("Authorization") != "" {
		return http.ErrUseLastResponse
	}
	if len(via) >= 5 {
		return errors.New("more than five redirects")
	}
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return fmt.Errorf("a redirect to the scheme %s", req.URL.Scheme)
	}
	return nil
}

// get fetches a resource of at most limit bytes.
func (c *client) get(ctx context.Context, ref resource, limit int64) ([]byte, answer) {
	head := http.Header{}
	if ref.Length > 0 {
		head.Set("Range", fmt.Sprintf("bytes=%d-%d", ref.Offset, ref.Offset+ref.Length-1))
		limit = min(limit, ref.Length)
	}
	body, a := c.do(ctx, http.MethodGet, ref.URL, head, nil, limit)
	switch {
	case !a.ok() || ref.Length == 0:
	case a.Status != http.StatusPartialContent:
		a.Err = "the answer to a range request is not 206"
	case a.Bytes != ref.Length:
		a.Err = fmt.Sprintf("the range has %d bytes, want %d", a.Bytes, ref.Length)
	}
	return body, a
}

// do makes one request and reads its answer whole.
func (c *client) do(ctx context.Context, method, address string, head http.Header, body io.Reader, limit int64) ([]byte, answer) {
	a := answer{URL: address}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address, body)
	if err != nil {
		a.Err = "not a URL that can be asked for"
		return nil, a
	}
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		a.Err = "neither http nor https"
		return nil, a
	}
	for name := range head {
		req.Header.Set(name, head.Get(name))
	}
	req.Header.Set("User-Agent", c.userAgent)
	if c.origin != "" {
		req.Header.Set("Origin", c.origin)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		a.Err = plainError(err, c.timeout)
		return nil, a
	}
	defer resp.Body.Close()
	a.Status, a.Type, a.Cache = resp.StatusCode, resp.Header.Get("Content-Type"), strings.Join(resp.Header.Values("Cache-Control"), ", ")
	a.AllowOrigin = resp.Header.Get("Access-Control-Allow-Origin")
	a.AllowHeader = resp.Header.Get("Access-Control-Allow-Headers")
	out, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	a.Bytes = int64(len(out))
	switch {
	case err != nil:
		a.Err = "the answer breaks off: " + plainError(err, c.timeout)
	case a.Bytes > limit:
		a.Err = fmt.Sprintf("the answer has more than %d bytes", limit)
	}
	return out, a
}

// plainError leaves the address out: it is told beside it.
func plainError(err error, timeout time.Duration) string {
	var u *url.Error
	if errors.As(err, &u) {
		if u.Timeout() {
			return fmt.Sprintf("no answer within %s", timeout)
		}
		return u.Err.Error()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("not complete within %s", timeout)
	}
	return err.Error()
}

// resolve makes a reference absolute (RFC 3986, 5).
func resolve(base, ref string) (string, error) {
	b, err := url.Parse(base)
	if err != nil {
		return "", fmt.Errorf("%q is no URL", clip(base))
	}
	u, err := b.Parse(ref)
	if err != nil {
		return "", fmt.Errorf("%q is no URL", clip(ref))
	}
	return u.String(), nil
}

// originOf returns scheme://host:port of a URL.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}
