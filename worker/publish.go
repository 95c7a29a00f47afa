package worker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/pipeline"
)

// publishTimeout bounds one publish transaction: an inventory of a long film
// has some ten thousand rows.
const publishTimeout = 30 * time.Second

// errCommitUnknown: a COMMIT was sent and nobody could say what became of it.
// The row tells: succeeded, or running until its lease ends.
var errCommitUnknown = errors.New("outcome of the publish transaction is unknown")

var errKeyCount = errors.New("content keys of the attempt do not add up")

// PublishRequest is what an attempt wants to make visible.
type PublishRequest struct {
	Fence     Fence
	Hash      string
	Encrypted bool
	Keys      int64 // how many content keys the attempt was issued
	First     bool  // one of them has the asset's bare key URI
	Objects   []pipeline.Object
	Results   json.RawMessage // an object; "generation" is added
	Retention time.Duration   // how long the keys before are served after a repackaging
	Poster    string          // URL; added to the results where the asset has a cover
	Source    VerifiedSource
	// SourceETag is that of the bytes that were encoded, verified or not.
	SourceETag string
}

// VerifiedSource is a source whose bytes have the asset's SHA-256. Without an
// ETag nobody has looked.
type VerifiedSource struct{ Key, ETag string }

// Prefix names the folder of an attempt: objects go to
// stream/<hash>/<prefix>/. No two attempts share one.
func (f Fence) Prefix() string {
	sum := sha256.Sum256([]byte(f.JobID))
	return fmt.Sprintf("%s-%d", hex.EncodeToString(sum[:8]), f.Attempt)
}

// Publish makes an attempt the asset's current generation and its job
// succeeded, in one transaction: fence, encryption seal, generation, inventory,
// keys, job row. ErrFenced when the attempt is not current or its lease is
// over; a *RequestError when the asset is sealed otherwise.
//
// A COMMIT whose answer is lost may have committed. Then the row is read again,
// and only the row decides; errCommitUnknown when it cannot be read.
func (s *JobStore) Publish(ctx context.Context, req PublishRequest, keys Activator) error {
	return s.commitPublication(ctx, req.Fence, func(ctx context.Context, tx pgx.Tx) error { return publish(ctx, tx, req, keys) })
}

func (s *JobStore) commitPublication(ctx context.Context, f Fence, publish func(context.Context, pgx.Tx) error) error {
	err := s.publishOnce(ctx, f, publish)
	var unsure *commitError
	if !errors.As(err, &unsure) {
		return err
	}
	published, readErr := s.published(ctx, f)
	switch {
	case readErr != nil:
		return fmt.Errorf("%w: %w", errCommitUnknown, errors.Join(unsure.err, readErr))
	case published:
		return nil
	}
	return fmt.Errorf("publish job %s: commit: %w", f.JobID, unsure.err)
}

// errOtherGeneration ends an attempt whose keys have the URIs of another
// generation than the one it would become. The next attempt has the right ones.
var errOtherGeneration = errors.New("the asset has changed since the attempt began")

type commitError struct{ err error }

func (e *commitError) Error() string { return "commit: " + e.err.Error() }

