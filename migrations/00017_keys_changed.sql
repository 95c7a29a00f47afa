-- +goose Up
-- Tells the nodes that remember rows of active keys for a second that one of
-- them has changed or gone.

-- +goose StatementBegin
CREATE FUNCTION content_keys_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM before WHERE state = 'active') THEN
        PERFORM pg_notify('sealcast_keys', '');
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd
CREATE TRIGGER content_keys_changed AFTER UPDATE ON content_keys
    REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION content_keys_changed();
CREATE TRIGGER content_keys_gone AFTER DELETE ON content_keys
    REFERENCING OLD TABLE AS before FOR EACH STATEMENT EXECUTE FUNCTION content_keys_changed();

-- +goose Down
DROP TRIGGER content_keys_gone ON content_keys;
DROP TRIGGER content_keys_changed ON content_keys;
DROP FUNCTION content_keys_changed;
