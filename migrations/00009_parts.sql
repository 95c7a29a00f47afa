-- +goose Up
-- A published generation is immutable. What can fail, be tried again or be added
-- alone is a part of its asset: a job of its own makes it, below a prefix of its
-- own, and publishing it is a pointer swap.
-- Programs before this one go on: parts have a queue that they do not serve.
ALTER TABLE jobs
    ADD COLUMN part_kind text NOT NULL DEFAULT '' CHECK (part_kind ~ '^[a-z]{0,32}$'),
    ADD COLUMN part_name text NOT NULL DEFAULT '' CHECK (length(part_name) <= 64),
    ADD COLUMN parent_id text NOT NULL DEFAULT '', -- the job that asked for this one
    ADD COLUMN metadata  json CHECK (json_typeof(metadata) = 'object'), -- of the client, given back as it came
    DROP CONSTRAINT jobs_type_check,
    ADD CONSTRAINT jobs_type_check CHECK (type ~ '^[a-z]{1,16}:[a-z]{1,16}$'),
    DROP CONSTRAINT jobs_queue_check,
    ADD CONSTRAINT jobs_queue_check CHECK (queue IN ('default', 'video:large', 'parts')),
    ADD CONSTRAINT jobs_parts_have_their_queue CHECK (part_kind = '' OR queue = 'parts'),
    ADD CONSTRAINT jobs_part_has_a_kind CHECK (part_name = '' OR part_kind <> '');

-- Attempts on one asset run one after the other, and those on one part; a part is made beside its film.
CREATE UNIQUE INDEX jobs_one_running_film ON jobs (hash) WHERE state = 'running' AND queue <> 'parts';
DROP INDEX jobs_one_running_per_asset;
ALTER INDEX jobs_one_running_film RENAME TO jobs_one_running_per_asset;
CREATE UNIQUE INDEX jobs_one_running_per_part ON jobs (hash, part_kind, part_name) WHERE state = 'running' AND part_kind <> '';

-- One immutable making of a part. The current one has no replaced_at.
CREATE TABLE asset_parts (
    prefix       text PRIMARY KEY, -- object keys are stream/<hash>/<prefix>/<name>
    hash         text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    kind         text NOT NULL CHECK (kind ~ '^[a-z]{1,32}$'),
    name         text NOT NULL CHECK (length(name) <= 64),
    job_id       text NOT NULL UNIQUE REFERENCES jobs (id),
    attempt      integer NOT NULL CHECK (attempt >= 1),
    facts        jsonb NOT NULL CHECK (jsonb_typeof(facts) = 'object'), -- what the API must know of it
    published_at timestamptz NOT NULL DEFAULT now(),
    replaced_at  timestamptz,
    collected_at timestamptz,
    CHECK (collected_at IS NULL OR replaced_at IS NOT NULL)
);
CREATE UNIQUE INDEX asset_parts_current ON asset_parts (hash, kind, name) WHERE replaced_at IS NULL;
CREATE INDEX asset_parts_asset ON asset_parts (hash);

-- The inventory of parts; only these names are served.
CREATE TABLE asset_part_objects (
    prefix       text NOT NULL REFERENCES asset_parts (prefix) ON DELETE CASCADE,
    name         text NOT NULL,
    size         bigint NOT NULL CHECK (size >= 0),
    sha256       bytea NOT NULL CHECK (length(sha256) = 32),
    content_type text NOT NULL,
    PRIMARY KEY (prefix, name)
);

-- The parts that a job asked for, and the jobs that make them: none yet where a
-- part is made of what the parent publishes.
CREATE TABLE job_parts (
    parent_id text NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    position  integer NOT NULL CHECK (position >= 0),
    kind      text NOT NULL CHECK (kind ~ '^[a-z]{1,32}$'),
    name      text NOT NULL CHECK (length(name) <= 64),
    type      text NOT NULL CHECK (type ~ '^[a-z]{1,16}:[a-z]{1,16}$'),
    options   jsonb NOT NULL,
    job_id    text REFERENCES jobs (id) ON DELETE SET NULL,
    PRIMARY KEY (parent_id, kind, name)
);
CREATE INDEX job_parts_job ON job_parts (job_id);

-- Sources whose bytes were found to have the SHA-256 that names their asset:
-- nobody reads them through for that again.
CREATE TABLE verified_sources (
    hash   text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    source text NOT NULL CHECK (source <> ''),
    etag   text NOT NULL CHECK (etag <> ''),
    at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (hash, source, etag)
);
CREATE INDEX verified_sources_age ON verified_sources (at);

