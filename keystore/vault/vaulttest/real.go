package vaulttest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/sealcast/sealcast/internal/proc"
)

// Program is the variable that names Vault's own program: with it, New starts
// that in development mode, in place of the server here.
const Program = "VAULT_PROGRAM"

const (
	patience = time.Minute // for a real Vault to answer, on a busy machine
	versions = 9           // of each key
)

// startReal starts a Vault of the test's own, with its storage in memory, and
// gives it the mount and the keys that New promises.
func (s *Server) startReal(t testing.TB, program string) {
	t.Helper()
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	_ = free.Close()
	ctx, stop := context.WithCancel(context.Background())
	var said bytes.Buffer // it tells faults there
	p, err := proc.Start(ctx, proc.Spec{
		Name: "vault", Path: program, Env: []string{"HOME=" + t.TempDir(), "VAULT_DISABLE_MLOCK=true"},
		Args:   []string{"server", "-dev", "-dev-no-store-token", "-dev-root-token-id=" + Token, "-dev-listen-address=" + address, "-log-level=error"},
		Stdout: &said,
	})
	if err != nil {
		stop()
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _, _ = p.Wait() }()
	t.Cleanup(func() { stop(); <-ended })
	s.URL, s.real = "http://"+address, true
	for began := time.Now(); ; {
		err := s.tell(http.MethodGet, "sys/health", nil)
		if err == nil {
			break
		}
		if time.Since(began) > patience {
			t.Fatalf("vault does not answer: %v", err)
		}
		select {
		case <-ended:
			t.Fatalf("vault has ended: %s", said.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	select {
	case <-ended: // and another one has the port
		t.Fatalf("vault has ended: %s", said.String())
	default:
	}
	tell := func(path string, body any) {
		if err := s.tell(http.MethodPost, path, body); err != nil {
			t.Fatal(err)
		}
	}
	tell("sys/mounts/transit", map[string]string{"type": "transit"})
	for _, key := range Keys {
		tell("transit/keys/"+key, map[string]string{"type": "aes256-gcm96"})
		for range versions - 1 {
			tell("transit/keys/"+key+"/rotate", nil)
		}
	}
}

// tell sends an administrator's request.
func (s *Server) tell(method, path string, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.URL+"/v1/"+path, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	req.Header.Set("X-Vault-Token", Token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode >= http.StatusMultipleChoices {
		said, _ := io.ReadAll(io.LimitReader(res.Body, 1<<10))
		return fmt.Errorf("%s: %s: %s", path, res.Status, said)
	}
	return nil
}
