-- Messages that were erased, or are being erased. The row is the intent: any server finishes it.
CREATE TABLE erasures (
    seq    bigint      NOT NULL PRIMARY KEY,
    id     uuid        NOT NULL,
    -- The erased form of the message.
    body   bytea       NOT NULL,
    reason text        NOT NULL,
    at     timestamptz NOT NULL,
    -- The number of the change that finished it; null until then.
    change bigint
);
CREATE INDEX erasures_change ON erasures (change, seq);

-- Rises with each erasure that is finished.
ALTER TABLE versions ADD COLUMN erasures bigint NOT NULL DEFAULT 0;

-- What a process still has in memory of a message must not be kept again. A statement that began before the intent ends
-- before it, since the intent takes this lock for itself; any later one sees the intent.
CREATE FUNCTION await_erasure() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('agentbus erasures', 0));
    RETURN NULL;
END $$;
CREATE FUNCTION keep_erased() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    erased bytea;
BEGIN
    SELECT body INTO erased FROM erasures WHERE seq = NEW.seq;
    IF FOUND THEN
        NEW.body := erased;
        NEW.attempts := '';
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION keep_erased_letter() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    erased bytea;
BEGIN
    SELECT body INTO erased FROM erasures WHERE seq = NEW.seq;
    IF FOUND THEN
        NEW.body := erased;
        NEW.attempts := '';
        NEW.reason := 'the message was erased';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER set_aside_await BEFORE INSERT ON set_aside FOR EACH STATEMENT EXECUTE FUNCTION await_erasure();
CREATE TRIGGER set_aside_erased BEFORE INSERT ON set_aside FOR EACH ROW EXECUTE FUNCTION keep_erased();
CREATE TRIGGER dead_letters_await BEFORE INSERT ON dead_letters FOR EACH STATEMENT EXECUTE FUNCTION await_erasure();
CREATE TRIGGER dead_letters_erased BEFORE INSERT ON dead_letters FOR EACH ROW WHEN (NEW.kind = 'message')
    EXECUTE FUNCTION keep_erased_letter();
