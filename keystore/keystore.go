package keystore

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/cenc"
)

// KIDPlaceholder in Request.KeyURI is replaced by the new key's id.
const KIDPlaceholder = "{kid}"

// State is where a key is in its life.
type State string

// The states. A key is served while it is active or retiring.
const (
	StatePending  State = "pending"  // issued; its attempt is not published
	StateActive   State = "active"   // of a published generation
	StateRetiring State = "retiring" // of a replaced generation that players may still be in
	StateRevoked  State = "revoked"  // never served again; still readable
	StateShredded State = "shredded" // the key is gone
)

// Request asks for the content key of one output of one attempt.
type Request struct {
	Hash    string      // the asset: 64 lower-case hex digits
	JobID   string      // [A-Za-z0-9_.:-]{1,128}
	Attempt int         // from 1
	Track   string      // the output's name: cmaf, ts, cmaf-aes128
	Scheme  cenc.Scheme // the only scheme that this key will ever serve
	KeyURI  string      // as it stands in playlists; KIDPlaceholder is replaced
	Default bool        // served when the key is asked for without a KID
}

// Key is an issued content key. Content redacts itself.
type Key struct {
	KID        cenc.KID
	Hash       string
	JobID      string
	Attempt    int
	Track      string
	Scheme     cenc.Scheme
	KEKVersion int
	KeyURI     string
	Default    bool
	State      State
	Content    cenc.ContentKey
}

// Store issues content keys and reads them back. Every error matches one of
// the package's sentinels with errors.Is, but for a request that is malformed
// and a context that its caller cancelled. No error holds key material.
// keystoretest.Run is the contract as a test.
type Store interface {
	// Issue gives the key of (job, attempt, track). The first call makes it,
	// pending; every later one, concurrent ones too, gives the same key and
	// changes nothing. The same binding with another hash, scheme, key URI or
	// Default is ErrConflict, and so is a default key for an asset that
	// serves one already.
	Issue(ctx context.Context, req Request) (Key, error)

	// Served gives what viewers may have: an active or retiring key of the
	// asset, or a pending one whose attempt shows what it has made while it
	// runs; the one named by kid or, when kid is nil, the default one. A KID
	// of another asset is ErrNotFound like one that does not exist. A store may
	// give for a second what was so.
	Served(ctx context.Context, hash string, kid *cenc.KID) (Key, error)

	// Get gives a key in any state but shredded: for the verify gate, not
	// for viewers.
	Get(ctx context.Context, hash string, kid cenc.KID) (Key, error)

	// Activate makes the pending keys of an attempt active within tx, the
	// transaction that publishes the attempt, and returns how many they were.
	// ErrConflict if the asset would get a second default key; tx is then
	// aborted.
	Activate(ctx context.Context, tx pgx.Tx, jobID string, attempt int) (int64, error)

	// Shred destroys every key of an asset within tx, the transaction that
	// deletes the asset, and returns how many they were. The rows stay, without
	// the key; the asset may get a new default key.
	Shred(ctx context.Context, tx pgx.Tx, hash string) (int64, error)
}

// maxKeyURI is in bytes; a key URI stands in every media playlist.
const maxKeyURI = 2048

var (
	jobPattern   = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,128}$`)
	trackPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)
)

func (r Request) validate() error {
	var faults []error
	if !cenc.IsHash(r.Hash) {
		faults = append(faults, errors.New("hash: want 64 lower-case hex digits"))
	}
	if !jobPattern.MatchString(r.JobID) {
		faults = append(faults, errors.New("job id: want 1 to 128 of A-Z a-z 0-9 _ . : -"))
	}
	if r.Attempt < 1 || r.Attempt > maxInt4 {
		faults = append(faults, fmt.Errorf("attempt: want 1 or more, got %d", r.Attempt))
	}
	if !trackPattern.MatchString(r.Track) {
		faults = append(faults, errors.New("track: want 1 to 32 of a-z 0-9 -"))
	}
	if !r.Scheme.Valid() {
		faults = append(faults, fmt.Errorf("scheme: unknown scheme %q", string(r.Scheme)))
	}
	if err := checkKeyURI(r.KeyURI); err != nil {
		faults = append(faults, err)
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("key request: %w", errors.Join(faults...))
}

// checkKeyURI refuses what could not stand in a quoted attribute of a
// playlist (RFC 8216, 4.2: no line feed, carriage return or double quote).
func checkKeyURI(uri string) error {
	if uri == "" || len(uri) > maxKeyURI {
		return fmt.Errorf("key uri: want 1 to %d bytes, got %d", maxKeyURI, len(uri))
	}
	for i := range len(uri) {
		if c := uri[i]; c <= ' ' || c >= 0x7f || c == '"' || c == '\\' {
			return errors.New("key uri: want printable ASCII without spaces, quotes and backslashes")
		}
	}
	return nil
}

func (r Request) keyURI(kid cenc.KID) string {
	return strings.ReplaceAll(r.KeyURI, KIDPlaceholder, kid.String())
}

// sameAs says whether k is what r asks for.
func (r Request) sameAs(k Key) bool {
	return k.Hash == r.Hash && k.JobID == r.JobID && k.Attempt == r.Attempt && k.Track == r.Track &&
		k.Scheme == r.Scheme && k.Default == r.Default && k.KeyURI == r.keyURI(k.KID)
}
