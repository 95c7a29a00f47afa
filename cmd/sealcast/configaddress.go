package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/sealcast/sealcast/api"
	"github.com/sealcast/sealcast/internal/webhook"
)

// databaseURL is a PostgreSQL connection string; it prints without its
// password and parameters.
type databaseURL struct {
	secret
	shown string
}

func (d *databaseURL) UnmarshalText(text []byte) error {
	cfg, err := pgxpool.ParseConfig(string(text))
	if err != nil { // its text may repeat parts of the string
		return errors.New("is no PostgreSQL connection string")
	}
	cc := cfg.ConnConfig
	d.shown = fmt.Sprintf("postgres://%s@%s/%s", cc.User, net.JoinHostPort(cc.Host, strconv.Itoa(int(cc.Port))), cc.Database)
	return d.secret.UnmarshalText(text)
}

func (d databaseURL) shownValue() string { return d.shown }

// redisURL is a Redis connection string; it prints without its password.
type redisURL struct {
	secret
	shown string
}

func (r *redisURL) UnmarshalText(text []byte) error {
	opt, err := redis.ParseURL(string(text))
	if err != nil { // its text may repeat the string
		return errors.New("is no Redis URL")
	}
	r.shown = fmt.Sprintf("redis://%s/%d", opt.Addr, opt.DB)
	return r.secret.UnmarshalText(text)
}

func (r redisURL) shownValue() string { return r.shown }

// origin is BASE_URL: scheme://host or scheme://host:port, to which paths are
// appended.
type origin string

func (o *origin) UnmarshalText(text []byte) error {
	u, err := parseHTTP(string(text))
	switch {
	case err != nil:
		return err
	case strings.HasSuffix(u.Path, "/"):
		return errors.New("ends in a slash")
	case u.Path != "":
		return errors.New("has a path")
	}
	*o = origin(text)
	return nil
}

// s3Endpoint is S3_ENDPOINT: http(s)://host:port.
type s3Endpoint struct {
	url    string
	host   string // host:port
	secure bool
}

func (e *s3Endpoint) UnmarshalText(text []byte) error {
	u, err := parseHTTP(string(text))
	switch {
	case err != nil:
		return err
	case u.Path != "":
		return errors.New("has a path")
	}
	*e = s3Endpoint{url: string(text), host: u.Host, secure: u.Scheme == "https"}
	return nil
}

func (e s3Endpoint) String() string { return e.url }

// parseHTTP parses an absolute http or https URL without credentials, query
// and fragment.
func parseHTTP(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return nil, errors.New("is no URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("does not begin with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("has no host")
	case u.User != nil:
		return nil, errors.New("has a user name in it")
	case u.RawQuery != "" || u.ForceQuery:
		return nil, errors.New("has a query")
	case u.Fragment != "" || strings.Contains(s, "#"):
		return nil, errors.New("has a fragment")
	}
	if p := u.Port(); p != "" || strings.HasSuffix(u.Host, ":") {
		if err := checkPort(p); err != nil {
			return nil, err
		}
	}
	return u, nil
}

func checkPort(p string) error {
	if n, err := strconv.ParseUint(p, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("has the port %q, which is no number from 1 to 65535", p)
	}
	return nil
}

// listenAddr is an address to listen on, host:port; the host may be empty.
type listenAddr string

func (a *listenAddr) UnmarshalText(text []byte) error {
	_, port, err := net.SplitHostPort(string(text))
	if err != nil {
		return fmt.Errorf("is %q, which is no host:port", text)
	}
	if port == "0" { // any free port: for tests
		*a = listenAddr(text)
		return nil
	}
	if err := checkPort(port); err != nil {
		return err
	}
	*a = listenAddr(text)
	return nil
}

// corsOrigin is one entry of CORS_ORIGINS: an exact origin (RFC 6454, 6.1), or
// one whose port is *.
type corsOrigin string

func (o *corsOrigin) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	if err := api.CheckOrigin(s); err != nil {
		return fmt.Errorf("has the entry %q: %w", s, err)
	}
	*o = corsOrigin(s)
	return nil
}

// proxyPrefix is one entry of TRUSTED_PROXIES: an address or a CIDR.
type proxyPrefix struct{ netip.Prefix }

func (p *proxyPrefix) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		p.Prefix = netip.PrefixFrom(a, a.BitLen())
		return nil
	}
	pre, err := netip.ParsePrefix(s)
	if err != nil {
		return fmt.Errorf("has the entry %q, which is neither an address nor a CIDR", s)
	}
	p.Prefix = pre.Masked()
	return nil
}

// webhookAllow is one entry of WEBHOOK_ALLOW.
type webhookAllow struct{ webhook.Allow }

func (a *webhookAllow) UnmarshalText(text []byte) (err error) {
	s := strings.TrimSpace(string(text))
	if a.Allow, err = webhook.ParseAllow(s); err != nil {
		return fmt.Errorf("has the entry %q, which %w", s, err)
	}
	return nil
}