func (s *JobStore) publishOnce(ctx context.Context, f Fence, publish func(context.Context, pgx.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return fmt.Errorf("publish job %s: begin: %w", f.JobID, err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
		defer cancel()
		_ = tx.Rollback(end) // after a commit it does nothing
	}()
	if err := publish(ctx, tx); err != nil {
		return fmt.Errorf("publish job %s: %w", f.JobID, err)
	}
	// From here on a cancelled context must not add to the doubt.
	end, cancelEnd := context.WithTimeout(context.WithoutCancel(ctx), queryTimeout)
	defer cancelEnd()
	if err := tx.Commit(end); err != nil {
		return &commitError{err}
	}
	return nil
}

func publish(ctx context.Context, tx pgx.Tx, req PublishRequest, keys Activator) error {
	if err := holdFence(ctx, tx, req.Fence, req.Hash, req.Encrypted); err != nil {
		return err
	}
	// A part of the film before is published before, or made again.
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1, hashtext($2))`, lockFilm, req.Hash); err != nil {
		return fmt.Errorf("lock the film: %w", err)
	}
	var generation int
	err := tx.QueryRow(ctx, `
		INSERT INTO assets (hash, encrypted, generation) VALUES ($1, $2, 1)
		ON CONFLICT (hash) DO UPDATE SET generation = assets.generation + 1, updated_at = now()
		WHERE assets.encrypted = EXCLUDED.encrypted
		RETURNING generation`, req.Hash, req.Encrypted).Scan(&generation)
	if errors.Is(err, pgx.ErrNoRows) {
		return errSealed(!req.Encrypted)
	}
	if err != nil {
		return fmt.Errorf("advance the generation: %w", err)
	}
	if req.Keys > 0 && (generation == 1) != req.First {
		return errOtherGeneration // deleted or published since the attempt was planned
	}
	if err := insertPublication(ctx, tx, req, generation); err != nil {
		return err
	}
	active, err := keys.Activate(ctx, tx, req.Fence.JobID, req.Fence.Attempt)
	if err != nil {
		return fmt.Errorf("activate content keys: %w", err)
	}
	if active != req.Keys {
		return fmt.Errorf("%w: %d became active, %d were issued", errKeyCount, active, req.Keys)
	}
	if err := recordVerified(ctx, tx, req.Hash, req.Source); err != nil {
		return err
	}
	if err := planSourceRemoval(ctx, tx, req.Fence.JobID, req.SourceETag); err != nil {
		return err
	}
	if err := showParts(ctx, tx, req.Fence.JobID); err != nil {
		return fmt.Errorf("show parts: %w", err)
	}
	if err := submitLateParts(ctx, tx, req.Fence.JobID); err != nil {
		return fmt.Errorf("submit parts: %w", err)
	}
	add := map[string]any{"generation": generation}
	var covered bool
	err = tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM asset_parts WHERE hash = $1 AND kind = 'cover' AND replaced_at IS NULL)`, req.Hash).Scan(&covered)
	if err != nil {
		return fmt.Errorf("look for a cover: %w", err)
	}
	if covered && req.Poster != "" {
		add["poster"] = req.Poster
	}
	if err := succeed(ctx, tx, req.Fence, req.Results, add); err != nil {
		return err
	}
	var rekey bool
	if err := tx.QueryRow(ctx, `SELECT rekey FROM jobs WHERE id = $1`, req.Fence.JobID).Scan(&rekey); err != nil || !rekey {
		return err
	}
	if _, err := keys.RetireOthers(ctx, tx, req.Hash, req.Fence.JobID, req.Retention); err != nil {
		return fmt.Errorf("retire the keys before: %w", err)
	}
	return nil
}

