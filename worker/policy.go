package worker

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"github.com/jackc/pgx/v5"

	"github.com/sealcast/sealcast/internal/cenc"
)

const actionSetPolicy = "asset.policy"

// PolicyChange is what SetPolicy changes; nil leaves a member as it is.
type PolicyChange struct {
	Private    *bool
	ExternalID *string // empty: none any more
}

// ErrExternalIDTaken says that another asset has the external id, or that it is
// the id of a playback key: a token could not tell them apart.
var ErrExternalIDTaken = errors.New("another asset or a playback key has this external id")

// externalIDPattern is that of the column: long enough to be no scope of a token.
var externalIDPattern = regexp.MustCompile(`^[A-Za-z0-9_.:-]{3,128}$`)

// ValidExternalID reports whether s can be an asset's external id: it is not
// taken for a hash nor for a scope.
func ValidExternalID(s string) bool { return externalIDPattern.MatchString(s) && !cenc.IsHash(s) }

// SetPolicy changes who may see an asset, or its external id, and gives the
// asset as it is then. It holds for the next look-up on every node. The asset
// may be published later: known are those that have a job. ErrAssetNotFound,
// ErrExternalIDTaken.
func (s *JobStore) SetPolicy(ctx context.Context, hash string, change PolicyChange, by Origin) (a Asset, err error) {
	ctx, cancel := context.WithTimeout(ctx, queryTimeout)
	defer cancel()
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		// A deletion forgets the policy: it comes before or after, never between.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared($1, hashtext($2))`, lockAsset, hash); err != nil {
			return fmt.Errorf("lock the asset: %w", err)
		}
		if a, err = readAsset(ctx, tx, hash); err != nil {
			return err
		}
		if err := changePolicy(ctx, tx, hash, change); err != nil {
			return err
		}
		details := map[string]any{}
		if change.Private != nil {
			details["private"] = *change.Private
		}
		if change.ExternalID != nil {
			details["external_id"] = *change.ExternalID
		}
		if err := by.record(ctx, tx, actionSetPolicy, hash, details); err != nil {
			return err
		}
		a, err = readAsset(ctx, tx, hash)
		return err
	})
	if violates(err, "asset_policies_external_id_key") || violates(err, "access_names_differ") {
		err = ErrExternalIDTaken
	}
	if err != nil {
		return Asset{}, fmt.Errorf("change the policy of %s: %w", hash, err)
	}
	return a, nil
}

// closeAsset makes an asset private, and says whether it was not so before.
func closeAsset(ctx context.Context, tx pgx.Tx, hash string) (changed bool, err error) {
	tag, err := tx.Exec(ctx, `
		INSERT INTO asset_policies AS p (hash, private) VALUES ($1, true)
		ON CONFLICT (hash) DO UPDATE SET private = true, deleted_at = NULL, updated_at = now() WHERE NOT p.private OR p.deleted_at IS NOT NULL`, hash)
	return tag.RowsAffected() > 0, err
}

func changePolicy(ctx context.Context, tx pgx.Tx, hash string, c PolicyChange) error {
	_, err := tx.Exec(ctx, `
		INSERT INTO asset_policies (hash, private, external_id) VALUES ($1, coalesce($2, false), nullif($3, ''))
		ON CONFLICT (hash) DO UPDATE SET
			private = coalesce($2, asset_policies.private), deleted_at = NULL,
			external_id = CASE WHEN $3::text IS NULL THEN asset_policies.external_id ELSE nullif($3, '') END,
			updated_at = now()`, hash, c.Private, c.ExternalID)
	return err
}

// lockForPolicy is the first thing in the transaction of a submission that will
// change the asset's policy. A deletion takes this lock, then jobs, then the
// policy: who has locked a job already must not wait for it.
func lockForPolicy(ctx context.Context, tx pgx.Tx, sub Submission) error {
	deleted := false
	if !sub.Private && sub.Part == nil && !sub.DryRun {
		err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM asset_policies WHERE hash = $1 AND deleted_at IS NOT NULL)`, sub.Hash).Scan(&deleted)
		if err != nil {
			return fmt.Errorf("look for a deleted policy: %w", err)
		}
	}
	if !sub.Private && !deleted {
		return nil
	}
	if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock_shared($1, hashtext($2))`, lockAsset, sub.Hash); err != nil {
		return fmt.Errorf("lock the asset: %w", err)
	}
	if deleted { // a title of its own begins
		if _, err := tx.Exec(ctx, `DELETE FROM asset_policies WHERE hash = $1 AND deleted_at IS NOT NULL`, sub.Hash); err != nil {
			return fmt.Errorf("forget a deleted policy: %w", err)
		}
	}
	return nil
}

// applyPolicy does what a submission says of the asset's policy. A submission
// can close an asset and never opens one: a task that waited in a queue must
// not undo what somebody has closed since.
func applyPolicy(ctx context.Context, tx pgx.Tx, sub Submission, jobID string) error {
	if !sub.Private {
		return nil
	}
	changed, err := closeAsset(ctx, tx, sub.Hash)
	if err != nil {
		return fmt.Errorf("make the asset private: %w", err)
	}
	if !changed {
		return nil
	}
	return sub.By.record(ctx, tx, actionSetPolicy, sub.Hash, map[string]any{"private": true, "job": jobID})
}

// forgetPolicy takes the policy off with the asset. That of a private one stays
// until the title is submitted anew: a job of it may still be retried.
func forgetPolicy(ctx context.Context, tx pgx.Tx, hash string) error {
	_, err := tx.Exec(ctx, `UPDATE asset_policies SET external_id = NULL, deleted_at = now(), updated_at = now() WHERE hash = $1 AND private`, hash)
	if err == nil {
		_, err = tx.Exec(ctx, `DELETE FROM asset_policies WHERE hash = $1 AND NOT private`, hash)
	}
	if err != nil {
		return fmt.Errorf("delete the policy: %w", err)
	}
	return nil
}
