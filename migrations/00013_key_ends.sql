-- +goose Up
-- Keys that are about to be revoked.
CREATE INDEX content_keys_retire_at ON content_keys (retire_at) WHERE state = 'retiring';

-- A private title's keys are asked for under a playback key alone, so nodes
-- remember who is private and hear of it, as of external ids.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION external_id_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR TG_OP = 'DELETE'
       OR (OLD.hash, OLD.external_id, OLD.private) IS DISTINCT FROM (NEW.hash, NEW.external_id, NEW.private) THEN
        PERFORM access_changed('assets', CASE WHEN TG_OP = 'DELETE' THEN OLD.hash ELSE NEW.hash END);
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

-- The error says by its constraint what it is about.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION access_names_differ() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(7310031);
    IF TG_TABLE_NAME = 'playback_keys' AND EXISTS (SELECT 1 FROM asset_policies WHERE external_id = to_jsonb(NEW)->>'id')
       OR TG_TABLE_NAME = 'asset_policies' AND EXISTS (SELECT 1 FROM playback_keys WHERE id = to_jsonb(NEW)->>'external_id') THEN
        RAISE unique_violation USING MESSAGE = 'a playback key or an external id has this name', CONSTRAINT = 'access_names_differ';
    END IF;
    RETURN NEW;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP INDEX content_keys_retire_at;
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION access_names_differ() RETURNS trigger LANGUAGE plpgsql AS $$
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
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION external_id_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' OR TG_OP = 'DELETE' OR (OLD.hash, OLD.external_id) IS DISTINCT FROM (NEW.hash, NEW.external_id) THEN
        PERFORM access_changed('assets', CASE WHEN TG_OP = 'DELETE' THEN OLD.hash ELSE NEW.hash END);
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
