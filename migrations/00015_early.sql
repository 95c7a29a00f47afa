-- +goose Up
-- What attempts show of their work while they run. A row belongs to one attempt;
-- it goes when the job's state leaves running, whichever statement does that.
CREATE TABLE early_publications (
    job_id     text PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    attempt    integer NOT NULL CHECK (attempt >= 1),
    hash       text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    prefix     text NOT NULL UNIQUE, -- object keys are stream/<hash>/<prefix>/<name>
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX early_publications_hash ON early_publications (hash);

-- Segments that lie in the object store, and documents that are to lie nowhere
-- else: they grow, or are other ones at the end. Insert-only.
CREATE TABLE early_objects (
    prefix       text NOT NULL REFERENCES early_publications (prefix) ON DELETE CASCADE,
    name         text NOT NULL,
    folder       text NOT NULL, -- of the name
    number       integer NOT NULL CHECK (number >= 0), -- of a media segment, from 1
    size         bigint NOT NULL CHECK (size >= 0),
    sha256       bytea NOT NULL CHECK (length(sha256) = 32),
    content_type text NOT NULL,
    body         bytea, -- a document, or how it begins
    grows        boolean NOT NULL, -- a media playlist: the lines of its folder's segments follow
    lines        bytea, -- how media playlists name a segment
    PRIMARY KEY (prefix, name),
    CHECK ((number > 0) = (lines IS NOT NULL)),
    CHECK ((number > 0) = (body IS NULL)),
    CHECK (NOT grows OR number = 0)
);
CREATE UNIQUE INDEX early_objects_segments ON early_objects (prefix, folder, number) WHERE number > 0;

-- What may be seen: of the attempt that holds its job's lease now, and of an
-- asset of which nothing is published.
CREATE VIEW early_shown AS
    SELECT e.job_id, e.attempt, e.hash, e.prefix, j.encrypt AS encrypted
    FROM early_publications e
    JOIN jobs j ON j.id = e.job_id AND j.attempt = e.attempt AND j.hash = e.hash
    WHERE j.state = 'running' AND j.lease_until > clock_timestamp()
      AND NOT EXISTS (SELECT FROM assets a WHERE a.hash = e.hash);

-- +goose StatementBegin
CREATE FUNCTION withdraw_early() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM early_publications WHERE job_id = NEW.id;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER withdraw_early AFTER UPDATE OF state ON jobs FOR EACH ROW
    WHEN (OLD.state = 'running' AND NEW.state <> 'running') EXECUTE FUNCTION withdraw_early();

-- +goose Down
DROP TRIGGER withdraw_early ON jobs;
DROP FUNCTION withdraw_early;
DROP VIEW early_shown;
DROP TABLE early_objects;
DROP TABLE early_publications;
