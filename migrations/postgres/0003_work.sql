-- Background processing: consumers, messages set aside for another attempt, dead
-- letters, webhooks. Subjects and bodies are bytes: a foreign one may hold what
-- text refuses. Attempts are lines, each a JSON array: number, microseconds since
-- 1970, error.

CREATE TABLE consumers (
    name        text COLLATE "C" NOT NULL PRIMARY KEY,
    filter      text             NOT NULL,
    generation  bigint           NOT NULL DEFAULT 1,
    handled     boolean          NOT NULL,
    floor       bigint           NOT NULL,
    paused      text,
    -- What is fed from the store: nothing while feed_floor is null, without end
    -- where feed_to is.
    feed_floor  bigint,
    feed_top    bigint,
    feed_to     bigint,
    feed_done   bigint[]         NOT NULL DEFAULT '{}',
    feed_owner  uuid,
    feed_until  timestamptz      NOT NULL DEFAULT '-infinity',
    processed   bigint           NOT NULL DEFAULT 0,
    failed      bigint           NOT NULL DEFAULT 0,
    redelivered bigint           NOT NULL DEFAULT 0,
    expired     bigint           NOT NULL DEFAULT 0,
    busy_us     bigint           NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

CREATE TABLE set_aside (
    consumer text COLLATE "C" NOT NULL,
    seq      bigint           NOT NULL,
    subject  bytea            NOT NULL,
    body     bytea            NOT NULL,
    -- Attempts begun: the one of the lease included.
    attempt  integer          NOT NULL,
    attempts text             NOT NULL,
    -- When it may be leased: after its delay, or when the lease it has runs out.
    due      timestamptz      NOT NULL,
    lease    uuid,
    PRIMARY KEY (consumer, seq)
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.1);
CREATE INDEX set_aside_due    ON set_aside (consumer, due, seq);
CREATE INDEX set_aside_leased ON set_aside (consumer, lease, due) WHERE lease IS NOT NULL;

CREATE TABLE dead_letters (
    id       uuid             NOT NULL,
    kind     text COLLATE "C" NOT NULL,
    source   text COLLATE "C" NOT NULL,
    seq      bigint           NOT NULL,
    subject  bytea            NOT NULL,
    body     bytea            NOT NULL,
    attempts text             NOT NULL,
    reason   text             NOT NULL,
    died_at  timestamptz      NOT NULL,
    PRIMARY KEY (kind, source, seq)
);
-- Pages go by id. Each way to ask has an order of its own that one index alone
-- delivers, so that the planner cannot walk another in the hope of a match; ids
-- are never null, so the orders are the same.
CREATE INDEX dead_letters_id     ON dead_letters USING hash (id);
CREATE INDEX dead_letters_kind   ON dead_letters (kind, id NULLS FIRST);
CREATE INDEX dead_letters_source ON dead_letters (kind, source, id);

-- How many rows there are of each, summed over the slots: one a connection, so
-- that writers do not wait for each other.
CREATE TABLE work_counts (
    -- 'set_aside' or a kind of dead letter.
    what   text COLLATE "C" NOT NULL,
    source text COLLATE "C" NOT NULL,
    slot   integer          NOT NULL,
    n      bigint           NOT NULL,
    PRIMARY KEY (what, source, slot)
) WITH (fillfactor = 50);

-- Called when the statement has all its locks, so that waiting for a slot cannot
-- be part of a circle.
CREATE FUNCTION count_work() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_TABLE_NAME = 'set_aside' THEN
        INSERT INTO work_counts AS kept (what, source, slot, n)
        SELECT 'set_aside', consumer, pg_backend_pid() % 16, count(*) * TG_ARGV[0]::bigint
        FROM changed GROUP BY consumer ORDER BY consumer
        ON CONFLICT (what, source, slot) DO UPDATE SET n = kept.n + excluded.n;
    ELSE
        INSERT INTO work_counts AS kept (what, source, slot, n)
        SELECT kind, source, pg_backend_pid() % 16, count(*) * TG_ARGV[0]::bigint
        FROM changed GROUP BY kind, source ORDER BY kind, source
        ON CONFLICT (what, source, slot) DO UPDATE SET n = kept.n + excluded.n;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER set_aside_more AFTER INSERT ON set_aside
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_work('1');
CREATE TRIGGER set_aside_fewer AFTER DELETE ON set_aside
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_work('-1');
CREATE TRIGGER dead_letters_more AFTER INSERT ON dead_letters
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_work('1');
CREATE TRIGGER dead_letters_fewer AFTER DELETE ON dead_letters
    REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_work('-1');

CREATE TABLE webhooks (
    id            uuid        NOT NULL PRIMARY KEY,
    url           text        NOT NULL,
    filter        text        NOT NULL,
    secret        text        NOT NULL,
    created_at    timestamptz NOT NULL,
    failures      bigint      NOT NULL DEFAULT 0,
    failing_since timestamptz,
    last_success  timestamptz,
    last_error    text
) WITH (fillfactor = 50);
