package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sealcast/sealcast/internal/webhook"
	"github.com/sealcast/sealcast/keystore"
)

// What a JobStore answers when Postgres answered. Every other error means
// that it did not, and that the same call may work later.
var (
	ErrJobNotFound         = errors.New("job not found")
	ErrPublicationNotFound = errors.New("publication not found")
	// ErrNotClaimable: the job is not queued, or a newer doorbell exists.
	ErrNotClaimable = errors.New("job is not claimable")
	// ErrAssetBusy: another job runs on the asset; this one is rung again soon.
	ErrAssetBusy = errors.New("asset is busy with another job")
	// ErrFenced: the attempt is not the job's current one any more.
	ErrFenced = errors.New("attempt has lost its lease")

	errIDTaken = errors.New("job id is taken by another request")
)

// queryTimeout bounds every round trip: without a deadline a black-holed
// server hangs a query for ever.
const queryTimeout = 5 * time.Second

// JobStore keeps jobs, their outbox and their publications in Postgres. Every
// state change is one statement or one transaction that names the state (and,
// for a running job, the attempt) that it starts from. Time is the database's.
type JobStore struct {
	pool    *pgxpool.Pool
	targets *webhook.Targets // of callback_url; nil: webhooks are off
}

// NewJobStore returns a store over a migrated database.
func NewJobStore(pool *pgxpool.Pool) *JobStore { return &JobStore{pool: pool} }

const jobColumns = `id, type, queue, hash, source, options, callback_url, state, stage, progress,
	eta_seconds, attempt, failures, dispatch_seq, worker, error_code, error_message, results,
	created_at, updated_at, started_at, finished_at, request_digest, light, encode_all,
	part_kind, part_name, parent_id, metadata`

func scanJob(row pgx.Row) (Job, error) {
	var j Job
	err := row.Scan(&j.ID, &j.Type, &j.Queue, &j.Hash, &j.Source, &j.Options, &j.CallbackURL, &j.State,
		&j.Stage, &j.Progress, &j.ETASeconds, &j.Attempt, &j.Failures, &j.DispatchSeq, &j.Worker,
		&j.ErrorCode, &j.ErrorMessage, &j.Results,
		&j.CreatedAt, &j.UpdatedAt, &j.StartedAt, &j.FinishedAt, &j.digest, &j.Light, &j.EncodeAll,
		&j.PartKind, &j.PartName, &j.ParentID, &j.Metadata)
	return j, err
}

// Get reads a job. ErrJobNotFound.
func (s *JobStore) Get(ctx context.Context, id string) (Job, error) {
	if !idPattern.MatchString(id) {
		return Job{}, ErrJobNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	job, err := scanJob(s.pool.QueryRow(ctx, `SELECT `+jobColumns+` FROM jobs WHERE id = $1`, id))
	if errors.Is(err, pgx.ErrNoRows) {
		return Job{}, ErrJobNotFound
	}
	if err != nil {
		return Job{}, fmt.Errorf("read job %s: %w", id, err)
	}
	jobs := []Job{job}
	if err := s.addParts(ctx, jobs); err != nil {
		return Job{}, fmt.Errorf("read job %s: %w", id, err)
	}
	return jobs[0], nil
}

// Submit records a job and its doorbell in one transaction. An identical
// request that is queued or running, or whose publication is the asset's
// current one, gives that job and false.
// An empty id asks for a new one. An idempotency key that is known gives its
// job and false, whatever became of it. A *RequestError refuses the request:
// CodeEncryptionSealed when the asset is published with the other choice,
// CodeKeyReused when the idempotency key stands for another request,
// CodeCallbackRefused and CodeWebhooksOff when nobody can be told about it.
func (s *JobStore) Submit(ctx context.Context, sub Submission, id string) (job Job, created bool, err error) {
	if id == "" {
		id = newID()
	}
	if !idPattern.MatchString(id) {
		return Job{}, false, badPayload("the job id must be 1 to 128 of A-Z a-z 0-9 _ . : -")
	}
	if bad := s.checkCallback(sub.CallbackURL); bad != nil {
		return Job{}, false, bad
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	for range 3 { // the live job may end between two statements
		err = s.inTx(ctx, func(tx pgx.Tx) error {
			if err := lockForPolicy(ctx, tx, sub); err != nil {
				return err
			}
			if job, created, err = submitKeyed(ctx, tx, sub, id); err != nil {
				return err
			}
			if created {
				if err := recordTrack(ctx, tx, sub, job); err != nil {
					return err
				}
			}
			return applyPolicy(ctx, tx, sub, job.ID)
		})
		if !errors.Is(err, errGone) {
			break
		}
	}
	if err != nil {
		return Job{}, false, fmt.Errorf("submit job %s: %w", id, err)
	}
	return job, created, nil
}

var errGone = errors.New("the live job has just ended")

func submit(ctx context.Context, tx pgx.Tx, sub Submission, id string) (Job, bool, error) {
	if sub.Part == nil {
		if err := checkSeal(ctx, tx, sub.Hash, sub.Options.Encrypt); err != nil {
			return Job{}, false, err
		}
	}
	if err := shareSource(ctx, tx, sub.Source); err != nil {
		return Job{}, false, err
	}
	if err := supersede(ctx, tx, sub.Digest[:]); err != nil {
		return Job{}, false, err
	}
	job, err := scanJob(tx.QueryRow(ctx, `
		INSERT INTO jobs (id, type, queue, hash, source, options, encrypt, callback_url, request_digest,
		                  part_kind, part_name, metadata, parent_id, source_ttl)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
		ON CONFLICT DO NOTHING
		RETURNING `+jobColumns,
		append(sub.row(id), sub.ParentID, sub.SourceTTL)...))
	if err == nil {
		if _, err = tx.Exec(ctx, `INSERT INTO outbox (job_id, dispatch_seq) VALUES ($1, $2)`, job.ID, job.DispatchSeq); err == nil {
			err = submitParts(ctx, tx, job, sub)
		}
		return job, true, err
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return Job{}, false, err
	}
	// The insert waited for a concurrent one to commit, so it is visible now.
	job, err = live(ctx, tx, sub)
	if err == nil && sub.Part != nil { // it is the newest wish for the part
		_, err = tx.Exec(ctx, `UPDATE jobs SET asked_at = clock_timestamp() WHERE id = $1 AND state IN ('queued', 'running')`, job.ID)
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return job, false, err
	}
	job, err = scanJob(tx.QueryRow(ctx, `SELECT `+jobColumns+` FROM jobs WHERE id = $1`, id))
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return Job{}, false, errGone
	case err != nil:
		return Job{}, false, err
	case string(job.digest) != string(sub.Digest[:]):
		return Job{}, false, errIDTaken
	}
	return job, false, nil
}

// live reads the job that a request without an idempotency key would give.
func live(ctx context.Context, q querier, sub Submission) (Job, error) {
	return scanJob(q.QueryRow(ctx, `
		SELECT `+jobColumns+` FROM jobs
		WHERE request_digest = $1 AND state IN ('queued', 'running', 'succeeded') AND superseded_at IS NULL AND asset_deleted_at IS NULL`,
		sub.Digest[:]))
}

// checkSeal refuses another encryption choice than the published one.
func checkSeal(ctx context.Context, q querier, hash string, encrypt bool) error {
	var encrypted bool
	err := q.QueryRow(ctx, `SELECT encrypted FROM assets WHERE hash = $1`, hash).Scan(&encrypted)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return nil
	case err != nil:
		return err
	case encrypted != encrypt:
		return errSealed(encrypted)
	}
	return nil
}

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func errSealed(encrypted bool) *RequestError {
	if encrypted {
		return &RequestError{CodeEncryptionSealed, "the asset is published encrypted: it cannot be published clear"}
	}
	return &RequestError{CodeEncryptionSealed, "the asset is published clear: it cannot be published encrypted"}
}

