package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// Entry is one line of the record. It holds no secret.
type Entry struct {
	Actor   string         // who: viewer, api_key, worker, operator …
	Action  string         // what: see the constants
	Subject string         // to what: an asset's hash, a KEK version, an id
	Details map[string]any // the rest, in JSON
}

// The actions of keys. Other rooms have their own: asset.delete.
const (
	ActionRead       = "key.read"          // a viewer got a content key
	ActionRefuse     = "key.refuse"        // a verified token did not get one; details.code says why
	ActionIssue      = "key.issue"         // an attempt got a new content key
	ActionShred      = "key.shred"         // content keys were destroyed
	ActionRetireKey  = "key.retire"        // keys of a replaced generation are not served any more
	ActionRevoke     = "key.revoke"        // keys that retired are over
	ActionRewrap     = "key.rewrap"        // content keys were sealed anew, under another KEK version
	ActionRegister   = "kek.register"      // a KEK version was seen for the first time
	ActionPrimary    = "kek.primary"       // new keys are sealed under another KEK version
	ActionRetireKEK  = "kek.retire"        // a KEK version seals and opens nothing any more
	ActorWorker      = "worker"            // a job did it
	ActorOperator    = "operator"          // the command line did it
	ActorViewer      = "viewer"            // a playback token did it
	ActorStart       = "start"             // a process did it when it started
	ActorHousekeeper = "garbage"           // the garbage collector did it
	purpose          = "sealcast/audit/v1" // opens what is hashed; another form gets another one
)

// Append writes an entry within tx, the transaction of what it tells. It is the
// transaction's last statement: until it ends no other entry can be written.
func Append(ctx context.Context, tx pgx.Tx, e Entry) error {
	details, err := json.Marshal(e.Details)
	if err != nil {
		return fmt.Errorf("write the audit entry: %w", err)
	}
	_, err = tx.Exec(ctx, `SELECT audit_append($1, $2, $3, $4, $5::text::json)`,
		time.Now().UTC().Truncate(time.Microsecond), e.Actor, e.Action, e.Subject, string(details))
	if err != nil {
		return fmt.Errorf("write the audit entry: %w", err)
	}
	return nil
}

// row is an entry in its place.
type row struct {
	seq                    int64
	at                     time.Time // microseconds
	actor, action, subject string
	details                string // JSON, as it is stored
	hash                   [sha256.Size]byte
}

// chain gives the hash of r behind prev: SHA-256 over the fields, each behind
// its length (4 bytes, big-endian). The database's audit_append computes the
// same.
func (r *row) chain(prev [sha256.Size]byte) [sha256.Size]byte {
	buf := make([]byte, 0, 256+len(r.details))
	field := func(s string) {
		buf = binary.BigEndian.AppendUint32(buf, uint32(len(s)))
		buf = append(buf, s...)
	}
	number := func(n int64) {
		buf = binary.BigEndian.AppendUint32(buf, 8)
		buf = binary.BigEndian.AppendUint64(buf, uint64(n))
	}
	field(purpose)
	field(string(prev[:]))
	number(r.seq)
	number(r.at.UnixMicro())
	field(r.actor)
	field(r.action)
	field(r.subject)
	field(r.details)
	return sha256.Sum256(buf)
}