// shareAsset waits for whoever deletes the asset, who has cancelled its jobs by
// then, and lets nobody delete it until the end.
func shareAsset(ctx context.Context, tx pgx.Tx, hash string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared($1, hashtext($2))`, lockAsset, hash); err != nil {
		return fmt.Errorf("lock the asset: %w", err)
	}
	return nil
}

// holdFence shares the asset, and locks the job's row: that keeps the reaper
// away until the end.
func holdFence(ctx context.Context, tx pgx.Tx, f Fence, hash string, encrypt bool) error {
	if err := shareAsset(ctx, tx, hash); err != nil {
		return err
	}
	var held string
	err := tx.QueryRow(ctx, `
		SELECT hash FROM jobs
		WHERE id = $1 AND state = 'running' AND attempt = $2 AND lease_until > clock_timestamp()
		  AND hash = $3 AND encrypt = $4
		FOR UPDATE`, f.JobID, f.Attempt, hash, encrypt).Scan(&held)
	if errors.Is(err, pgx.ErrNoRows) {
		return whyFenced(ctx, tx, f)
	}
	if err != nil {
		return fmt.Errorf("check the fence: %w", err)
	}
	return nil
}

// succeed ends a job whose fence is held.
func succeed(ctx context.Context, tx pgx.Tx, f Fence, results json.RawMessage, add map[string]any) error {
	_, err := tx.Exec(ctx, `
		UPDATE jobs
		SET state = 'succeeded', lease_until = NULL, stage = 'publish', progress = 100, eta_seconds = NULL,
		    results = $2::jsonb || $3::jsonb, finished_at = now(), updated_at = now()
		WHERE id = $1`, f.JobID, results, add)
	if err != nil {
		return fmt.Errorf("record the results: %w", err)
	}
	return nil
}

func insertPublication(ctx context.Context, tx pgx.Tx, req PublishRequest, generation int) error {
	prefix := req.Fence.Prefix()
	_, err := tx.Exec(ctx, `
		INSERT INTO publications (hash, generation, job_id, attempt, prefix) VALUES ($1, $2, $3, $4, $5)`,
		req.Hash, generation, req.Fence.JobID, req.Fence.Attempt, prefix)
	if err != nil {
		return fmt.Errorf("insert the publication: %w", err)
	}
	return insertInventory(ctx, tx, "publication_objects", prefix, req.Objects)
}

func insertInventory(ctx context.Context, tx pgx.Tx, table, prefix string, objects []pipeline.Object) error {
	_, err := tx.CopyFrom(ctx, pgx.Identifier{table},
		[]string{"prefix", "name", "size", "sha256", "content_type"},
		pgx.CopyFromSlice(len(objects), func(i int) ([]any, error) {
			o := &objects[i]
			return []any{prefix, o.Name, o.Size, o.SHA256[:], o.ContentType}, nil
		}))
	if err != nil {
		return fmt.Errorf("insert the inventory: %w", err)
	}
	return nil
}

// published resolves a doubtful COMMIT. The row lock waits for a transaction
// that the server may still be committing. It asks for as long as a database
// may take to come back from a restart.
func (s *JobStore) published(ctx context.Context, f Fence) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*queryTimeout)
	defer cancel()
	for {
		there, err := s.publishedOnce(ctx, f)
		if err == nil {
			return there, nil
		}
		select {
		case <-ctx.Done():
			return false, err
		case <-time.After(250 * time.Millisecond):
		}
	}
}

func (s *JobStore) publishedOnce(ctx context.Context, f Fence) (there bool, err error) {
	err = pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT 1 FROM jobs WHERE id = $1 FOR UPDATE`, f.JobID); err != nil {
			return err
		}
		return tx.QueryRow(ctx, `
			SELECT EXISTS (SELECT 1 FROM publications WHERE job_id = $1 AND attempt = $2)
			    OR EXISTS (SELECT 1 FROM asset_parts WHERE job_id = $1 AND attempt = $2)`,
			f.JobID, f.Attempt).Scan(&there)
	})
	return there, err
}

// Publication is one immutable packaging of an asset.
type Publication struct {
	Hash       string
	Generation int    // 0: nothing is published, a running attempt shows what it has
	Prefix     string // objects are stream/<hash>/<prefix>/<name>
	Encrypted  bool
	Private    bool        // see PolicyChange
	Parts      []AssetPart // the current ones
}

// PublishedObject is one line of a publication's inventory.
type PublishedObject struct {
	Name        string
	ContentType string
	Size        int64
	SHA256      [sha256.Size]byte
	Encrypted   bool   // the asset's seal
	Private     bool   // the asset's policy
	Kind        string // of the part that it belongs to; empty: the film
	Early       bool   // nothing is published, a running attempt shows it
	Body        []byte // of a document that is in no object; else nil
}

// Entry gives the current generation of an asset. ErrPublicationNotFound.
func (s *JobStore) Entry(ctx context.Context, hash string) (Publication, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	p := Publication{Hash: hash}
	err := s.pool.QueryRow(ctx, `
		SELECT p.generation, p.prefix, a.encrypted, coalesce(y.private, false)
		FROM assets a JOIN publications p ON p.hash = a.hash AND p.generation = a.generation
		LEFT JOIN asset_policies y ON y.hash = a.hash
		WHERE a.hash = $1`, hash).Scan(&p.Generation, &p.Prefix, &p.Encrypted, &p.Private)
	if errors.Is(err, pgx.ErrNoRows) {
		return Publication{}, ErrPublicationNotFound
	}
	if err != nil {
		return Publication{}, fmt.Errorf("read the publication of %s: %w", hash, err)
	}
	if p.Parts, err = s.currentParts(ctx, hash); err != nil {
		return Publication{}, fmt.Errorf("read the publication of %s: %w", hash, err)
	}
	return p, nil
}

