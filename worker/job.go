package worker

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/cenc"
	"github.com/sealcast/sealcast/keystore"
	"github.com/sealcast/sealcast/pipeline"
)

// State is where a job is in its life.
type State string

// The states. The last three are final: only a request from outside, Retry,
// leads out of failed and cancelled, and nothing out of succeeded.
const (
	StateQueued    State = "queued"
	StateRunning   State = "running"
	StateSucceeded State = "succeeded"
	StateFailed    State = "failed"
	StateCancelled State = "cancelled"
)

var transitions = map[State][]State{
	StateQueued:    {StateRunning, StateCancelled},
	StateRunning:   {StateQueued, StateSucceeded, StateFailed, StateCancelled},
	StateFailed:    {StateQueued}, // Retry
	StateCancelled: {StateQueued}, // Retry
}

// CanBecome reports whether a job may go from s to next.
func (s State) CanBecome(next State) bool { return slices.Contains(transitions[s], next) }

// Final reports whether a job ends in s.
func (s State) Final() bool {
	return s == StateSucceeded || s == StateFailed || s == StateCancelled
}

// Job is one request to process an asset, as Postgres has it.
type Job struct {
	ID          string
	Type        string
	Queue       string
	Hash        string
	Source      string
	Options     json.RawMessage // pipeline.Options with every default spelled out, or those of the part
	CallbackURL string
	State       State
	Stage       string  // of the current or last attempt; empty before the first
	Progress    float64 // 0–100
	ETASeconds  *float64
	Attempt     int // counts the runs; the current one's fencing token
	Failures    int // attempts that failed or were lost; a shutdown does not count
	DispatchSeq int64
	Worker      string
	Light       bool // the attempt makes do with less memory: one before ran out of it
	EncodeAll   bool // the attempt copies no pictures: one that did failed

	// ErrorCode and ErrorMessage tell why the job failed or, while it waits
	// for another attempt, why the last one did. Fit for strangers.
	ErrorCode    string
	ErrorMessage string
	Results      json.RawMessage // once succeeded

	PartKind, PartName string          // of the part that it makes; empty: a film
	ParentID           string          // the job that asked for it; empty: a request
	Metadata           json.RawMessage // of the client; nil: none
	Parts              json.RawMessage // what it asked for beside the film, a list; nil: nothing. Only from Get, GetMany and List

	CreatedAt  time.Time
	UpdatedAt  time.Time
	StartedAt  *time.Time // of the first attempt
	FinishedAt *time.Time

	digest []byte
}

// Fence names one attempt. Whoever holds an old one changes nothing.
type Fence struct {
	JobID   string
	Attempt int
}

// Fence names the job's current attempt.
func (j Job) Fence() Fence { return Fence{j.ID, j.Attempt} }

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_.:-]{1,128}$`)

// Pipeline makes a presentation. It returns only when every child process is
// reaped.
type Pipeline interface {
	Run(context.Context, pipeline.Request) (*pipeline.Presentation, error)
}

// Keys issues content keys and activates them in the publish transaction; see
// keystore.Store for the contract.
type Keys interface {
	Issue(context.Context, keystore.Request) (keystore.Key, error)
	Get(ctx context.Context, hash string, kid cenc.KID) (keystore.Key, error)
	Served(ctx context.Context, hash string, kid *cenc.KID) (keystore.Key, error)
	Activator
}

// Activator makes the keys of an attempt active within tx and says how many.
type Activator interface {
	Activate(ctx context.Context, tx pgx.Tx, jobID string, attempt int) (int64, error)

	// RetireOthers lets all active keys of an asset but those of the job be
	// served for some time more, and no longer; the last thing in tx.
	RetireOthers(ctx context.Context, tx pgx.Tx, hash, jobID string, after time.Duration) (int64, error)
}