// RecordRefused records a request that no attempt will ever run for, as a
// failed job, so that whoever enqueued it can read why. Doing it twice changes
// nothing.
func (s *JobStore) RecordRefused(ctx context.Context, sub Submission, id string, why *RequestError) (recorded bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	tag, err := s.pool.Exec(ctx, `
		INSERT INTO jobs (id, type, queue, hash, source, options, encrypt, callback_url, request_digest,
		                  part_kind, part_name, metadata, state, error_code, error_message, finished_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'failed', $13, $14, now())
		ON CONFLICT DO NOTHING`, append(sub.row(id), why.Code, why.Message)...)
	if err != nil {
		return false, fmt.Errorf("record refused job %s: %w", id, err)
	}
	return tag.RowsAffected() == 1, nil
}

// row is what a job's row takes of a submission, in the order of the columns
// id, type, queue, hash, source, options, encrypt, callback_url,
// request_digest, part_kind, part_name, metadata. A part has no choice of
// encryption of its own.
func (s Submission) row(id string) []any {
	kind, name := s.part()
	return []any{
		id, s.jobType(), s.Queue, s.Hash, s.Source, s.stored(), s.Part == nil && !s.DryRun && s.Options.Encrypt, s.CallbackURL,
		s.Digest[:], kind, name, s.Metadata,
	}
}

// jobType is the type of the job that a submission becomes.
func (s Submission) jobType() string {
	if s.DryRun {
		return TypePlan
	}
	return s.Type
}

// inTx runs what a request asks for in a transaction. One that Postgres ends in
// favour of another, because each waited for the other's locks or saw what the
// other changed (SQLSTATE 40P01, 40001), has changed nothing and is made anew.
// Loops do not need it: they come again.
func (s *JobStore) inTx(ctx context.Context, work func(pgx.Tx) error) (err error) {
	for range 3 {
		if err = pgx.BeginFunc(ctx, s.pool, work); !gaveWay(err) {
			break
		}
	}
	return err
}

// gaveWay reports whether Postgres ended a transaction in favour of another.
func gaveWay(err error) bool {
	var pg *pgconn.PgError
	var key *keystore.DatabaseError
	code := ""
	switch {
	case errors.As(err, &pg):
		code = pg.Code
	case errors.As(err, &key):
		code = key.Code
	}
	return code == "40P01" || code == "40001"
}

// newID returns a job id that sorts by time of submission.
func newID() string {
	if id, err := uuid.NewV7(); err == nil {
		return id.String()
	}
	return uuid.NewString()
}

// violates reports whether err is a unique violation (SQLSTATE 23505) of the
// named index.
func violates(err error, index string) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "23505" && pg.ConstraintName == index
}

// unanswered reports whether a statement may work when it is tried again:
// Postgres was not reached, or could not just now (SQLSTATE classes 08, 40,
// 53, 57 and 58). A constraint or a rule of ours will say the same again.
func unanswered(err error) bool {
	var pg *pgconn.PgError
	var refused *RequestError
	switch {
	case errors.As(err, &pg):
		return slices.Contains([]string{"08", "40", "53", "57", "58"}, pg.Code[:min(2, len(pg.Code))])
	case errors.As(err, &refused), errors.Is(err, ErrFenced), errors.Is(err, errKeyCount), errors.Is(err, errOtherGeneration), errors.Is(err, errOtherFilm), errors.Is(err, keystore.ErrConflict):
		return false
	}
	return true
}
