package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealcast/sealcast/internal/sandbox"
)

// whole is an environment without faults for serve.
func whole() environment {
	return environment{
		"BASE_URL":         "https://media.example.org",
		"DATABASE_URL":     "postgres://app:db-password@db.example.org:5432/sealcast?sslmode=disable",
		"REDIS_URL":        "redis://:redis-password@queue.example.org:6379/2",
		"S3_ENDPOINT":      "http://minio:9000",
		"S3_ACCESS_KEY":    "access-key-value",
		"S3_SECRET_KEY":    "secret-key-value",
		"SOURCE_BUCKET":    "uploads",
		"MEDIA_BUCKET":     "media",
		"API_KEY":          "api-key-of-24-characters",
		"KEY_TOKEN_SECRET": "0123456789abcdef0123456789abcdef",
		"KEK_1":            strings.Repeat("a1", 32),
		"KEK_2":            strings.Repeat("B2", 32),
		"KEK_PRIMARY":      "2",
	}
}

func with(e environment, pairs ...string) environment {
	e = maps.Clone(e)
	for i := 0; i < len(pairs); i += 2 {
		e[pairs[i]] = pairs[i+1]
	}
	return e
}

func faultsOf(t *testing.T, e environment, needs func(*config) []any) []string {
	t.Helper()
	var cfg config
	_, err := cfg.load(e, needs)
	if err == nil {
		return nil
	}
	var all *configError
	if !errors.As(err, &all) {
		t.Fatalf("not a configError: %v", err)
	}
	var out []string
	for _, f := range all.faults {
		if f.name == "" || f.wrong == "" || f.set == "" {
			t.Errorf("incomplete fault %+v", f)
		}
		out = append(out, f.name+": "+f.wrong)
	}
	return out
}

