-- +goose Up
ALTER TABLE asset_parts
    ADD COLUMN film text; -- prefix of the film that it was made of, empty: there was none; NULL: of the source alone, or not known
ALTER TABLE jobs
    ADD COLUMN asked_at   timestamptz, -- when it was asked for again; NULL: never since created_at
    ADD COLUMN encode_all boolean NOT NULL DEFAULT false; -- an attempt that copied the source's pictures failed

-- A making of a part that a newer one has overtaken is cancelled, and says so.
ALTER TABLE jobs
    DROP CONSTRAINT jobs_cancelled_is_no_error,
    ADD CONSTRAINT jobs_cancelled_is_no_error CHECK (state <> 'cancelled' OR error_code IN ('', 'asset_deleted', 'superseded'));

-- As before; a part that waits for the film ends with the film's job.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION parts_of_job(job text) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_agg(json_build_object(
        'kind', p.kind, 'name', nullif(p.name, ''), 'job_id', p.job_id,
        'state', CASE j.state WHEN 'running' THEN 'running' WHEN 'succeeded' THEN 'ready'
                 WHEN 'failed' THEN 'failed' WHEN 'cancelled' THEN 'cancelled'
                 ELSE CASE WHEN p.job_id IS NULL AND f.state IN ('failed', 'cancelled') THEN f.state ELSE 'pending' END END,
        'error', CASE WHEN j.error_code <> '' THEN json_build_object('code', j.error_code, 'message', j.error_message)
                 WHEN p.job_id IS NULL AND f.error_code <> '' AND f.state IN ('failed', 'cancelled')
                 THEN json_build_object('code', f.error_code, 'message', f.error_message) END,
        'results', j.results) ORDER BY p.position)
    FROM job_parts p JOIN jobs f ON f.id = p.parent_id LEFT JOIN jobs j ON j.id = p.job_id WHERE p.parent_id = job
$$;
-- +goose StatementEnd

-- +goose Down
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION parts_of_job(job text) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_agg(json_build_object(
        'kind', p.kind, 'name', nullif(p.name, ''), 'job_id', p.job_id,
        'state', CASE j.state WHEN 'running' THEN 'running' WHEN 'succeeded' THEN 'ready'
                 WHEN 'failed' THEN 'failed' WHEN 'cancelled' THEN 'cancelled' ELSE 'pending' END,
        'error', CASE WHEN j.error_code <> '' THEN json_build_object('code', j.error_code, 'message', j.error_message) END,
        'results', j.results) ORDER BY p.position)
    FROM job_parts p LEFT JOIN jobs j ON j.id = p.job_id WHERE p.parent_id = job
$$;
-- +goose StatementEnd
UPDATE jobs SET error_code = '', error_message = '' WHERE error_code = 'superseded';
ALTER TABLE jobs
    DROP CONSTRAINT jobs_cancelled_is_no_error,
    ADD CONSTRAINT jobs_cancelled_is_no_error CHECK (state <> 'cancelled' OR error_code IN ('', 'asset_deleted')),
    DROP COLUMN encode_all, DROP COLUMN asked_at;
ALTER TABLE asset_parts DROP COLUMN film;
