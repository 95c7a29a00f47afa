package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"

	"github.com/sealcast/sealcast/api"
	"github.com/sealcast/sealcast/internal/sandbox"
	"github.com/sealcast/sealcast/internal/webhook"
	"github.com/sealcast/sealcast/token"
)

// The types of the variables' values. Each checks itself in UnmarshalText; its
// error says what is wrong and never repeats a secret.

const redacted = "[redacted]"

// secret is a value that prints as a placeholder through every formatter,
// logger and encoder. Only reveal gives it.
type secret struct{ value string }

func (s *secret) UnmarshalText(text []byte) error { s.value = string(text); return nil }

func (s secret) reveal() string             { return s.value }
func (secret) String() string               { return redacted }
func (secret) GoString() string             { return redacted }
func (secret) Format(f fmt.State, _ rune)   { _, _ = io.WriteString(f, redacted) }
func (secret) LogValue() slog.Value         { return slog.StringValue(redacted) }
func (secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
func (secret) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
func (secret) mayComeFromFile()             {}

// fileable marks the types whose variable may also be given as NAME_FILE.
type fileable interface{ mayComeFromFile() }

// minSecretBytes is the least length of API_KEY and KEY_TOKEN_SECRET.
const minSecretBytes = 16

// tokenSecret is KEY_TOKEN_SECRET: its bytes as configured.
type tokenSecret struct{ secret }

func (s *tokenSecret) UnmarshalText(text []byte) error {
	if len(text) < minSecretBytes {
		return fmt.Errorf("has %d bytes, needs at least %d", len(text), minSecretBytes)
	}
	return s.secret.UnmarshalText(text)
}

// headerSecret is API_KEY: it travels in an HTTP header (RFC 9110, 5.5).
type headerSecret struct{ secret }

func (s *headerSecret) UnmarshalText(text []byte) error {
	if len(text) < minSecretBytes {
		return fmt.Errorf("has %d bytes, needs at least %d", len(text), minSecretBytes)
	}
	for _, c := range text {
		if c <= ' ' || c > '~' {
			return errors.New("has a space, a line break or a character that an HTTP header cannot carry")
		}
	}
	return s.secret.UnmarshalText(text)
}

// webhookSecret is WEBHOOK_SECRET: whsec_ and base64.
type webhookSecret struct{ secret }

func (s *webhookSecret) UnmarshalText(text []byte) error {
	if _, err := webhook.ParseSecret(string(text)); err != nil {
		return err
	}
	return s.secret.UnmarshalText(text)
}

// kek is one KEK version: its 32 bytes, written as 64 hex digits, or a version
// of a transit key, written as vault:<mount>/<key>:<version>.
type kek struct {
	secret
	mount, name string // of the transit key; empty: the bytes are in secret
	version     int
}

var transitRE = regexp.MustCompile(`^vault:([A-Za-z0-9_./-]+)/([A-Za-z0-9_.-]+):([1-9][0-9]{0,8})$`)

func (k *kek) UnmarshalText(text []byte) error {
	if strings.HasPrefix(string(text), "vault:") {
		m := transitRE.FindStringSubmatch(string(text))
		if m == nil {
			return errors.New("begins with vault: and is no vault:<mount>/<key>:<version>")
		}
		k.mount, k.name = m[1], m[2]
		k.version, _ = strconv.Atoi(m[3]) // the pattern allows digits only
		return nil
	}
	raw, err := hex.DecodeString(string(text))
	switch {
	case len(text) != 64:
		return fmt.Errorf("has %d characters, needs exactly 64 hex digits", len(text))
	case err != nil:
		return errors.New("has a character that is no hex digit")
	}
	return k.secret.UnmarshalText(raw)
}

// vaultURL is VAULT_ADDR.
type vaultURL string

func (u *vaultURL) UnmarshalText(text []byte) error {
	if _, err := parseHTTP(string(text)); err != nil {
		return err
	}
	*u = vaultURL(text)
	return nil
}

// kekFile is KEK_FILE: its path. loader reads it.
type kekFile string

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

// bucketName is an S3 bucket's name as every S3 server takes it.
type bucketName string

var bucketRE = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)

func (b *bucketName) UnmarshalText(text []byte) error {
	if !bucketRE.Match(text) || strings.Contains(string(text), "..") {
		return fmt.Errorf("is %q, which is no bucket name (3 to 63 lower-case letters, digits, dots, hyphens)", text)
	}
	*b = bucketName(text)
	return nil
}

