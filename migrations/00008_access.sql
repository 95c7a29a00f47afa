-- +goose Up
-- Handles of an asset that viewers see, each with its own policy. A revoked one stays: its id is never given again.
CREATE TABLE playback_keys (
    id               text PRIMARY KEY CHECK (id COLLATE "C" ~ '^[A-Za-z0-9_-]{3,64}$'), -- 3 and more: no scope of a token
    hash             text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
    label            text NOT NULL DEFAULT '' CHECK (length(label) <= 200),
    environment      text NOT NULL CHECK (environment IN ('development', 'staging', 'production')),
    status           text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'disabled', 'revoked')),
    private          boolean NOT NULL DEFAULT true,
    hosts            text[] NOT NULL DEFAULT '{}' CHECK (cardinality(hosts) <= 10), -- of pages; none: any page
    allow_no_referer boolean NOT NULL DEFAULT false, -- clients that name no page pass hosts, and ref in tokens
    ips              cidr[] NOT NULL DEFAULT '{}' CHECK (cardinality(ips) <= 32), -- of clients; none: any address
    downloads        boolean NOT NULL DEFAULT false,
    not_before       timestamptz,
    not_after        timestamptz,
    max_ttl_seconds  integer CHECK (max_ttl_seconds BETWEEN 1 AND 31536000), -- of tokens; NULL: as the signing key says
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    revoked_at       timestamptz,
    CHECK (id !~ '^[0-9a-f]{64}$'), -- nobody's hash
    CHECK ((status = 'revoked') = (revoked_at IS NOT NULL)),
    CHECK (not_after > not_before)
);
CREATE INDEX playback_keys_listed ON playback_keys (created_at DESC, id DESC);
CREATE INDEX playback_keys_of_asset ON playback_keys (hash, created_at DESC, id DESC);

-- Whose signatures are believed. No private key is stored: one that we create is shown once, and the
-- secret of a symmetric key is derived from KEY_TOKEN_SECRET and its salt.
CREATE TABLE signing_keys (
    kid             text PRIMARY KEY CHECK (kid COLLATE "C" ~ '^[A-Za-z0-9_-]{1,64}$' AND kid NOT IN ('sealcast', 'shared')), -- those two are our own
    label           text NOT NULL DEFAULT '' CHECK (length(label) <= 200),
    source          text NOT NULL CHECK (source IN ('created', 'public_key', 'jwks')),
    algorithm       text CHECK (algorithm IN ('RS256', 'ES256', 'EdDSA', 'HS256')), -- NULL: the set's keys say
    public_key      text, -- PEM
    salt            bytea CHECK (length(salt) = 32),
    jwks_url        text,
    jwks            text, -- as it was fetched last
    jwks_fetched_at timestamptz,
    jwks_next_at    timestamptz,
    jwks_error      text NOT NULL DEFAULT '', -- of the last fetch
    issuer          text NOT NULL DEFAULT '' CHECK (length(issuer) <= 255),
    environment     text NOT NULL CHECK (environment IN ('development', 'staging', 'production', 'all')),
    max_ttl_seconds integer NOT NULL DEFAULT 86400 CHECK (max_ttl_seconds BETWEEN 1 AND 31536000),
    allow_wildcard  boolean NOT NULL DEFAULT false,
    created_at      timestamptz NOT NULL DEFAULT now(),
    revoked_at      timestamptz,
    CHECK ((source = 'jwks') = (algorithm IS NULL)),
    CHECK ((source = 'jwks') = (jwks_url IS NOT NULL)),
    CHECK ((source = 'jwks') = (jwks IS NOT NULL)),
    CHECK ((source = 'jwks') = (jwks_next_at IS NOT NULL)),
    CHECK ((salt IS NOT NULL) = (algorithm IS NOT DISTINCT FROM 'HS256')),
    CHECK ((public_key IS NULL) = (source = 'jwks' OR algorithm = 'HS256')),
    CHECK (source = 'created' OR algorithm IS DISTINCT FROM 'HS256')
);
CREATE INDEX signing_keys_jwks_due ON signing_keys (jwks_next_at) WHERE source = 'jwks' AND revoked_at IS NULL;

-- What is believed no more: a token, session, user or tag; the tokens of a playback key or signing key; all.
CREATE TABLE revocations (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind          text NOT NULL CHECK (kind IN ('token', 'session', 'user', 'tag', 'playback_key', 'signing_key', 'all')),
    value         text NOT NULL CHECK (length(value) <= 512),
    issued_before timestamptz, -- only what was issued before it; NULL: whenever
    reason        text NOT NULL DEFAULT '' CHECK (length(reason) <= 200),
    created_at    timestamptz NOT NULL DEFAULT now(),
    expires_at    timestamptz, -- NULL: until it is lifted
    CHECK ((kind = 'all') = (value = '')),
    CHECK (kind <> 'all' OR issued_before IS NOT NULL)
);
CREATE INDEX revocations_value ON revocations (kind, value);

