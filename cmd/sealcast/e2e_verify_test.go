package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/verify"
)

// The program accepts what a real installation serves, as a page of another
// origin and by both protocols, with every check made; another title's token
// is refused with an exit code of its own.
func TestE2EVerify(t *testing.T) {
	r := newRig(t)
	r.serve()
	hash, source := r.upload(clip(t, "640x360", 6))
	r.succeeded(r.accepted(r.submit("video:transcode", hash, source, `{"outputs":["cmaf","cmaf-aes128","ts"],"segment_seconds":2}`)))
	base := r.env["BASE_URL"] + "/stream/" + hash + "/"
	for _, entry := range []string{"master.m3u8", "eme.m3u8", "manifest.mpd", "cmaf-aes128/master.m3u8", "ts/master.m3u8"} {
		t.Run(entry, func(t *testing.T) {
			code, report, out := runVerify(t, r, base+entry, r.token(hash, time.Minute), "-origin", "http://127.0.0.1:1234", "-strict")
			if code != exitOK || !report.OK || len(report.Skipped) > 0 || report.Keys == 0 || !slices.Contains(report.Checked, "cors") {
				t.Errorf("exit code %d\n%s", code, out)
			}
		})
	}
	t.Run("another title's token", func(t *testing.T) {
		other := r.token(strings.Repeat("0", 64), time.Minute)
		code, report, out := runVerify(t, r, base+"ts/master.m3u8", other)
		if code != exitRefused || report.OK || !strings.Contains(out, "token_mismatch") || strings.Contains(out, other) {
			t.Errorf("exit code %d\n%s", code, out)
		}
	})
}

// runVerify runs the program; the token comes by stdin.
func runVerify(t *testing.T, r *rig, url, token string, flags ...string) (int, verify.Report, string) {
	t.Helper()
	cmd := exec.Command("sealcast", append([]string{"verify", url, "-json", "-token-file", "-"}, flags...)...)
	cmd.Env, cmd.Stdin = r.environ(), strings.NewReader(token)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var report verify.Report
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil {
		t.Fatalf("%v\n%s\n%s", err, stdout.Bytes(), stderr.Bytes())
	}
	return cmd.ProcessState.ExitCode(), report, stdout.String() + stderr.String()
}
