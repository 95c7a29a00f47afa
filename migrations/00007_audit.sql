-- +goose Up
-- What older programs have written and not committed is waited for, or it would be in
-- neither the loop below nor the trigger.
LOCK TABLE audit_log IN SHARE ROW EXCLUSIVE MODE;

-- The audit trail: one chain, each entry's hash over the one before. keystore/audit
-- has the same function in Go and the check of it. audit_log stays for programs before
-- this one; what they write there enters the chain in their own transaction.
CREATE TABLE audit_entries (
    seq     bigint PRIMARY KEY CHECK (seq >= 1), -- the order of the chain, without gaps
    at      timestamptz NOT NULL,
    actor   text NOT NULL CHECK (actor <> ''),
    action  text NOT NULL CHECK (action <> ''),
    subject text NOT NULL CHECK (subject <> ''),
    details json NOT NULL, -- json, not jsonb: its text is hashed
    hash    bytea NOT NULL CHECK (length(hash) = 32)
);
CREATE INDEX audit_entries_at ON audit_entries USING brin (at);

-- The end of the chain. Its row lock puts writers in order.
CREATE TABLE audit_head (
    one     boolean PRIMARY KEY DEFAULT true CHECK (one),
    genesis bytea NOT NULL CHECK (length(genesis) = 32), -- what the first entry's hash is over; names the chain
    seq     bigint NOT NULL CHECK (seq >= 0),
    hash    bytea NOT NULL CHECK (length(hash) = 32)
);
INSERT INTO audit_head (genesis, seq, hash)
    SELECT g, 0, g FROM (SELECT sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')) AS g) r;

CREATE FUNCTION audit_field(bytea) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
    'SELECT int4send(octet_length($1)) || $1';

-- +goose StatementBegin
-- Appends an entry to the chain and returns its place. The last statement of a
-- transaction: until its end no other entry is written.
CREATE FUNCTION audit_append(at timestamptz, actor text, action text, subject text, details json) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    head audit_head;
    next bytea;
BEGIN
    SELECT * INTO STRICT head FROM audit_head FOR UPDATE;
    next := sha256(audit_field('sealcast/audit/v1') || audit_field(head.hash)
        || audit_field(int8send(head.seq + 1)) || audit_field(int8send((extract(epoch FROM at) * 1000000)::bigint))
        || audit_field(convert_to(actor, 'UTF8')) || audit_field(convert_to(action, 'UTF8'))
        || audit_field(convert_to(subject, 'UTF8')) || audit_field(convert_to(details::text, 'UTF8')));
    INSERT INTO audit_entries (seq, at, actor, action, subject, details, hash)
        VALUES (head.seq + 1, at, actor, action, subject, details, next);
    UPDATE audit_head SET seq = head.seq + 1, hash = next;
    RETURN head.seq + 1;
END $$;

CREATE FUNCTION audit_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;

CREATE FUNCTION audit_from_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM audit_append(NEW.at, NEW.actor, NEW.action, NEW.subject, NEW.details::json);
    RETURN NULL;
END $$;

DO $$
DECLARE
    e audit_log;
BEGIN
    FOR e IN SELECT * FROM audit_log ORDER BY id LOOP
        PERFORM audit_append(e.at, e.actor, e.action, e.subject, e.details::json);
    END LOOP;
END $$;
-- +goose StatementEnd
CREATE TRIGGER audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
CREATE TRIGGER audit_append_only BEFORE DELETE OR TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION audit_append_only();
CREATE TRIGGER audit_from_log AFTER INSERT ON audit_log
    FOR EACH ROW EXECUTE FUNCTION audit_from_log();

-- +goose Down
DROP TRIGGER audit_from_log ON audit_log;
DROP FUNCTION audit_from_log();
DROP FUNCTION audit_append(timestamptz, text, text, text, json);
DROP FUNCTION audit_field(bytea);
DROP TABLE audit_head;
DROP TABLE audit_entries;
DROP FUNCTION audit_append_only();