-- Tokens that we minted for somebody. Never the token itself.
CREATE TABLE minted_tokens (
    id           text PRIMARY KEY CHECK (id <> ''), -- jti
    playback_key text REFERENCES playback_keys (id), -- NULL: organisation-wide
    scope        text[] NOT NULL CHECK (cardinality(scope) BETWEEN 1 AND 8), -- aud
    tag          text NOT NULL DEFAULT '',
    uid          text NOT NULL DEFAULT '',
    ips          cidr[] NOT NULL DEFAULT '{}',
    hosts        text[] NOT NULL DEFAULT '{}',
    environment  text NOT NULL CHECK (environment IN ('development', 'staging', 'production', 'all')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz NOT NULL,
    last_used_at timestamptz,
    CHECK (expires_at > created_at)
);
CREATE INDEX minted_tokens_listed ON minted_tokens (created_at DESC, id DESC);
CREATE INDEX minted_tokens_of_key ON minted_tokens (playback_key, created_at DESC, id DESC);
CREATE INDEX minted_tokens_ended ON minted_tokens (expires_at);

-- Who may administer. The one of the environment is not here.
CREATE TABLE api_keys (
    id           text PRIMARY KEY CHECK (id COLLATE "C" ~ '^[A-Za-z0-9_-]{3,64}$'),
    digest       bytea NOT NULL UNIQUE CHECK (length(digest) = 32), -- SHA-256 of 32 random bytes
    label        text NOT NULL DEFAULT '' CHECK (length(label) <= 200),
    scopes       text[] NOT NULL CHECK (cardinality(scopes) BETWEEN 1 AND 32),
    environment  text NOT NULL CHECK (environment IN ('development', 'staging', 'production', 'all')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    last_used_at timestamptz,
    revoked_at   timestamptz
);

-- What changed, for the nodes that remember. The lock is held until the transaction has ended, so ids become
-- visible in their order and nobody reads past one that is still to come.
CREATE TABLE access_changes (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind    text NOT NULL CHECK (kind IN ('playback_keys', 'signing_keys', 'revocations', 'assets')),
    subject text NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX access_changes_at ON access_changes (at);

-- +goose StatementBegin
CREATE FUNCTION access_changed(kind text, subject text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7310031);
    INSERT INTO access_changes (kind, subject) VALUES (kind, subject);
    PERFORM pg_notify('sealcast_access', '');
END
$$;
-- +goose StatementEnd
-- +goose StatementBegin
CREATE FUNCTION access_row_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    r jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
BEGIN
    PERFORM access_changed(TG_TABLE_NAME, coalesce(r->>'id', r->>'kid'));
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER access_row_changed AFTER INSERT OR UPDATE OR DELETE ON playback_keys
    FOR EACH ROW EXECUTE FUNCTION access_row_changed();
CREATE TRIGGER access_row_changed AFTER INSERT OR UPDATE OR DELETE ON signing_keys
    FOR EACH ROW EXECUTE FUNCTION access_row_changed();
CREATE TRIGGER access_row_changed AFTER INSERT OR UPDATE OR DELETE ON revocations
    FOR EACH ROW EXECUTE FUNCTION access_row_changed();

-- What a token names is a playback key or an asset's external id: no word is both.
-- +goose StatementBegin
CREATE FUNCTION access_names_differ() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7310031);
    IF TG_TABLE_NAME = 'playback_keys' AND EXISTS (SELECT 1 FROM asset_policies WHERE external_id = to_jsonb(NEW)->>'id')
       OR TG_TABLE_NAME = 'asset_policies' AND EXISTS (SELECT 1 FROM playback_keys WHERE id = to_jsonb(NEW)->>'external_id') THEN
        RAISE unique_violation USING MESSAGE = 'a playback key or an external id has this name';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER access_names_differ BEFORE INSERT ON playback_keys
    FOR EACH ROW EXECUTE FUNCTION access_names_differ();
CREATE TRIGGER access_names_differ BEFORE INSERT OR UPDATE OF external_id ON asset_policies
    FOR EACH ROW WHEN (NEW.external_id IS NOT NULL) EXECUTE FUNCTION access_names_differ();

-- +goose StatementBegin
CREATE FUNCTION external_id_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR TG_OP = 'DELETE' OR (OLD.hash, OLD.external_id) IS DISTINCT FROM (NEW.hash, NEW.external_id) THEN
        PERFORM access_changed('assets', CASE WHEN TG_OP = 'DELETE' THEN OLD.hash ELSE NEW.hash END);
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER external_id_changed AFTER INSERT OR UPDATE OR DELETE ON asset_policies
    FOR EACH ROW EXECUTE FUNCTION external_id_changed();

-- An asset that is deleted takes its playback keys with it: it may come back under the same hash, they may not.
-- +goose StatementBegin
CREATE FUNCTION playback_keys_of_deleted_asset() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE playback_keys SET status = 'revoked', revoked_at = now(), updated_at = now()
    WHERE hash = OLD.hash AND status <> 'revoked';
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER playback_keys_of_deleted_asset AFTER DELETE ON assets
    FOR EACH ROW EXECUTE FUNCTION playback_keys_of_deleted_asset();

-- +goose Down
DROP TRIGGER external_id_changed ON asset_policies;
DROP FUNCTION external_id_changed;
DROP TRIGGER access_names_differ ON asset_policies;
DROP TRIGGER playback_keys_of_deleted_asset ON assets;
DROP FUNCTION playback_keys_of_deleted_asset;
DROP TABLE minted_tokens;
DROP TABLE playback_keys;
DROP FUNCTION access_names_differ;
DROP TABLE signing_keys;
DROP TABLE revocations;
DROP TABLE api_keys;
DROP TABLE access_changes;
DROP FUNCTION access_row_changed;
DROP FUNCTION access_changed;
