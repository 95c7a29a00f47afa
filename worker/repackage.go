package worker

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const actionRepackage = "asset.repackage"

// ErrNotEncrypted says that an asset is published clear: it has no keys.
var ErrNotEncrypted = errors.New("the asset is not encrypted")

// Published gives the request that made an asset's current generation.
// ErrAssetNotFound, ErrPublicationNotFound, ErrNotEncrypted.
func (s *JobStore) Published(ctx context.Context, hash string) (Submission, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	sub := Submission{Hash: hash}
	var options []byte
	var digest []byte
	var generation int
	var encrypted bool
	err := s.pool.QueryRow(ctx, `
		SELECT j.type, j.queue, j.source, j.options, j.callback_url, j.metadata, j.request_digest, a.generation, a.encrypted
		FROM assets a
		JOIN publications p ON p.hash = a.hash AND p.generation = a.generation
		JOIN jobs j ON j.id = p.job_id
		WHERE a.hash = $1`, hash).
		Scan(&sub.Type, &sub.Queue, &sub.Source, &options, &sub.CallbackURL, &sub.Metadata, &digest, &generation, &encrypted)
	if errors.Is(err, pgx.ErrNoRows) {
		var known bool
		err = s.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM jobs WHERE hash = $1)`, hash).Scan(&known)
		switch {
		case err != nil:
		case !known:
			return Submission{}, ErrAssetNotFound
		default:
			return Submission{}, ErrPublicationNotFound
		}
	}
	if err == nil && !encrypted {
		return Submission{}, ErrNotEncrypted
	}
	if err == nil {
		err = json.Unmarshal(options, &sub.Options)
	}
	if err != nil {
		return Submission{}, fmt.Errorf("read the publication of %s: %w", hash, err)
	}
	if sub.Type == TypeFull {
		sub.Type = TypeTranscode // its parts have no keys, and stay
	}
	// Another request than the one before; the same again until it is published.
	sub.Digest = sha256.Sum256(fmt.Appendf(nil, "sealcast repackage 1\n%s\n%d\n%x", hash, generation, digest))
	return sub, nil
}

// Repackage queues a job that makes the asset's next generation out of its
// source, as the current one was made, with new content keys. When it is
// published the keys before retire: players that are at it go on for the
// worker's KeyRetention. sub is from Published. While such a job waits or runs
// it is the answer, and created is false. Errors as of Submit.
func (s *JobStore) Repackage(ctx context.Context, sub Submission, by Origin) (job Job, created bool, err error) {
	if bad := s.checkCallback(sub.CallbackURL); bad != nil {
		sub.CallbackURL = "" // nobody asked for it this time, and it is no reason to keep a key
	}
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		if job, created, err = submit(ctx, tx, sub, newID()); err != nil || !created {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE jobs SET rekey = true WHERE id = $1`, job.ID); err != nil {
			return err
		}
		return by.record(ctx, tx, actionRepackage, sub.Hash, map[string]any{"job": job.ID})
	})
	if err != nil {
		return Job{}, false, fmt.Errorf("repackage %s: %w", sub.Hash, err)
	}
	return job, created, nil
}
