-- +goose Up
-- Lists of jobs, newest first: of states and types, or of one asset.
CREATE INDEX jobs_listed ON jobs (state, type, created_at DESC, id DESC);
CREATE INDEX jobs_of_asset ON jobs (hash, created_at DESC, id DESC);

-- Set when the publication of a succeeded job is deleted: an identical request is a new job then.
ALTER TABLE jobs ADD COLUMN asset_deleted_at timestamptz;
ALTER TABLE jobs ADD CONSTRAINT jobs_deleted_after_success CHECK (asset_deleted_at IS NULL OR state = 'succeeded');
DROP INDEX jobs_one_per_request;
CREATE UNIQUE INDEX jobs_one_per_request ON jobs (request_digest)
    WHERE state IN ('queued', 'running', 'succeeded') AND superseded_at IS NULL AND asset_deleted_at IS NULL;

-- The Idempotency-Key of a submission and the job that it stands for.
CREATE TABLE idempotency_keys (
    key            text PRIMARY KEY CHECK (key COLLATE "C" ~ '^[!-~]{1,255}$'),
    request_digest bytea NOT NULL CHECK (length(request_digest) = 32),
    job_id         text NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    created_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX idempotency_keys_age ON idempotency_keys (created_at);
CREATE INDEX idempotency_keys_job ON idempotency_keys (job_id);

-- Deleted assets whose objects must still leave the object store. The row goes
-- after a pass that began after settled_at, when no cancelled attempt uploads any more.
CREATE TABLE media_deletions (
    hash         text PRIMARY KEY CHECK (hash ~ '^[0-9a-f]{64}$'),
    requested_at timestamptz NOT NULL DEFAULT now(),
    settled_at   timestamptz NOT NULL,
    not_before   timestamptz NOT NULL DEFAULT now(),
    tries        integer NOT NULL DEFAULT 0 CHECK (tries >= 0)
);
CREATE INDEX media_deletions_due ON media_deletions (not_before);

-- Who did what. Append-only.
CREATE TABLE audit_log (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor   text NOT NULL CHECK (actor <> ''),
    action  text NOT NULL CHECK (action <> ''),
    subject text NOT NULL CHECK (subject <> ''),
    details jsonb NOT NULL
);
-- +goose StatementBegin
CREATE FUNCTION audit_log_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'audit_log is append-only';
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION audit_log_append_only();

-- +goose Down
DROP TABLE audit_log;
DROP FUNCTION audit_log_append_only();
DROP TABLE media_deletions;
DROP TABLE idempotency_keys;
DROP INDEX jobs_one_per_request;
UPDATE jobs SET superseded_at = coalesce(superseded_at, asset_deleted_at) WHERE asset_deleted_at IS NOT NULL;
CREATE UNIQUE INDEX jobs_one_per_request ON jobs (request_digest)
    WHERE state IN ('queued', 'running', 'succeeded') AND superseded_at IS NULL;
ALTER TABLE jobs DROP COLUMN asset_deleted_at;
DROP INDEX jobs_of_asset;
DROP INDEX jobs_listed;
