-- +goose Up
CREATE TABLE kek_versions (
    version     integer PRIMARY KEY CHECK (version >= 1),
    check_nonce bytea NOT NULL CHECK (length(check_nonce) = 12),
    check_value bytea NOT NULL CHECK (length(check_value) > 16), -- a fixed text sealed under the KEK: wrong bytes are noticed at start-up
    state       text NOT NULL CHECK (state IN ('primary', 'secondary', 'retired')),
    wraps       bigint NOT NULL DEFAULT 0 CHECK (wraps BETWEEN 0 AND 4294967296), -- NIST SP 800-38D, 8.3
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX kek_versions_one_primary ON kek_versions (state) WHERE state = 'primary';

-- Insert-only: a row's key never changes. Only its wrapping (rewrap) and its state do.
CREATE TABLE content_keys (
    kid          bytea PRIMARY KEY CHECK (length(kid) = 16),
    hash         text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    job_id       text NOT NULL CHECK (job_id ~ '^[A-Za-z0-9_.:-]{1,128}$'),
    attempt      integer NOT NULL CHECK (attempt >= 1),
    track        text NOT NULL CHECK (track ~ '^[a-z0-9][a-z0-9-]{0,31}$'), -- the output that the key serves: cmaf, ts
    scheme       text NOT NULL CHECK (scheme IN ('cbcs', 'cenc', 'aes-128')),
    wrapped_key  bytea CHECK (length(wrapped_key) = 32), -- 16 bytes + 16 bytes GCM tag; NULL once shredded
    wrap_nonce   bytea CHECK (length(wrap_nonce) = 12),
    kek_version  integer NOT NULL REFERENCES kek_versions (version),
    key_uri      text NOT NULL CHECK (length(key_uri) BETWEEN 1 AND 4096),
    is_default   boolean NOT NULL, -- served under the bare key URI of the asset
    state        text NOT NULL DEFAULT 'pending'
                 CHECK (state IN ('pending', 'active', 'retiring', 'revoked', 'shredded')),
    row_version  integer NOT NULL DEFAULT 1,
    created_at   timestamptz NOT NULL DEFAULT now(),
    activated_at timestamptz,
    UNIQUE (job_id, attempt, track),
    -- A nonce serves one seal of a KEK. Deferrable, or one statement could not exchange two rows' wrappings.
    UNIQUE (kek_version, wrap_nonce) DEFERRABLE INITIALLY IMMEDIATE,
    CHECK ((state = 'shredded') = (wrapped_key IS NULL)),
    CHECK ((wrapped_key IS NULL) = (wrap_nonce IS NULL)),
    CHECK (state NOT IN ('active', 'retiring') OR activated_at IS NOT NULL)
);
CREATE UNIQUE INDEX content_keys_one_default ON content_keys (hash)
    WHERE is_default AND state IN ('active', 'retiring');
CREATE INDEX content_keys_hash ON content_keys (hash);
CREATE INDEX content_keys_kek ON content_keys (kek_version) WHERE wrapped_key IS NOT NULL;

-- +goose Down
DROP TABLE content_keys;
DROP TABLE kek_versions;
