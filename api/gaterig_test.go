package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/access"
	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/token"
)

const (
	withAPIKey = "X-API-Key: " + testAPIKey
	asJSON     = "Content-Type: application/json"
)

// gateRig is a rig whose gate and administration are the real ones, on Postgres.
type gateRig struct {
	*rig
	gate *access.Gate
	pool *pgxpool.Pool
}

func accessDatabase(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool := localstacktest.Pool(t)
	for _, hash := range []string{hashA, hashB} {
		if _, err := pool.Exec(t.Context(), `INSERT INTO assets (hash, encrypted, generation) VALUES ($1, true, 1)`, hash); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

func newGateRig(t testing.TB, pool *pgxpool.Pool, change ...func(*Config)) *gateRig {
	t.Helper()
	gate, err := access.Open(t.Context(), access.Config{
		Pool: pool, Secret: []byte(testSecret), Environment: "production", Log: slog.New(slog.DiscardHandler),
		Audit: func(ctx context.Context, tx pgx.Tx, actor, action, subject string, details map[string]any) error {
			_, err := tx.Exec(ctx, `INSERT INTO audit_log (actor, action, subject, details) VALUES ($1, $2, $3, $4)`, actor, action, subject, details)
			return err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, append([]func(*Config){func(cfg *Config) { cfg.Gate, cfg.Admin = gate, gate }}, change...)...)
	return &gateRig{rig: r, gate: gate, pool: pool}
}

// twoNodes are two APIs on one database. Nobody tells the second one what happens
// at the first.
func twoNodes(t *testing.T) (one, other *gateRig) {
	t.Helper()
	pool := accessDatabase(t)
	one, other = newGateRig(t, pool), newGateRig(t, pool)
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	var nodes sync.WaitGroup
	nodes.Go(func() { _ = other.gate.Run(ctx) })
	t.Cleanup(func() { stop(); nodes.Wait() })
	return one, other
}

// call makes a request with an API key and reads the answer into a map.
func (g *gateRig) call(apiKey, method, path string, body any, status int) map[string]any {
	g.t.Helper()
	headers, text := []string{"X-API-Key: " + apiKey}, ""
	if body != nil {
		raw, err := json.Marshal(body)
		if err != nil {
			g.t.Fatal(err)
		}
		headers, text = append(headers, asJSON), string(raw)
	}
	a := g.do(method, path, text, headers...)
	if a.StatusCode != status {
		g.t.Fatalf("%s %s: %d %s, want %d", method, path, a.StatusCode, a.body, status)
	}
	if a.Header.Get("Cache-Control") != "no-store" {
		g.t.Errorf("%s %s may be kept: %q", method, path, a.Header.Get("Cache-Control"))
	}
	var out map[string]any
	if len(a.body) > 0 {
		if err := json.Unmarshal(a.body, &out); err != nil {
			g.t.Fatal(err)
		}
	}
	return out
}

func (g *gateRig) admin(method, path string, body any, status int) map[string]any {
	g.t.Helper()
	return g.call(testAPIKey, method, path, body, status)
}

// key asks for a content key with a token.
func (g *gateRig) key(tok, hash string, headers ...string) answer {
	g.t.Helper()
	return g.do("GET", "/api/key/"+hash, "", append(headers, "Authorization: Bearer "+tok)...)
}

func (g *gateRig) wantKey(what, tok, hash string, status int, code string, headers ...string) {
	g.t.Helper()
	if a := g.key(tok, hash, headers...); a.StatusCode != status || a.code() != code {
		g.t.Errorf("%s: %d %q, want %d %q", what, a.StatusCode, a.code(), status, code)
	}
}

// newSigner makes a signing key by the API and a signer for what it showed.
func (g *gateRig) newSigner(body map[string]any) *token.Signer {
	g.t.Helper()
	made := g.admin("POST", "/api/signing-keys", body, 201)
	private, err := token.ParsePrivateKey([]byte(made["private_key"].(string)))
	if err != nil {
		g.t.Fatal(err)
	}
	s, err := token.NewSigner(made["kid"].(string), private)
	if err != nil {
		g.t.Fatal(err)
	}
	return s
}

func mintJ(t testing.TB, s *token.Signer, c token.Claims) string {
	t.Helper()
	if c.Audience == nil {
		c.Audience = []string{"v"}
	}
	if c.ExpiresAt.IsZero() {
		c.ExpiresAt = time.Now().Add(5 * time.Minute)
	}
	tok, err := s.Mint(c)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}
