-- +goose Up
-- Playback keys may be made while an asset waits for its first publication. Its
-- deletion then finds no row of assets to take them with, so every deletion
-- takes them: the function needs OLD.hash or NEW.hash alone.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION playback_keys_of_deleted_asset() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE playback_keys SET status = 'revoked', revoked_at = now(), updated_at = now()
    WHERE hash = CASE WHEN TG_OP = 'DELETE' THEN OLD.hash ELSE NEW.hash END AND status <> 'revoked';
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER playback_keys_of_deleted_asset AFTER INSERT OR UPDATE OF requested_at ON media_deletions
    FOR EACH ROW EXECUTE FUNCTION playback_keys_of_deleted_asset();

-- +goose Down
DROP TRIGGER playback_keys_of_deleted_asset ON media_deletions;
