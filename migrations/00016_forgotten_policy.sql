-- +goose Up
-- The policy of a private title outlives its deletion: a failed or cancelled
-- job of it may be retried, and must not run as that of a public one. A new
-- submission that does not ask for a private title ends it.
ALTER TABLE asset_policies ADD COLUMN deleted_at timestamptz;

-- +goose Down
DELETE FROM asset_policies WHERE deleted_at IS NOT NULL;
ALTER TABLE asset_policies DROP COLUMN deleted_at;
