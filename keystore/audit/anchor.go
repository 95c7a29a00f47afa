package audit

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Anchors keeps heads of the chain outside the database: an object store, best
// one whose objects cannot be overwritten or removed for a time.
type Anchors interface {
	PutAnchor(ctx context.Context, key string, body []byte) error
	AnchorKeys(ctx context.Context, prefix string) ([]string, error)
}

// AnchorFolder is where anchors lie: audit/<chain>/<seq>-<hash>.json.
const AnchorFolder = "audit/"

// head is the end of the chain at a moment.
type head struct {
	Chain string    `json:"chain"` // names the chain: hex of the first 8 bytes of its genesis
	Seq   int64     `json:"seq"`
	Hash  string    `json:"hash"` // hex
	At    time.Time `json:"at"`
}

func (h head) key() string {
	return fmt.Sprintf("%s%s/%020d-%s.json", AnchorFolder, h.Chain, h.Seq, h.Hash)
}

// parseAnchor reads the key of an anchor; its name says all.
func parseAnchor(key string) (seq int64, hash string, ok bool) {
	name := key[strings.LastIndexByte(key, '/')+1:]
	number, rest, _ := strings.Cut(name, "-")
	hash, ok = strings.CutSuffix(rest, ".json")
	seq, err := strconv.ParseInt(number, 10, 64)
	return seq, hash, ok && err == nil && len(hash) == 64
}

func readHead(ctx context.Context, db querier) (h head, genesis, hash [32]byte, err error) {
	var g, sum []byte
	err = db.QueryRow(ctx, `SELECT genesis, seq, hash, clock_timestamp() FROM audit_head`).Scan(&g, &h.Seq, &sum, &h.At)
	if err != nil {
		return h, genesis, hash, fmt.Errorf("read the head of the chain: %w", err)
	}
	copy(genesis[:], g)
	copy(hash[:], sum)
	h.Chain, h.Hash, h.At = hex.EncodeToString(g[:8]), hex.EncodeToString(sum), h.At.UTC()
	return h, genesis, hash, nil
}

// Anchorer puts the head of the chain into the object store when it has moved.
// Any number of processes may do so.
type Anchorer struct {
	pool    *pgxpool.Pool
	anchors Anchors
	every   time.Duration
	log     *slog.Logger
	last    string // key of the last anchor
}

// NewAnchorer returns an anchorer that does nothing until Run or Once.
func NewAnchorer(pool *pgxpool.Pool, anchors Anchors, every time.Duration, log *slog.Logger) *Anchorer {
	return &Anchorer{pool: pool, anchors: anchors, every: every, log: log}
}

// Run anchors again and again until ctx ends, and returns nil then. The first
// one comes after a part of the interval, so that processes which start
// together take turns.
func (a *Anchorer) Run(ctx context.Context) error {
	wait := time.Duration(rand.Float64() * float64(a.every)) //nolint:gosec // no secret
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		if err := a.Once(ctx); err != nil && ctx.Err() == nil {
			a.log.Error("the audit trail is not anchored", "error", err)
		}
		wait = a.every
	}
}

// Once anchors the head if it has moved since the last time.
func (a *Anchorer) Once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	h, _, _, err := readHead(ctx, a.pool)
	if err != nil {
		return err
	}
	if h.Seq == 0 || h.key() == a.last {
		return nil
	}
	body, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := a.anchors.PutAnchor(ctx, h.key(), body); err != nil {
		return fmt.Errorf("anchor the audit trail: %w", err)
	}
	a.last = h.key()
	return nil
}
