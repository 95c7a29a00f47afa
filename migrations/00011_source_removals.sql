-- +goose Up
-- When a source is removed from its bucket, seconds after its film's success; NULL: never.
ALTER TABLE jobs ADD COLUMN source_ttl integer CHECK (source_ttl >= 0);
CREATE INDEX jobs_source_in_use ON jobs (source) WHERE state IN ('queued', 'running');

-- Sources that are to leave their bucket once no job needs them: those with this
-- ETag, for another upload may have come under the name.
CREATE TABLE source_removals (
    source text PRIMARY KEY CHECK (source <> ''),
    etag   text NOT NULL CHECK (etag <> ''),
    job_id text NOT NULL,
    due_at timestamptz NOT NULL
);
CREATE INDEX source_removals_due ON source_removals (due_at);

-- +goose Down
DROP TABLE source_removals;
DROP INDEX jobs_source_in_use;
ALTER TABLE jobs DROP COLUMN source_ttl;
