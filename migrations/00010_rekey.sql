-- +goose Up
-- A job that packages its asset again with new content keys; the keys before
-- retire when it is published.
ALTER TABLE jobs ADD COLUMN rekey boolean NOT NULL DEFAULT false;

-- From when on a retiring key is not served any more, by the database's clock.
ALTER TABLE content_keys
    ADD COLUMN retire_at timestamptz,
    ADD CONSTRAINT content_keys_retire CHECK (retire_at IS NULL OR state IN ('retiring', 'revoked', 'shredded'));

-- +goose Down
ALTER TABLE content_keys DROP COLUMN retire_at;
ALTER TABLE jobs DROP COLUMN rekey;
