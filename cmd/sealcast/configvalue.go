package main

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealcast/sealcast/internal/sandbox"
	"github.com/sealcast/sealcast/token"
)

// The types of the variables' values. Each checks itself in UnmarshalText; its
// error says what is wrong and never repeats a secret.

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