// count is a whole number of at least one.
type count int

func (c *count) UnmarshalText(text []byte) error {
	n, err := strconv.ParseInt(string(text), 10, 32)
	if err != nil || n < 1 {
		return fmt.Errorf("is %q, which is no whole number of at least 1", text)
	}
	*c = count(n)
	return nil
}

// byteSize is a number of bytes, plain or with one of the suffixes KiB, MiB,
// GiB, TiB.
type byteSize int64

func (b *byteSize) UnmarshalText(text []byte) error {
	s, shift := strings.TrimSpace(string(text)), 0
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			s, shift = strings.TrimSpace(rest), 10*(i+1)
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > math.MaxInt64>>shift {
		return fmt.Errorf("is %q, which is no size", text)
	}
	*b = byteSize(n << shift)
	return nil
}

func (b byteSize) String() string {
	n, unit := int64(b), ""
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n < 1024 || n%1024 != 0 {
			break
		}
		n, unit = n/1024, u
	}
	return strconv.FormatInt(n, 10) + unit
}

// period is a positive duration in Go's spelling: 90s, 10m.
type period time.Duration

func (p *period) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d <= 0 {
		return fmt.Errorf("is %q, which is no positive duration", text)
	}
	*p = period(d)
	return nil
}

func (p period) String() string { return time.Duration(p).String() }

// onOff is a choice between the two words.
type onOff bool

func (o *onOff) UnmarshalText(text []byte) error {
	if s := string(text); s != "on" && s != "off" {
		return fmt.Errorf("is %q, which is neither on nor off", text)
	}
	*o = string(text) == "on"
	return nil
}

func (o onOff) String() string {
	if o {
		return "on"
	}
	return "off"
}

// sandboxMode is SANDBOX.
type sandboxMode sandbox.Mode

func (m *sandboxMode) UnmarshalText(text []byte) error {
	mode := sandbox.Mode(text)
	if mode != sandbox.Auto && mode != sandbox.Require && mode != sandbox.Disable {
		return fmt.Errorf("is %q, which is none of auto, require and off", text)
	}
	*m = sandboxMode(mode)
	return nil
}

func (m sandboxMode) String() string { return string(m) }

// gracePeriod is a period of at least a minute: an attempt that has lost its
// lease goes on uploading for some seconds.
type gracePeriod time.Duration

func (p *gracePeriod) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	if err != nil || d < time.Minute {
		return fmt.Errorf("is %q, which is no duration of a minute or more", text)
	}
	*p = gracePeriod(d)
	return nil
}

func (p gracePeriod) String() string { return time.Duration(p).String() }

// gcMode is GC.
type gcMode string

const (
	gcOff    gcMode = "off"
	gcDryRun gcMode = "dry-run"
	gcOn     gcMode = "on"
)

func (m *gcMode) UnmarshalText(text []byte) error {
	switch v := gcMode(text); v {
	case gcOff, gcDryRun, gcOn:
		*m = v
		return nil
	}
	return fmt.Errorf("is %q", text)
}

// existingDir is a folder that is there.
type existingDir string

func (d *existingDir) UnmarshalText(text []byte) error {
	fi, err := os.Stat(string(text))
	if err != nil || !fi.IsDir() {
		return fmt.Errorf("is %q, which is no folder", text)
	}
	*d = existingDir(text)
	return nil
}

// logLevel is LOG_LEVEL.
type logLevel struct{ slog.Level }

func (l *logLevel) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "debug", "info", "warn", "error":
		return l.Level.UnmarshalText(text)
	}
	return fmt.Errorf("is %q", text)
}

func (l logLevel) String() string { return strings.ToLower(l.Level.String()) }

// logFormat is LOG_FORMAT: json, text, or empty for "text on a terminal".
type logFormat string

func (f *logFormat) UnmarshalText(text []byte) error {
	if s := string(text); s != "json" && s != "text" {
		return fmt.Errorf("is %q", text)
	}
	*f = logFormat(text)
	return nil
}

// stageName is ENVIRONMENT.
type stageName string

func (n *stageName) UnmarshalText(text []byte) error {
	if !slices.Contains(token.Environments, string(text)) {
		return fmt.Errorf("is %q, which is none of development, staging and production", text)
	}
	*n = stageName(text)
	return nil
}
