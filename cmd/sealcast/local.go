package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/sealcast/sealcast/internal/localstack"
)

// localState is what a development folder remembers between runs, so that
// addresses in playlists, tokens and keys stay good. Mode 0600.
type localState struct {
	APIKey         string `json:"api_key"`
	KeyTokenSecret string `json:"key_token_secret"`
	KEK            string `json:"kek_1"`
	WebhookSecret  string `json:"webhook_secret"`
	APIPort        int    `json:"api_port"`
	MetricsPort    int    `json:"metrics_port"`
	PlayerPort     int    `json:"player_port"`
}

// local is a private stack and the environment that leads to it.
type local struct {
	stack      *localstack.Stack
	environ    environment
	cfg        *config // of environ, once the services run
	playerAddr string  // host:port of the player page
	moved      bool    // the API's port is another one than last time
}

const (
	sourceBucketName = "sealcast-source"
	mediaBucketName  = "sealcast-media"
)

// startLocal starts a private Postgres, Redis and MinIO below dir (empty: on
// temporary data), makes the buckets, and returns the environment that serve
// needs, every variable of the contract. The caller stops the stack.
func startLocal(ctx context.Context, dir string, log *slog.Logger) (*local, error) {
	cfg := localstack.Config{Log: log}
	if dir != "" {
		cfg.Dir = filepath.Join(dir, "data")
	}
	stack, err := localstack.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	l, err := configureLocal(ctx, stack, dir)
	if err != nil {
		return nil, errors.Join(err, stack.Stop())
	}
	return l, nil
}

func configureLocal(ctx context.Context, stack *localstack.Stack, dir string) (*local, error) {
	state, err := readLocalState(dir)
	if err != nil {
		return nil, err
	}
	before := state.APIPort
	if err := state.complete(); err != nil {
		return nil, err
	}
	if dir != "" {
		if err := writePrivate(statePath(dir), state.encode()); err != nil {
			return nil, err
		}
	}
	if err := stack.CreateBucket(ctx, sourceBucketName, mediaBucketName); err != nil {
		return nil, err
	}
	base := "http://" + loopback(state.APIPort)
	return &local{
		stack:      stack,
		playerAddr: loopback(state.PlayerPort),
		moved:      before != 0 && before != state.APIPort,
		environ: environment{
			"BASE_URL":         base,
			"LISTEN_ADDR":      loopback(state.APIPort),
			"METRICS_ADDR":     loopback(state.MetricsPort),
			"DATABASE_URL":     stack.DatabaseURL,
			"REDIS_URL":        stack.RedisURL,
			"S3_ENDPOINT":      stack.S3Endpoint,
			"S3_ACCESS_KEY":    stack.S3AccessKey,
			"S3_SECRET_KEY":    stack.S3SecretKey,
			"S3_REGION":        stack.S3Region,
			"SOURCE_BUCKET":    sourceBucketName,
			"MEDIA_BUCKET":     mediaBucketName,
			"API_KEY":          state.APIKey,
			"KEY_TOKEN_SECRET": state.KeyTokenSecret,
			"KEK_1":            state.KEK,
			"KEK_PRIMARY":      "1",
			"WEBHOOK_SECRET":   state.WebhookSecret,
			// A receiver that is being built runs on this machine.
			"WEBHOOK_ALLOW": "127.0.0.0/8,::1",
			// Any page on this machine may play, whatever its port.
			"CORS_ORIGINS":       "http://127.0.0.1:*,http://localhost:*",
			"WORKER_CONCURRENCY": "1",
			"MAX_SOURCE_BYTES":   "50GiB",
			"SCRATCH_DIR":        os.TempDir(),
			"DRAIN_TIMEOUT":      "2s", // Ctrl-C ends everything within 10 s
		},
	}, nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func statePath(dir string) string { return filepath.Join(dir, "dev.json") }

// readLocalState reads the state of an earlier run; an absent one is empty.
func readLocalState(dir string) (localState, error) {
	var s localState
	if dir == "" {
		return s, nil
	}
	b, err := os.ReadFile(statePath(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil { // its text may repeat a secret's first character only
		return s, fmt.Errorf("%s is damaged; the keys of everything below %s depend on it: %w", statePath(dir), dir, err)
	}
	return s, nil
}

// complete fills what is missing and replaces ports that are taken.
func (s *localState) complete() error {
	for _, secret := range []struct {
		value *string
		bytes int
	}{{&s.APIKey, 24}, {&s.KeyTokenSecret, 32}, {&s.KEK, 32}} {
		if *secret.value == "" {
			b := make([]byte, secret.bytes)
			_, _ = rand.Read(b) // crypto/rand.Read never fails since Go 1.24
			*secret.value = hex.EncodeToString(b)
		}
	}
	if s.WebhookSecret == "" {
		b := make([]byte, 32)
		_, _ = rand.Read(b)
		s.WebhookSecret = "whsec_" + base64.StdEncoding.EncodeToString(b)
	}
	used := map[int]bool{}
	for _, port := range []*int{&s.APIPort, &s.MetricsPort, &s.PlayerPort} {
		for !localstack.Free(*port) || used[*port] {
			p, err := localstack.FreePort()
			if err != nil {
				return err
			}
			*port = p
		}
		used[*port] = true
	}
	return nil
}

func (s localState) encode() []byte {
	b, _ := json.MarshalIndent(s, "", "  ") // strings and numbers: cannot fail
	return append(b, '\n')
}

// writePrivate replaces a file whole; only its owner may read it.
func writePrivate(path string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(content)
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp.Name()))
	}
	return nil
}

// shell writes an environment as lines for a shell to source.
func (e environment) shell() []byte {
	var b strings.Builder
	b.WriteString("# Written by 'sealcast dev': . this-file, then run sealcast submit, token, check-config …\n")
	for _, name := range slices.Sorted(maps.Keys(e)) {
		fmt.Fprintf(&b, "export %s='%s'\n", name, strings.ReplaceAll(e[name], "'", `'\''`))
	}
	return []byte(b.String())
}
