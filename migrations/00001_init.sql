-- +goose Up
CREATE TABLE jobs (
    id             text PRIMARY KEY CHECK (id ~ '^[A-Za-z0-9_.:-]{1,128}$'),
    type           text NOT NULL CHECK (type IN ('video:transcode', 'video:full')),
    queue          text NOT NULL CHECK (queue IN ('default', 'video:large')),
    hash           text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    source         text NOT NULL CHECK (source <> ''),
    options        jsonb NOT NULL,
    encrypt        boolean NOT NULL,
    callback_url   text NOT NULL DEFAULT '',
    request_digest bytea NOT NULL CHECK (length(request_digest) = 32),
    state          text NOT NULL DEFAULT 'queued'
                   CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    stage          text NOT NULL DEFAULT ''
                   CHECK (stage IN ('', 'probe', 'encode', 'pack', 'verify', 'publish')),
    progress       double precision NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 100),
    eta_seconds    double precision CHECK (eta_seconds >= 0),
    attempt        integer NOT NULL DEFAULT 0 CHECK (attempt >= 0), -- the fencing token; only grows
    failures       integer NOT NULL DEFAULT 0 CHECK (failures >= 0), -- attempts that count against the limit: not those that a shutdown ended
    dispatch_seq   bigint NOT NULL DEFAULT 1,
    worker         text NOT NULL DEFAULT '',
    lease_until    timestamptz,
    error_code     text NOT NULL DEFAULT '',
    error_message  text NOT NULL DEFAULT '',
    results        jsonb,
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    started_at     timestamptz,
    finished_at    timestamptz,
    -- a job row never lies
    CHECK ((state = 'running') = (lease_until IS NOT NULL)),
    CHECK ((state = 'succeeded') = (results IS NOT NULL)),
    CHECK ((state IN ('succeeded', 'failed', 'cancelled')) = (finished_at IS NOT NULL)),
    CHECK (state <> 'failed' OR error_code <> ''),
    CHECK (state <> 'succeeded' OR (progress = 100 AND error_code = ''))
);

-- An identical request that is waiting, running or done is the same job.
CREATE UNIQUE INDEX jobs_one_per_request ON jobs (request_digest)
    WHERE state IN ('queued', 'running', 'succeeded');
-- Attempts on one asset run one after the other.
CREATE UNIQUE INDEX jobs_one_running_per_asset ON jobs (hash) WHERE state = 'running';
CREATE INDEX jobs_lease ON jobs (lease_until) WHERE state = 'running';
CREATE INDEX jobs_queued ON jobs (updated_at) WHERE state = 'queued';

-- Messages that must leave for Redis once the transaction that wrote them has committed.
CREATE TABLE outbox (
    id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id       text NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    dispatch_seq bigint NOT NULL,
    not_before   timestamptz NOT NULL DEFAULT now(),
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (job_id, dispatch_seq)
);
CREATE INDEX outbox_due ON outbox (not_before);

-- An asset exists here once it has been published; its encryption choice is sealed then.
CREATE TABLE assets (
    hash       text PRIMARY KEY CHECK (hash ~ '^[0-9a-f]{64}$'),
    encrypted  boolean NOT NULL,
    generation integer NOT NULL CHECK (generation >= 1),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);

-- One immutable packaging of an asset.
CREATE TABLE publications (
    hash         text NOT NULL REFERENCES assets (hash),
    generation   integer NOT NULL CHECK (generation >= 1),
    job_id       text NOT NULL UNIQUE REFERENCES jobs (id),
    attempt      integer NOT NULL CHECK (attempt >= 1),
    prefix       text NOT NULL UNIQUE, -- object keys are stream/<hash>/<prefix>/<name>
    published_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (hash, generation)
);

-- The inventory: every object of a publication; only these names are served.
CREATE TABLE publication_objects (
    prefix        text NOT NULL REFERENCES publications (prefix) ON DELETE CASCADE,
    name          text NOT NULL,
    size          bigint NOT NULL CHECK (size >= 0),
    sha256        bytea NOT NULL CHECK (length(sha256) = 32),
    content_type  text NOT NULL,
    PRIMARY KEY (prefix, name)
);

-- +goose Down
DROP TABLE publication_objects;
DROP TABLE publications;
DROP TABLE assets;
DROP TABLE outbox;
DROP TABLE jobs;