func TestConfigDefaults(t *testing.T) {
	var cfg config
	if _, err := cfg.load(whole(), serveNeeds); err != nil {
		t.Fatal(err)
	}
	got := []any{
		cfg.Listen.Addr, cfg.Metrics.Addr, cfg.S3.Region, cfg.Work.Concurrency, cfg.Work.LargeConcurrency,
		cfg.Limit.MaxSourceBytes, time.Duration(cfg.Work.DrainTimeout), string(cfg.Work.ScratchDir),
		cfg.Viewer.KeyLimitPerToken, cfg.Viewer.KeyLimitPerClient, cfg.Log.Level.Level, cfg.S3.Endpoint.host,
		cfg.Work.AttemptMemory, cfg.Work.ChildMemory, cfg.Work.VerifySourceHash, cfg.Work.Sandbox,
		cfg.GCMode.Mode, time.Duration(cfg.GC.Grace), time.Duration(cfg.GC.Retention),
	}
	want := []any{
		listenAddr(":8080"), listenAddr("127.0.0.1:9090"), "us-east-1", count(max(1, runtime.GOMAXPROCS(0)/4)), count(1),
		byteSize(50 << 30), 10 * time.Minute, os.TempDir(), count(120), count(3000), slog.LevelInfo, "minio:9000",
		byteSize(1536 << 20), byteSize(0), onOff(true), sandboxMode(sandbox.Auto),
		gcDryRun, time.Hour, 720 * time.Hour,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	keks := map[int][]byte{}
	for n, k := range cfg.KEK.Versions {
		keks[n] = []byte(k.reveal())
	}
	if len(keks) != 2 || hex.EncodeToString(keks[2]) != strings.Repeat("b2", 32) {
		t.Error("the KEK versions are not those of the environment")
	}
}

func TestConfigFaults(t *testing.T) {
	const kekShort = "has 2 characters, needs exactly 64 hex digits"
	for _, c := range []struct {
		name string
		env  environment
		want []string
	}{
		{"none", whole(), nil},
		{"base URL with a slash", with(whole(), "BASE_URL", "https://a.example/"), []string{"BASE_URL: ends in a slash"}},
		{"base URL with a path", with(whole(), "BASE_URL", "https://a.example/v"), []string{"BASE_URL: has a path"}},
		{"base URL with a query", with(whole(), "BASE_URL", "https://a.example?x"), []string{"BASE_URL: has a query"}},
		{"base URL with an empty query", with(whole(), "BASE_URL", "https://a.example?"), []string{"BASE_URL: has a query"}},
		{"base URL with a fragment", with(whole(), "BASE_URL", "https://a.example#"), []string{"BASE_URL: has a fragment"}},
		{"base URL with a user", with(whole(), "BASE_URL", "https://u:p@a.example"), []string{"BASE_URL: has a user name in it"}},
		{"base URL without a scheme", with(whole(), "BASE_URL", "a.example"), []string{"BASE_URL: does not begin with http:// or https://"}},
		{"base URL of another scheme", with(whole(), "BASE_URL", "ftp://a.example"), []string{"BASE_URL: does not begin with http:// or https://"}},
		{"base URL without a host", with(whole(), "BASE_URL", "https://:80"), []string{"BASE_URL: has no host"}},
		{"base URL with a bad port", with(whole(), "BASE_URL", "https://a:65536"), []string{`BASE_URL: has the port "65536", which is no number from 1 to 65535`}},
		{"an empty variable is unset", with(whole(), "BASE_URL", ""), []string{"BASE_URL: is not set"}},
		{"database", with(whole(), "DATABASE_URL", "mysql://db"), []string{"DATABASE_URL: is no PostgreSQL connection string"}},
		{"redis", with(whole(), "REDIS_URL", "http://x"), []string{"REDIS_URL: is no Redis URL"}},
		{"endpoint without a scheme", with(whole(), "S3_ENDPOINT", "minio:9000"), []string{"S3_ENDPOINT: does not begin with http:// or https://"}},
		{"endpoint with a path", with(whole(), "S3_ENDPOINT", "http://minio:9000/"), []string{"S3_ENDPOINT: has a path"}},
		{"one bucket for both", with(whole(), "MEDIA_BUCKET", "uploads"), []string{"MEDIA_BUCKET: is the same as SOURCE_BUCKET"}},
		{"bucket name", with(whole(), "MEDIA_BUCKET", "Media"), []string{`MEDIA_BUCKET: is "Media", which is no bucket name (3 to 63 lower-case letters, digits, dots, hyphens)`}},
		{"short API key", with(whole(), "API_KEY", "short"), []string{"API_KEY: has 5 bytes, needs at least 16"}},
		{"API key with a line break", with(whole(), "API_KEY", "0123456789abcdef\n"), []string{"API_KEY: has a space, a line break or a character that an HTTP header cannot carry"}},
		{"short token secret", with(whole(), "KEY_TOKEN_SECRET", "0123456789abcde"), []string{"KEY_TOKEN_SECRET: has 15 bytes, needs at least 16"}},
		{"short KEK", with(whole(), "KEK_1", "ab"), []string{"KEK_1: " + kekShort}},
		{"zero KEK", with(whole(), "KEK_1", strings.Repeat("0", 64)), []string{"KEK_1: is all zero"}},
		{"one KEK twice", with(whole(), "KEK_7", strings.Repeat("A1", 32)), []string{"KEK_7: has the same value as KEK_1"}},
		{"KEK with other characters", with(whole(), "KEK_1", strings.Repeat("g", 64)), []string{"KEK_1: has a character that is no hex digit"}},
		{"KEK version 0", with(whole(), "KEK_0", strings.Repeat("a", 64)), []string{"KEK_0: is no name of a KEK version"}},
		{"mistyped KEK", with(whole(), "KEK_x", "1"), []string{"KEK_x: is no name of a KEK version"}},
		{"KEK with a leading zero", with(whole(), "KEK_01", "1"), []string{"KEK_01: is no name of a KEK version"}},
		{"KEK_PRIMARY of no version", with(whole(), "KEK_PRIMARY", "3"), []string{"KEK_PRIMARY: names version 3, and KEK_3 is not set"}},
		{"KEK_PRIMARY is no number", with(whole(), "KEK_PRIMARY", "two"), []string{`KEK_PRIMARY: is "two", which is no whole number of at least 1`}},
		{"no KEK at all", with(whole(), "KEK_1", "", "KEK_2", ""), []string{"KEK_<n>: is not set for any version"}},
		{"every origin", with(whole(), "CORS_ORIGINS", "*"), []string{`CORS_ORIGINS: has the entry "*": list the origins that may play, not all of them`}},
		{"origin with a slash", with(whole(), "CORS_ORIGINS", "https://a.example,https://b.example/"), []string{`CORS_ORIGINS: has the entry "https://b.example/": want scheme://host or scheme://host:port in lower case, without a path`}},
		{"origin with a host wildcard", with(whole(), "CORS_ORIGINS", "https://*.example"), []string{`CORS_ORIGINS: has the entry "https://*.example": want scheme://host or scheme://host:port in lower case, without a path`}},
		{"origin null", with(whole(), "CORS_ORIGINS", "null"), []string{`CORS_ORIGINS: has the entry "null": want scheme://host or scheme://host:port in lower case, without a path`}},
		{"origin with its default port", with(whole(), "CORS_ORIGINS", "https://a.example:443"), []string{`CORS_ORIGINS: has the entry "https://a.example:443": browsers leave the default port out, and so must this`}},
		{"proxies", with(whole(), "TRUSTED_PROXIES", "10.0.0.0/8,proxy"), []string{`TRUSTED_PROXIES: has the entry "proxy", which is neither an address nor a CIDR`}},
		{"listen address", with(whole(), "LISTEN_ADDR", "8080"), []string{`LISTEN_ADDR: is "8080", which is no host:port`}},
		{"concurrency", with(whole(), "WORKER_CONCURRENCY", "0"), []string{`WORKER_CONCURRENCY: is "0", which is no whole number of at least 1`}},
		{"size", with(whole(), "MAX_SOURCE_BYTES", "5GB"), []string{`MAX_SOURCE_BYTES: is "5GB", which is no size`}},
		{"size that overflows", with(whole(), "MAX_SOURCE_BYTES", "9999999999GiB"), []string{`MAX_SOURCE_BYTES: is "9999999999GiB", which is no size`}},
		{"attempt memory", with(whole(), "ATTEMPT_MEMORY", "much"), []string{`ATTEMPT_MEMORY: is "much", which is no size`}},
		{"verify source hash", with(whole(), "VERIFY_SOURCE_HASH", "yes"), []string{`VERIFY_SOURCE_HASH: is "yes", which is neither on nor off`}},
		{"sandbox", with(whole(), "SANDBOX", "none"), []string{`SANDBOX: is "none", which is none of auto, require and off`}},
		{"environment", with(whole(), "ENVIRONMENT", "prod"), []string{`ENVIRONMENT: is "prod", which is none of development, staging and production`}},
		{"all is well", with(whole(), "VERIFY_SOURCE_HASH", "off", "SANDBOX", "require", "CHILD_MEMORY", "4GiB"), nil},
		{"scratch", with(whole(), "SCRATCH_DIR", "/nonexistent/folder"), []string{`SCRATCH_DIR: is "/nonexistent/folder", which is no folder`}},
		{"drain", with(whole(), "DRAIN_TIMEOUT", "10"), []string{`DRAIN_TIMEOUT: is "10", which is no positive duration`}},
		{"garbage collection", with(whole(), "GC", "yes", "GC_GRACE", "10s", "GC_RETENTION", "-1h"), []string{
			`GC: is "yes"`, `GC_GRACE: is "10s", which is no duration of a minute or more`, `GC_RETENTION: is "-1h", which is no positive duration`,
		}},
		{"log", with(whole(), "LOG_LEVEL", "loud", "LOG_FORMAT", "xml"), []string{`LOG_LEVEL: is "loud"`, `LOG_FORMAT: is "xml"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, faultsOf(t, c.env, serveNeeds)); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

func TestConfigReportsEveryMissingVariableAtOnce(t *testing.T) {
	var want []string
	for _, n := range []string{
		"BASE_URL", "DATABASE_URL", "REDIS_URL", "S3_ENDPOINT", "S3_ACCESS_KEY", "S3_SECRET_KEY",
		"SOURCE_BUCKET", "MEDIA_BUCKET", "API_KEY", "KEY_TOKEN_SECRET", "KEK_PRIMARY",
	} {
		want = append(want, n+": is not set")
	}
	want = append(want, "KEK_<n>: is not set for any version")
	if diff := cmp.Diff(want, faultsOf(t, environment{}, serveNeeds)); diff != "" {
		t.Errorf("faults (-want +got):\n%s", diff)
	}
}

func TestConfigNeedsDiffer(t *testing.T) {
	bad := with(whole(), "SCRATCH_DIR", "/nonexistent/folder", "CORS_ORIGINS", "*", "KEY_TOKEN_SECRET", "short")
	for _, c := range []struct {
		command *command
		want    int // faults
	}{
		{apiCommand(), 2}, {workerCommand(), 1}, {serveCommand(), 3}, {tokenCommand(), 1}, {submitCommand(), 0}, {migrateCommand(), 0},
	} {
		if got := faultsOf(t, bad, c.command.needs); len(got) != c.want {
			t.Errorf("%s: %d faults, want %d: %q", c.command.name, len(got), c.want, got)
		}
	}
}

func TestConfigWebhooks(t *testing.T) {
	const one, two = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	for _, c := range []struct {
		name string
		env  environment
		want []string
	}{
		{"off", whole(), nil},
		{"on", with(whole(), "WEBHOOK_SECRET", one, "WEBHOOK_SECRET_PREVIOUS", two, "WEBHOOK_ALLOW", "10.0.0.0/8, ::1,receiver:8080"), nil},
		{"no secret of webhooks", with(whole(), "WEBHOOK_SECRET", one[6:]), []string{"WEBHOOK_SECRET: does not begin with whsec_"}},
		{"short", with(whole(), "WEBHOOK_SECRET", "whsec_AAAA"), []string{"WEBHOOK_SECRET: has 3 bytes after decoding, needs 24 to 64"}},
		{"the former alone", with(whole(), "WEBHOOK_SECRET_PREVIOUS", two), []string{"WEBHOOK_SECRET_PREVIOUS: is set, and WEBHOOK_SECRET is not"}},
		{"the same twice", with(whole(), "WEBHOOK_SECRET", one, "WEBHOOK_SECRET_PREVIOUS", one), []string{"WEBHOOK_SECRET_PREVIOUS: is the same as WEBHOOK_SECRET"}},
		{"a name without a port", with(whole(), "WEBHOOK_ALLOW", "10.0.0.1,receiver"), []string{`WEBHOOK_ALLOW: has the entry "receiver", which is no address, no CIDR and no host:port`}},
	} {
		if diff := cmp.Diff(c.want, faultsOf(t, c.env, serveNeeds)); diff != "" {
			t.Errorf("%s: faults (-want +got):\n%s", c.name, diff)
		}
	}
	var cfg config
	if _, err := cfg.load(with(whole(), "WEBHOOK_SECRET", one, "WEBHOOK_SECRET_PREVIOUS", two, "WEBHOOK_ALLOW", "receiver:8080"), workerNeeds); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{one, two}, cfg.Webhook.secrets()); diff != "" {
		t.Error(diff)
	}
	if err := cfg.Webhook.targets().CheckURL("http://receiver:8080/"); err != nil {
		t.Error(err)
	}
}

func TestConfigSecretsFromFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	secretText := "from-a-file-0123456789abcdef"
	for _, c := range []struct {
		name    string
		env     environment
		want    []string
		content string
	}{
		{"plain", with(whole(), "KEY_TOKEN_SECRET", "", "KEY_TOKEN_SECRET_FILE", file("a", secretText)), nil, secretText},
		{"one newline goes", with(whole(), "KEY_TOKEN_SECRET", "", "KEY_TOKEN_SECRET_FILE", file("b", secretText+"\n")), nil, secretText},
		{"one only", with(whole(), "KEY_TOKEN_SECRET", "", "KEY_TOKEN_SECRET_FILE", file("c", secretText+"\n\n")), nil, secretText + "\n"},
		{"of Windows too", with(whole(), "KEY_TOKEN_SECRET", "", "KEY_TOKEN_SECRET_FILE", file("d", secretText+"\r\n")), nil, secretText},
		{"both", with(whole(), "KEY_TOKEN_SECRET_FILE", file("e", secretText)), []string{"KEY_TOKEN_SECRET: is set twice, by KEY_TOKEN_SECRET and by KEY_TOKEN_SECRET_FILE"}, ""},
		{"empty", with(whole(), "KEY_TOKEN_SECRET", "", "KEY_TOKEN_SECRET_FILE", file("f", "\n")), []string{"KEY_TOKEN_SECRET: cannot be read from KEY_TOKEN_SECRET_FILE: " + filepath.Join(dir, "f") + " is empty"}, ""},
		{"absent", with(whole(), "KEY_TOKEN_SECRET", "", "KEY_TOKEN_SECRET_FILE", filepath.Join(dir, "g")), []string{"KEY_TOKEN_SECRET: cannot be read from KEY_TOKEN_SECRET_FILE: open " + filepath.Join(dir, "g") + ": no such file or directory"}, ""},
		{"both for a KEK", with(whole(), "KEK_2_FILE", file("h", strings.Repeat("c", 64))), []string{"KEK_2: is set twice, by KEK_2 and by KEK_2_FILE"}, ""},
		{"no secret, no file", with(whole(), "BASE_URL_FILE", file("i", "x")), nil, whole()["KEY_TOKEN_SECRET"]},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, faultsOf(t, c.env, serveNeeds)); diff != "" {
				t.Fatalf("faults (-want +got):\n%s", diff)
			}
			var cfg config
			if _, err := cfg.load(c.env, serveNeeds); err == nil && cfg.Token.Secret.reveal() != c.content {
				t.Errorf("the secret is %q, want %q", cfg.Token.Secret.reveal(), c.content)
			}
		})
	}
	all := environment{}
	for name, value := range whole() {
		switch name {
		case "API_KEY", "KEY_TOKEN_SECRET", "S3_ACCESS_KEY", "S3_SECRET_KEY", "DATABASE_URL", "REDIS_URL", "KEK_1", "KEK_2":
			all[name+"_FILE"] = file(name, value+"\n")
		default:
			all[name] = value
		}
	}
	var fromFiles, direct config
	if _, err := fromFiles.load(all, serveNeeds); err != nil {
		t.Fatal(err)
	}
	if _, err := direct.load(whole(), serveNeeds); err != nil {
		t.Fatal(err)
	}
	if fromFiles.S3 != direct.S3 || fromFiles.Database != direct.Database || fromFiles.KEK.Versions[2] != direct.KEK.Versions[2] {
		t.Error("secrets from files differ from those of the environment")
	}
}

// secretsOf lists what must never show.
func secretsOf(e environment) []string {
	return []string{
		e["API_KEY"], e["KEY_TOKEN_SECRET"], e["S3_ACCESS_KEY"], e["S3_SECRET_KEY"], e["KEK_1"], e["KEK_2"],
		"db-password", "redis-password", "sslmode",
	}
}

func TestConfigRedactsItself(t *testing.T) {
	var cfg config
	settings, err := cfg.load(whole(), serveNeeds)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, verb+"\n", cfg)
		fmt.Fprintf(&out, verb+"\n", &cfg)
		fmt.Fprintf(&out, verb+"\n", cfg.Database.URL)
		fmt.Fprintf(&out, verb+"\n", cfg.KEK.Versions)
	}
	if err := json.NewEncoder(&out).Encode(cfg.Token); err != nil {
		t.Fatal(err)
	}
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "cfg", cfg, "secret", cfg.Token.Secret, "kek", cfg.KEK)
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", "cfg", cfg, "secret", cfg.Token.Secret, "kek", cfg.KEK)
	writeSettings(&out, settings)
	printed := strings.ToLower(out.String())
	for _, s := range secretsOf(whole()) {
		for _, spelling := range []string{s, hex.EncodeToString([]byte(s)), strings.Trim(fmt.Sprint([]byte(s)[:min(len(s), 8)]), "[]")} {
			if strings.Contains(printed, strings.ToLower(spelling)) {
				t.Errorf("%s shows as %s in:\n%s", s, spelling, out.String())
			}
		}
	}
	for _, want := range []string{"postgres://app@db.example.org:5432/sealcast", "redis://queue.example.org:6379/2", redacted} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%s is missing", want)
		}
	}
}

// FuzzConfig states: no text of any variable makes load panic, and a fault
// never repeats a secret.
func FuzzConfig(f *testing.F) {
	var names []string
	for _, concern := range serveNeeds(&config{}) {
		for _, v := range variablesOf(concern) {
			names = append(names, v.name)
		}
	}
	names = append(names, "KEK_1", "KEK_x", "KEK_")
	for i := range names {
		f.Add(i, "a-value-that-stands-out-€")
		f.Add(i, "http://a:b@c:1/d?e#f")
		f.Add(i, "postgres://u:a-value-that-stands-out@%zz")
	}
	secrets := map[string]bool{"KEK_1": true}
	for _, concern := range serveNeeds(&config{}) {
		for _, v := range variablesOf(concern) {
			secrets[v.name] = v.secret
		}
	}
	f.Fuzz(func(t *testing.T, i int, value string) {
		if i < 0 || i >= len(names) {
			return
		}
		var cfg config
		settings, err := cfg.load(with(whole(), names[i], value), serveNeeds)
		if err == nil || !secrets[names[i]] || len(value) < 12 {
			return
		}
		var out bytes.Buffer
		writeSettings(&out, settings)
		if strings.Contains(err.Error()+out.String(), value) {
			t.Errorf("%s shows its value %q:\n%v", names[i], value, err)
		}
	})
}