-- The parts of a job as GET /api/jobs/{id} shows them.
-- +goose StatementBegin
CREATE FUNCTION parts_of_job(job text) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_agg(json_build_object(
        'kind', p.kind, 'name', nullif(p.name, ''), 'job_id', p.job_id,
        'state', CASE j.state WHEN 'running' THEN 'running' WHEN 'succeeded' THEN 'ready'
                 WHEN 'failed' THEN 'failed' WHEN 'cancelled' THEN 'cancelled' ELSE 'pending' END,
        'error', CASE WHEN j.error_code <> '' THEN json_build_object('code', j.error_code, 'message', j.error_message) END,
        'results', j.results) ORDER BY p.position)
    FROM job_parts p LEFT JOIN jobs j ON j.id = p.job_id WHERE p.parent_id = job
$$;
-- +goose StatementEnd

-- As before, with metadata and parts.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION webhook_payload(event text, j jobs) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT json_build_object('type', event, 'timestamp', webhook_time(now()), 'data', json_build_object(
        'id', j.id, 'type', j.type, 'hash', j.hash, 'source', j.source, 'metadata', j.metadata,
        'state', j.state, 'stage', nullif(j.stage, ''), 'progress', j.progress, 'eta_seconds', j.eta_seconds,
        'attempt', j.attempt,
        'error', CASE WHEN j.error_code <> '' THEN json_build_object('code', j.error_code, 'message', j.error_message, 'stage', nullif(j.stage, '')) END,
        'results', j.results,
        'part', CASE WHEN j.part_kind <> '' THEN json_build_object('kind', j.part_kind, 'name', nullif(j.part_name, '')) END,
        'parent_id', nullif(j.parent_id, ''), 'parts', parts_of_job(j.id),
        'created_at', webhook_time(j.created_at), 'started_at', webhook_time(j.started_at),
        'finished_at', webhook_time(j.finished_at)))::text
$$;
-- +goose StatementEnd

-- A part that another job asked for tells its end only: its parent tells the rest.
DROP TRIGGER webhook_event_update ON jobs;
CREATE TRIGGER webhook_event_update AFTER UPDATE ON jobs FOR EACH ROW
    WHEN (NEW.callback_url <> '' AND (OLD.state <> NEW.state OR OLD.progress <> NEW.progress)
          AND (NEW.parent_id = '' OR NEW.state <> 'running'))
    EXECUTE FUNCTION webhook_event();

-- +goose Down
DROP TRIGGER webhook_event_update ON jobs;
CREATE TRIGGER webhook_event_update AFTER UPDATE ON jobs FOR EACH ROW
    WHEN (NEW.callback_url <> '' AND (OLD.state <> NEW.state OR OLD.progress <> NEW.progress))
    EXECUTE FUNCTION webhook_event();
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION webhook_payload(event text, j jobs) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT json_build_object('type', event, 'timestamp', webhook_time(now()), 'data', json_build_object(
        'id', j.id, 'type', j.type, 'hash', j.hash, 'source', j.source,
        'state', j.state, 'stage', nullif(j.stage, ''), 'progress', j.progress, 'eta_seconds', j.eta_seconds,
        'attempt', j.attempt,
        'error', CASE WHEN j.error_code <> '' THEN json_build_object('code', j.error_code, 'message', j.error_message, 'stage', nullif(j.stage, '')) END,
        'results', j.results,
        'created_at', webhook_time(j.created_at), 'started_at', webhook_time(j.started_at),
        'finished_at', webhook_time(j.finished_at)))::text
$$;
-- +goose StatementEnd
DROP FUNCTION parts_of_job;
DROP TABLE verified_sources;
DROP TABLE job_parts;
DROP TABLE asset_part_objects;
DROP TABLE asset_parts;
DELETE FROM webhook_deliveries WHERE job_id IN (SELECT id FROM jobs WHERE queue = 'parts');
DELETE FROM jobs WHERE queue = 'parts';
DROP INDEX jobs_one_running_per_part;
CREATE UNIQUE INDEX jobs_one_running ON jobs (hash) WHERE state = 'running';
DROP INDEX jobs_one_running_per_asset;
ALTER INDEX jobs_one_running RENAME TO jobs_one_running_per_asset;
ALTER TABLE jobs
    DROP CONSTRAINT jobs_part_has_a_kind,
    DROP CONSTRAINT jobs_parts_have_their_queue,
    DROP CONSTRAINT jobs_queue_check,
    ADD CONSTRAINT jobs_queue_check CHECK (queue IN ('default', 'video:large')),
    DROP CONSTRAINT jobs_type_check,
    ADD CONSTRAINT jobs_type_check CHECK (type IN ('video:transcode', 'video:full')),
    DROP COLUMN part_kind, DROP COLUMN part_name, DROP COLUMN parent_id, DROP COLUMN metadata;
