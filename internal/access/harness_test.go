package access

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/localstack/localstacktest"
	"github.com/sealcast/sealcast/token"
)

func TestMain(m *testing.M) { os.Exit(localstacktest.RunWhole(m)) }

const testSecret = "0123456789abcdef0123456789abcdef"

var (
	hashA  = strings.Repeat("ab", 32)
	hashB  = strings.Repeat("cd", 32)
	admin  = Actor{Name: "api_key", Details: map[string]any{"request_id": "r"}}
	client = netip.MustParseAddr("192.0.2.7")
)

func auditLog(ctx context.Context, tx pgx.Tx, actor, action, subject string, details map[string]any) error {
	_, err := tx.Exec(ctx, `INSERT INTO audit_log (actor, action, subject, details) VALUES ($1, $2, $3, $4)`, actor, action, subject, details)
	return err
}

// node is a Gate as one process has it. It is not kept up to date by itself.
func node(t testing.TB, pool *pgxpool.Pool) *Gate {
	t.Helper()
	g, err := Open(t.Context(), Config{
		Pool: pool, Secret: []byte(testSecret), Environment: "production", Audit: auditLog, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// database has the assets A and B.
func database(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool := localstacktest.Pool(t)
	for _, hash := range []string{hashA, hashB} {
		if _, err := pool.Exec(t.Context(), `INSERT INTO assets (hash, encrypted, generation) VALUES ($1, true, 1)`, hash); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

func (g *Gate) mustRefresh(t testing.TB) {
	t.Helper()
	if err := g.view.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func playbackKey(t testing.TB, g *Gate, k PlaybackKey) PlaybackKey {
	t.Helper()
	if k.Hash == "" {
		k.Hash = hashA
	}
	if k.Environment == "" {
		k.Environment = "production"
	}
	k, err := g.CreatePlaybackKey(t.Context(), k, admin)
	if err != nil {
		t.Fatal(err)
	}
	g.mustRefresh(t)
	return k
}

// signingKey makes one and a signer for it.
func signingKey(t testing.TB, g *Gate, k SigningKey) *token.Signer {
	t.Helper()
	if k.Environment == "" {
		k.Environment = EnvironmentAll
	}
	if k.Algorithm == "" {
		k.Algorithm = token.EdDSA
	}
	made, err := g.CreateSigningKey(t.Context(), k, admin)
	if err != nil {
		t.Fatal(err)
	}
	g.mustRefresh(t)
	if made.Secret != nil {
		s, err := token.NewSymmetricSigner(made.KID, made.Secret)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	private, err := token.ParsePrivateKey([]byte(made.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSigner(made.KID, private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mint(t testing.TB, s *token.Signer, c token.Claims) string {
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

func mintH(t testing.TB, c token.Claims) string {
	t.Helper()
	h, err := token.NewHMAC([]byte(testSecret))
	if err != nil {
		t.Fatal(err)
	}
	if c.ExpiresAt.IsZero() {
		c.ExpiresAt = time.Now().Add(5 * time.Minute)
	}
	tok, err := h.Mint(c)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// ask is a request for a content key.
func ask(tok, id string) Request {
	return Request{Token: tok, PathID: id, Scope: token.ScopeKey, Client: client}
}

func wantCode(t testing.TB, g *Gate, req Request, code string) {
	t.Helper()
	_, err := g.Authorize(context.Background(), req)
	if got := codeOf(err); got != code {
		t.Errorf("%s: got %q (%v), want %q", req.PathID, got, err, code)
	}
}

func codeOf(err error) string {
	var refusal token.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &refusal):
		return refusal.Code
	case errors.Is(err, ErrTokenRequired):
		return "token_required"
	case errors.Is(err, ErrNotFound):
		return "not_found"
	}
	return "unavailable"
}
