package worker

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// A part shows a film. What is made of the published one is made again when
// another one takes its place (checkFilm); what a film asks for comes with it,
// not before (waits, showParts).

// errOtherFilm ends an attempt on a part that was made of another film than the
// one that is published now. It is no failure: the part is made again.
var errOtherFilm = errors.New("another film was published since the attempt began")

// checkFilm answers errOtherFilm when a part was made of another film than the
// one that is published; until the end of the transaction no other one is.
func checkFilm(ctx context.Context, tx pgx.Tx, hash string, film *string) error {
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared($1, hashtext($2))`, lockFilm, hash); err != nil {
		return fmt.Errorf("lock the film: %w", err)
	}
	if film == nil {
		return nil
	}
	var current string
	err := tx.QueryRow(ctx, `
		SELECT p.prefix FROM assets a JOIN publications p ON p.hash = a.hash AND p.generation = a.generation WHERE a.hash = $1`, hash).Scan(&current)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("look for the film: %w", err)
	}
	if current != *film {
		return errOtherFilm
	}
	return nil
}

// waits reports whether a part that a film asked for must not be seen yet: it is
// shown while one of the films that asked for it is published and, when none of
// them is to come any more, beside any film of the same clip.
func (req PublishPart) waits(ctx context.Context, tx pgx.Tx) (waits bool, err error) {
	if !req.OfFilm {
		return false, nil
	}
	err = tx.QueryRow(ctx, `
		WITH film AS (
			SELECT f.job_id, o.options->'clip' AS clip
			FROM assets a JOIN publications f ON f.hash = a.hash AND f.generation = a.generation JOIN jobs o ON o.id = f.job_id
			WHERE a.hash = $2),
		parents AS (SELECT f.id, f.state FROM job_parts w JOIN jobs f ON f.id = w.parent_id WHERE w.job_id = $1)
		SELECT NOT (EXISTS (SELECT FROM film JOIN parents ON parents.id = film.job_id)
			OR NOT EXISTS (SELECT FROM parents WHERE state IN ('queued', 'running'))
			   AND EXISTS (SELECT FROM film JOIN jobs j ON j.id = $1 WHERE film.clip IS NOT DISTINCT FROM j.options->'clip'))`,
		req.Fence.JobID, req.Hash).Scan(&waits)
	if err != nil {
		return false, fmt.Errorf("look for the film of the part: %w", err)
	}
	return waits, nil
}

// showParts shows, with the film that a job publishes in this transaction, the
// parts that it asked for and that wait: a part that waits is a making that is
// not the current one. What a client asked for later stays. One that was
// collected meanwhile is asked for again, by submitLateParts.
func showParts(ctx context.Context, tx pgx.Tx, parentID string) error {
	rows, err := tx.Query(ctx, `
		SELECT p.prefix, p.hash, p.kind, p.name
		FROM job_parts w JOIN jobs j ON j.id = w.job_id JOIN asset_parts p ON p.job_id = w.job_id
		WHERE w.parent_id = $1 AND j.parent_id <> '' AND p.kind NOT IN ('text', 'static')
		  AND p.replaced_at IS NOT NULL AND p.collected_at IS NULL
		  AND NOT EXISTS (
			SELECT FROM asset_parts n JOIN jobs o ON o.id = n.job_id
			WHERE n.hash = p.hash AND n.kind = p.kind AND n.name = p.name AND n.replaced_at IS NULL AND o.parent_id = ''
			  AND coalesce(o.asked_at, o.created_at) > coalesce(j.asked_at, j.created_at))
		FOR UPDATE OF p`, parentID)
	if err != nil {
		return err
	}
	waiting, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Prefix, Hash, Kind, Name string }])
	if err != nil {
		return err
	}
	for _, p := range waiting {
		if _, err := replacePart(ctx, tx, p.Hash, p.Kind, p.Name); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `UPDATE asset_parts SET replaced_at = NULL, published_at = now() WHERE prefix = $1`, p.Prefix); err != nil {
			return err
		}
	}
	_, err = tx.Exec(ctx, `
		UPDATE job_parts w SET job_id = NULL FROM asset_parts p
		WHERE w.parent_id = $1 AND p.job_id = w.job_id AND p.kind NOT IN ('text', 'static') AND p.collected_at IS NOT NULL`, parentID)
	return err
}