// Shown gives the current generation of an asset or, while it has none, what a
// running attempt shows. One statement looks for both, so a title that becomes
// published is there all the time. ErrPublicationNotFound.
func (s *JobStore) Shown(ctx context.Context, hash string) (Publication, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	p := Publication{Hash: hash}
	err := s.pool.QueryRow(ctx, `
		SELECT o.generation, o.prefix, o.encrypted, coalesce(y.private, false)
		FROM (
			SELECT a.hash, p.generation, p.prefix, a.encrypted
			FROM assets a JOIN publications p ON p.hash = a.hash AND p.generation = a.generation
			WHERE a.hash = $1
			UNION ALL
			SELECT hash, 0, prefix, encrypted FROM early_shown WHERE hash = $1) o
		LEFT JOIN asset_policies y ON y.hash = o.hash`, hash).Scan(&p.Generation, &p.Prefix, &p.Encrypted, &p.Private)
	if errors.Is(err, pgx.ErrNoRows) {
		return Publication{}, ErrPublicationNotFound
	}
	if err == nil && p.Generation > 0 {
		p.Parts, err = s.currentParts(ctx, hash)
	}
	if err != nil {
		return Publication{}, fmt.Errorf("read the publication of %s: %w", hash, err)
	}
	return p, nil
}

// Object gives an object of any published generation or part, or one that a
// running attempt shows of an asset without any: the first of the names that is
// there, by one look. ErrPublicationNotFound for names that are in no inventory.
func (s *JobStore) Object(ctx context.Context, hash, prefix string, names ...string) (PublishedObject, error) {
	if asked := prefix + strings.Join(names, ""); strings.ContainsRune(asked, 0) || !utf8.ValidString(asked) {
		return PublishedObject{}, ErrPublicationNotFound // Postgres would refuse the text
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	var o PublishedObject
	var sum []byte
	err := s.pool.QueryRow(ctx, `
		SELECT o.name, o.content_type, o.size, o.sha256, o.encrypted, coalesce(y.private, false), o.kind, o.early, o.body
		FROM (
			SELECT p.hash, o.name, o.content_type, o.size, o.sha256, a.encrypted, '' AS kind, false AS early, NULL::bytea AS body
			FROM publication_objects o JOIN publications p ON p.prefix = o.prefix JOIN assets a ON a.hash = p.hash
			WHERE p.hash = $1 AND o.prefix = $2 AND o.name = ANY ($3)
			UNION ALL
			SELECT p.hash, o.name, o.content_type, o.size, o.sha256, a.encrypted, p.kind, false, NULL
			FROM asset_part_objects o JOIN asset_parts p ON p.prefix = o.prefix JOIN assets a ON a.hash = p.hash
			WHERE p.hash = $1 AND o.prefix = $2 AND o.name = ANY ($3)
			UNION ALL
			SELECT e.hash, o.name, o.content_type, o.size, o.sha256, e.encrypted, '', true,
			       o.body || CASE WHEN o.grows THEN coalesce((
			           SELECT string_agg(s.lines, ''::bytea ORDER BY s.number) FROM early_objects s
			           WHERE s.prefix = o.prefix AND s.folder = o.folder AND s.number > 0), '') ELSE '' END
			FROM early_objects o JOIN early_shown e ON e.prefix = o.prefix
			WHERE e.hash = $1 AND o.prefix = $2 AND o.name = ANY ($3)) o
		LEFT JOIN asset_policies y ON y.hash = o.hash
		ORDER BY array_position($3, o.name) LIMIT 1`, hash, prefix, names).
		Scan(&o.Name, &o.ContentType, &o.Size, &sum, &o.Encrypted, &o.Private, &o.Kind, &o.Early, &o.Body)
	if errors.Is(err, pgx.ErrNoRows) {
		return PublishedObject{}, ErrPublicationNotFound
	}
	if err != nil {
		return PublishedObject{}, fmt.Errorf("read an object of %s: %w", hash, err)
	}
	copy(o.SHA256[:], sum)
	if o.Body != nil {
		o.Size, o.SHA256 = int64(len(o.Body)), sha256.Sum256(o.Body)
	}
	return o, nil
}

// plan is what an attempt must know about its asset before it starts.
// Attempts on one asset run one after the other, so only a deletion can make
// it untrue, and then the publication fails (errOtherGeneration).
func (s *JobStore) plan(ctx context.Context, hash string, encrypt bool) (published bool, err error) {
	if err := checkSeal(ctx, s.pool, hash, encrypt); err != nil {
		return false, err
	}
	switch _, err = s.Entry(ctx, hash); {
	case errors.Is(err, ErrPublicationNotFound):
		return false, nil
	case err != nil:
		return false, err
	}
	return true, nil
}
