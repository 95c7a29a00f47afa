-- +goose Up
-- What is to be told about jobs. The triggers below write it in the transaction
-- of the change itself, whichever statement makes it: nothing can be missed, and
-- nothing is told that did not happen.
CREATE TABLE webhook_deliveries (
    id            uuid PRIMARY KEY DEFAULT gen_random_uuid(), -- webhook-id
    seq           bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    job_id        text NOT NULL, -- no reference: what is to be told outlives the job's row
    url           text NOT NULL CHECK (url <> ''),
    host          text NOT NULL GENERATED ALWAYS AS
                  (coalesce(lower(substring(url FROM '^[A-Za-z]+://([^/?#]*)')), '')) STORED, -- with its port: slots are counted by it
    type          text NOT NULL CHECK (type IN ('job.started', 'job.progress', 'job.completed', 'job.failed', 'job.cancelled')),
    payload       text NOT NULL, -- the body, byte for byte the same each time
    job_attempt   integer NOT NULL,
    job_progress  double precision NOT NULL,
    state         text NOT NULL DEFAULT 'pending'
                  CHECK (state IN ('pending', 'delivered', 'dead', 'superseded')),
    attempts      integer NOT NULL DEFAULT 0 CHECK (attempts >= 0), -- the fencing token; only grows
    tries         integer NOT NULL DEFAULT 0 CHECK (tries >= 0), -- attempts since queued_at
    queued_at     timestamptz NOT NULL DEFAULT now(), -- first, or again by hand
    next_at       timestamptz NOT NULL DEFAULT now(),
    claimed_until timestamptz, -- an attempt is under way, unless its process died
    last_status   integer,
    last_error    text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    ended_at      timestamptz,
    CHECK ((state = 'pending') = (ended_at IS NULL)),
    CHECK (state <> 'superseded' OR type = 'job.progress')
);
CREATE INDEX webhook_deliveries_due ON webhook_deliveries (next_at) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_job ON webhook_deliveries (job_id, seq);
CREATE INDEX webhook_deliveries_ended ON webhook_deliveries (ended_at) WHERE state <> 'pending';

CREATE TABLE webhook_attempts (
    delivery_id uuid NOT NULL REFERENCES webhook_deliveries (id) ON DELETE CASCADE,
    attempt     integer NOT NULL CHECK (attempt >= 1),
    started_at  timestamptz NOT NULL,
    seconds     double precision CHECK (seconds >= 0), -- NULL: under way, or lost
    status      integer CHECK (status BETWEEN 100 AND 999),
    error       text NOT NULL DEFAULT '',
    PRIMARY KEY (delivery_id, attempt),
    CHECK (status IS NULL OR error = ''),
    CHECK (seconds IS NULL OR status IS NOT NULL OR error <> '')
);

-- +goose StatementBegin
CREATE FUNCTION webhook_time(t timestamptz) RETURNS text LANGUAGE sql STABLE AS
$$ SELECT to_char(t AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') $$;
-- +goose StatementEnd

-- The data is the job as GET /api/jobs/{id} shows it.
-- +goose StatementBegin
CREATE FUNCTION webhook_payload(event text, j jobs) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT json_build_object('type', event, 'timestamp', webhook_time(now()), 'data', json_build_object(
        'id', j.id, 'type', j.type, 'hash', j.hash, 'source', j.source,
        'state', j.state, 'stage', nullif(j.stage, ''), 'progress', j.progress, 'eta_seconds', j.eta_seconds,
        'attempt', j.attempt,
        'error', CASE WHEN j.error_code <> '' THEN json_build_object('code', j.error_code, 'message', j.error_message) END,
        'results', j.results,
        'created_at', webhook_time(j.created_at), 'started_at', webhook_time(j.started_at),
        'finished_at', webhook_time(j.finished_at)))::text
$$;
-- +goose StatementEnd

-- +goose StatementBegin
CREATE FUNCTION webhook_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    j     jobs;
    event text;
    last  webhook_deliveries;
    gone  boolean;
BEGIN
    IF TG_OP = 'DELETE' THEN -- the row goes before the job has ended
        j := OLD;
        j.state := 'cancelled';
        j.eta_seconds := NULL;
        j.finished_at := now();
    ELSE
        j := NEW;
    END IF;
    event := CASE j.state WHEN 'running' THEN 'job.started' WHEN 'succeeded' THEN 'job.completed'
        WHEN 'failed' THEN 'job.failed' WHEN 'cancelled' THEN 'job.cancelled' END;
    IF TG_OP = 'UPDATE' AND OLD.state = NEW.state THEN
        event := CASE j.state WHEN 'running' THEN 'job.progress' END;
    END IF;
    IF event IS NULL THEN
        RETURN NULL;
    END IF;
    IF event = 'job.started' THEN -- another attempt is no second start
        SELECT * INTO last FROM webhook_deliveries
        WHERE job_id = j.id AND type <> 'job.progress' ORDER BY seq DESC LIMIT 1;
        IF last.type = 'job.started' THEN
            RETURN NULL;
        END IF;
    ELSIF event = 'job.progress' THEN -- 10 s and 5 points apart
        SELECT * INTO last FROM webhook_deliveries WHERE job_id = j.id ORDER BY seq DESC LIMIT 1;
        IF last.created_at > now() - interval '10 seconds'
           OR (last.job_attempt = j.attempt AND j.progress < last.job_progress + 5) THEN
            RETURN NULL;
        END IF;
    END IF;
    -- Newer news replaces progress that has not been told.
    UPDATE webhook_deliveries SET state = 'superseded', ended_at = now()
    WHERE job_id = j.id AND type = 'job.progress' AND state = 'pending';
    -- A receiver that said 410 Gone is told nothing more of this job, unless somebody asks for it.
    gone := EXISTS (SELECT 1 FROM webhook_deliveries WHERE job_id = j.id AND state = 'dead' AND last_status = 410);
    INSERT INTO webhook_deliveries (job_id, url, type, payload, job_attempt, job_progress, state, last_status, ended_at)
    VALUES (j.id, j.callback_url, event, webhook_payload(event, j), j.attempt, j.progress,
            CASE WHEN gone THEN 'dead' ELSE 'pending' END, CASE WHEN gone THEN 410 END, CASE WHEN gone THEN now() END);
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE TRIGGER webhook_event_update AFTER UPDATE ON jobs FOR EACH ROW
    WHEN (NEW.callback_url <> '' AND (OLD.state <> NEW.state OR OLD.progress <> NEW.progress))
    EXECUTE FUNCTION webhook_event();
-- A request that is refused because of its callback_url has nobody to tell.
CREATE TRIGGER webhook_event_insert AFTER INSERT ON jobs FOR EACH ROW
    WHEN (NEW.callback_url <> '' AND NEW.state <> 'queued' AND NEW.error_code NOT IN ('callback_refused', 'webhooks_off'))
    EXECUTE FUNCTION webhook_event();
CREATE TRIGGER webhook_event_delete AFTER DELETE ON jobs FOR EACH ROW
    WHEN (OLD.callback_url <> '' AND OLD.state IN ('queued', 'running'))
    EXECUTE FUNCTION webhook_event();

-- +goose Down
DROP TRIGGER webhook_event_delete ON jobs;
DROP TRIGGER webhook_event_insert ON jobs;
DROP TRIGGER webhook_event_update ON jobs;
DROP FUNCTION webhook_event;
DROP FUNCTION webhook_payload;
DROP FUNCTION webhook_time;
DROP TABLE webhook_attempts;
DROP TABLE webhook_deliveries;
