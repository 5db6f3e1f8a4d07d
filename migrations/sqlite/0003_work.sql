-- Background processing: the same as PostgreSQL's but for types. Times are
-- microseconds since 1970, ids are 16 bytes; subjects are bytes, since a foreign one
-- may hold what ends a text. Attempts are lines, each a JSON array: number,
-- microseconds since 1970, error.

CREATE TABLE consumers (
    name        TEXT    NOT NULL PRIMARY KEY,
    filter      TEXT    NOT NULL,
    generation  INTEGER NOT NULL DEFAULT 1,
    handled     INTEGER NOT NULL,
    floor       INTEGER NOT NULL,
    paused      TEXT,
    -- What is fed from the store: nothing while feed_floor is null, without end
    -- where feed_to is.
    feed_floor  INTEGER,
    feed_top    INTEGER,
    feed_to     INTEGER,
    feed_done   TEXT    NOT NULL DEFAULT '[]',
    feed_owner  BLOB,
    feed_until  INTEGER NOT NULL DEFAULT 0,
    processed   INTEGER NOT NULL DEFAULT 0,
    failed      INTEGER NOT NULL DEFAULT 0,
    redelivered INTEGER NOT NULL DEFAULT 0,
    expired     INTEGER NOT NULL DEFAULT 0,
    busy_us     INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE set_aside (
    consumer TEXT    NOT NULL,
    seq      INTEGER NOT NULL,
    subject  BLOB    NOT NULL,
    -- Attempts begun: the one of the lease included.
    attempt  INTEGER NOT NULL,
    attempts TEXT    NOT NULL,
    -- When it may be leased: after its delay, or when the lease it has runs out.
    due      INTEGER NOT NULL,
    lease    BLOB,
    body     BLOB    NOT NULL
);
CREATE UNIQUE INDEX set_aside_seq ON set_aside (consumer, seq);
CREATE INDEX set_aside_due    ON set_aside (consumer, due, seq);
CREATE INDEX set_aside_leased ON set_aside (consumer, lease, due) WHERE lease IS NOT NULL;

CREATE TABLE dead_letters (
    id       BLOB    NOT NULL,
    kind     TEXT    NOT NULL,
    source   TEXT    NOT NULL,
    seq      INTEGER NOT NULL,
    subject  BLOB    NOT NULL,
    attempts TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    died_at  INTEGER NOT NULL,
    body     BLOB    NOT NULL
);
CREATE UNIQUE INDEX dead_letters_seq ON dead_letters (kind, source, seq);
CREATE INDEX dead_letters_id     ON dead_letters (id);
CREATE INDEX dead_letters_kind   ON dead_letters (kind, id);
CREATE INDEX dead_letters_source ON dead_letters (kind, source, id);

-- How many rows there are of each: what is 'set_aside' or a kind of dead letter.
CREATE TABLE work_counts (
    what   TEXT    NOT NULL,
    source TEXT    NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (what, source)
) WITHOUT ROWID;
CREATE TRIGGER set_aside_more AFTER INSERT ON set_aside BEGIN
    INSERT INTO work_counts (what, source, n) VALUES ('set_aside', new.consumer, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER set_aside_fewer AFTER DELETE ON set_aside BEGIN
    UPDATE work_counts SET n = n - 1 WHERE what = 'set_aside' AND source = old.consumer;
END;
CREATE TRIGGER dead_letters_more AFTER INSERT ON dead_letters BEGIN
    INSERT INTO work_counts (what, source, n) VALUES (new.kind, new.source, 1)
    ON CONFLICT DO UPDATE SET n = n + 1;
END;
CREATE TRIGGER dead_letters_fewer AFTER DELETE ON dead_letters BEGIN
    UPDATE work_counts SET n = n - 1 WHERE what = old.kind AND source = old.source;
END;

CREATE TABLE webhooks (
    id            BLOB    NOT NULL PRIMARY KEY,
    url           TEXT    NOT NULL,
    filter        TEXT    NOT NULL,
    secret        TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    failures      INTEGER NOT NULL DEFAULT 0,
    failing_since INTEGER,
    last_success  INTEGER,
    last_error    TEXT
);
