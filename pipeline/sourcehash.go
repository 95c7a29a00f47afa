package pipeline

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"sync"
	"time"
)

// sourceHash hashes a source while others read it: what comes in order counts
// at once, what was skipped is read when they have ended.
type sourceHash struct {
	mu   sync.Mutex
	sum  hash.Hash
	next int64 // the first byte that is not hashed yet
}

func newSourceHash() *sourceHash { return &sourceHash{sum: sha256.New()} }

// feed takes bytes of the source from offset off.
func (s *sourceHash) feed(off int64, data []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if skip := s.next - off; skip >= 0 && skip < int64(len(data)) {
		_, _ = s.sum.Write(data[skip:]) // hash.Hash never fails
		s.next = off + int64(len(data))
	}
}

func (s *sourceHash) reached() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// checkSource reads what nobody has read in order and compares the hash of all
// bytes with the asset's. It runs beside the verify gate.
func (a *attempt) checkSource(ctx context.Context) error {
	sum := a.gateway.sum
	if sum == nil {
		return nil
	}
	began, from, size := time.Now(), sum.reached(), a.gateway.info.Size
	for at := from; at < size; at = sum.reached() {
		if _, err := a.gateway.block(ctx, at, min(maxBlock, size-at)); err != nil {
			return err
		}
	}
	a.log.Debug("source hashed", "bytes", size, "read_again_bytes", size-from, "seconds", time.Since(began).Seconds())
	if got := hex.EncodeToString(sum.sum.Sum(nil)); got != a.req.Hash {
		return permanent(CodeSourceHashMismatch, "the source's SHA-256 is not the job's hash", fmt.Errorf("the source has SHA-256 %s", got))
	}
	return nil
}
