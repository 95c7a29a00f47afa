package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/sealcast/sealcast/internal/sandbox"
	"github.com/sealcast/sealcast/internal/verify"
)

type verifyFlags struct {
	token, tokenFile string
	origin           string
	keyOrigin        string
	json, strict     bool
	parallel         int
	timeout          time.Duration
	sandbox          string
}

func verifyCommand() *command {
	return &command{
		name: "verify", args: "URL", summary: "play the part of a strict client against an HLS or DASH address",
		long: `Fetches the playlists or the manifest behind URL, and every segment of every
rendition; decrypts (AES-128, cbcs, cenc) with the keys of the key route or of a Clear
Key licence server; decodes all of it with ffmpeg; and checks what it found against
RFC 8216bis, ISO/IEC 23009-1 and 23001-7, the DASH-IF guidelines and Apple's authoring
rules. docs/verify.md lists the checks with their clauses. URL may be of any server,
ours or not. A table goes to stdout; with -json a document for machines.

The token goes to key routes of the URL's own origin only, or of -key-origin. Better
than -token, which others on this machine can see: the variable SEALCAST_TOKEN, or
-token-file ("-" is stdin).`,
		exits: []int{exitOK, exitFailure, exitUsage, exitRefused, exitInterrupted},
		newFlags: func(fs *flag.FlagSet) action {
			var f verifyFlags
			fs.StringVar(&f.token, "token", "", "playback `token` (default: SEALCAST_TOKEN)")
			fs.StringVar(&f.tokenFile, "token-file", "", "`file` with the playback token")
			fs.StringVar(&f.origin, "origin", "", "`origin` of a page that shall play it, as https://www.example.org: checks CORS")
			fs.StringVar(&f.keyOrigin, "key-origin", "", "`origin` of the key route, when it is not the URL's")
			fs.BoolVar(&f.json, "json", false, "print the report as JSON")
			fs.BoolVar(&f.strict, "strict", false, "refuse for warnings, too")
			fs.IntVar(&f.parallel, "parallel", 0, "`renditions` to fetch and decode at once (default: one for each processor, at most 4)")
			fs.DurationVar(&f.timeout, "timeout", 30*time.Second, "how long one request may take")
			fs.StringVar(&f.sandbox, "sandbox", string(sandbox.Auto), "`mode` of the sandbox for ffmpeg: auto, require or off")
			return func(ctx context.Context, s *session) error { return verifyURL(ctx, s, f) }
		},
	}
}

func verifyURL(ctx context.Context, s *session, f verifyFlags) error {
	if len(s.args) != 1 {
		return usageError{"give exactly one URL"}
	}
	cfg, err := f.config(s)
	if err != nil {
		return err
	}
	con := newConsole(s.stderr)
	cfg.Progress = func(percent float64) { con.transient(progress{label: "verify", percent: percent, eta: -1}) }
	report, err := verify.Run(ctx, cfg)
	con.end()
	if err != nil {
		return interrupted(ctx, err)
	}
	if f.json {
		if err := report.WriteJSON(s.stdout); err != nil {
			return err
		}
	} else {
		report.WriteText(s.stdout)
	}
	if !report.OK || f.strict && report.Warnings > 0 {
		return exitError{exitRefused, fmt.Errorf("%d errors and %d warnings", report.Errors, report.Warnings)}
	}
	return nil
}

// config reads the flags; every fault is one of usage.
func (f verifyFlags) config(s *session) (verify.Config, error) {
	c := verify.Config{URL: s.args[0], Origin: f.origin, KeyOrigin: strings.TrimSuffix(f.keyOrigin, "/"), Parallel: f.parallel, Timeout: f.timeout}
	switch c.Sandbox = sandbox.Mode(f.sandbox); {
	case c.Sandbox != sandbox.Auto && c.Sandbox != sandbox.Require && c.Sandbox != sandbox.Disable:
		return c, usageError{fmt.Sprintf("-sandbox is %q: want auto, require or off", f.sandbox)}
	case f.parallel < 0 || f.parallel > 64:
		return c, usageError{"-parallel must be 1 to 64"}
	case f.timeout <= 0:
		return c, usageError{"-timeout must be more than 0"}
	case f.token != "" && f.tokenFile != "":
		return c, usageError{"give -token or -token-file, not both"}
	}
	var err error
	c.Token, err = f.readToken(s)
	return c, err
}

const maxToken = 64 << 10 // bytes

func (f verifyFlags) readToken(s *session) (string, error) {
	if f.tokenFile == "" {
		token := f.token
		if token == "" {
			token = s.environ["SEALCAST_TOKEN"]
		}
		return plainToken(token)
	}
	in := s.stdin
	if f.tokenFile != "-" {
		file, err := os.Open(f.tokenFile)
		if err != nil {
			return "", usageError{fmt.Sprintf("-token-file: %v", err)}
		}
		defer file.Close()
		in = file
	}
	b, err := io.ReadAll(io.LimitReader(in, maxToken+1))
	if err != nil || len(b) > maxToken {
		return "", errors.Join(errors.New("the token cannot be read or is too long"), err)
	}
	return plainToken(string(b))
}

// plainToken refuses what cannot stand in a header, without showing it.
func plainToken(s string) (string, error) {
	s = strings.TrimSpace(s)
	for _, c := range s {
		if c <= ' ' || c > '~' {
			return "", usageError{"the token has a character that no token has"}
		}
	}
	return s, nil
}
