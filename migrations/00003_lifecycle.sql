-- +goose Up
-- Programs before this one go on: they write none of these columns, and never the state cancelled.
ALTER TABLE jobs
    ADD COLUMN cancel_requested_at timestamptz,
    ADD COLUMN light         boolean NOT NULL DEFAULT false, -- the next attempt makes do with less memory: the last one ran out of it
    ADD COLUMN superseded_at timestamptz, -- the publication is no longer the asset's current one: the same request is a new job
    ADD COLUMN delivery      text NOT NULL DEFAULT '' CHECK (length(delivery) <= 64); -- of the upload service's task that made or restarted the job last
UPDATE jobs SET cancel_requested_at = finished_at, error_code = '', error_message = '' WHERE state = 'cancelled';
ALTER TABLE jobs
    ADD CONSTRAINT jobs_cancelled CHECK ((state = 'cancelled') = (cancel_requested_at IS NOT NULL)),
    ADD CONSTRAINT jobs_cancelled_is_no_error CHECK (state <> 'cancelled' OR error_code IN ('', 'asset_deleted')),
    ADD CONSTRAINT jobs_light_after_a_failure CHECK (NOT light OR failures > 0),
    ADD CONSTRAINT jobs_superseded CHECK (superseded_at IS NULL OR state = 'succeeded');

-- An identical request is the same job while that waits, runs, or stands for the current publication.
CREATE UNIQUE INDEX jobs_one_per_request_now ON jobs (request_digest)
    WHERE state IN ('queued', 'running', 'succeeded') AND superseded_at IS NULL;
DROP INDEX jobs_one_per_request;
ALTER INDEX jobs_one_per_request_now RENAME TO jobs_one_per_request;

-- The tasks of upload services that have had their effect, whatever it was: one
-- that asynq brings again has no other.
CREATE TABLE adopted_tasks (
    delivery text PRIMARY KEY CHECK (delivery <> ''),
    job_id   text NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX adopted_tasks_age ON adopted_tasks (at);
CREATE INDEX adopted_tasks_job ON adopted_tasks (job_id);

-- What the garbage collector has removed: the row stays, its inventory and its objects do not.
ALTER TABLE publications ADD COLUMN collected_at timestamptz;
CREATE INDEX content_keys_pending ON content_keys (job_id) WHERE state = 'pending';

-- +goose Down
DROP TABLE adopted_tasks;
DROP INDEX content_keys_pending;
ALTER TABLE publications DROP COLUMN collected_at;
DROP INDEX jobs_one_per_request;
ALTER TABLE jobs DROP CONSTRAINT jobs_superseded;
UPDATE jobs SET state = 'failed', error_code = 'superseded', error_message = 'Another publication took its place.', results = NULL
    WHERE superseded_at IS NOT NULL;
ALTER TABLE jobs DROP CONSTRAINT jobs_cancelled_is_no_error,
    DROP COLUMN cancel_requested_at, DROP COLUMN light, DROP COLUMN superseded_at, DROP COLUMN delivery;
CREATE UNIQUE INDEX jobs_one_per_request ON jobs (request_digest)
    WHERE state IN ('queued', 'running', 'succeeded');
