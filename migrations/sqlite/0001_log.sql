-- The log as SQLite keeps it; the same as PostgreSQL's but for types and indices:
-- times are microseconds since 1970, ids are 16 bytes. seq is the rowid, which
-- every index ends in by itself.

CREATE TABLE log_state (
    one               INTEGER PRIMARY KEY CHECK (one = 1),
    committed_through INTEGER NOT NULL DEFAULT 0,
    bus               TEXT,
    stream_epoch      BLOB,
    lease_owner       BLOB,
    lease_epoch       INTEGER NOT NULL DEFAULT 0,
    lease_until       INTEGER NOT NULL DEFAULT 0
);
INSERT INTO log_state (one) VALUES (1);

CREATE TABLE messages (
    seq             INTEGER PRIMARY KEY,
    id              BLOB    NOT NULL,
    kind            TEXT    NOT NULL,
    type            TEXT    NOT NULL,
    subject         TEXT    NOT NULL,
    sender_id       TEXT    NOT NULL,
    sender_role     TEXT,
    recipient_id    TEXT,
    task_id         TEXT,
    conversation_id TEXT,
    in_reply_to     BLOB,
    expires_at      INTEGER,
    created_at      INTEGER NOT NULL,
    logged_at       INTEGER NOT NULL,
    -- The subject's tokens as JSON where it is another than the columns
    -- derive, else null.
    odd             TEXT,
    foreign_payload BLOB,
    foreign_headers BLOB,
    body            BLOB    NOT NULL
);

-- Fewer indices than in PostgreSQL: SQLite logs a whole page for each index page
-- that a write touches. What is tested beside the leading column stands in the
-- index instead, so that a walk along it fetches no row in vain.
CREATE INDEX messages_id           ON messages (id);
CREATE INDEX messages_reply        ON messages (in_reply_to) WHERE in_reply_to IS NOT NULL;
CREATE INDEX messages_conversation ON messages (conversation_id) WHERE conversation_id IS NOT NULL;
CREATE INDEX messages_task         ON messages (task_id, seq, kind, type) WHERE task_id IS NOT NULL;
CREATE INDEX messages_recipient    ON messages (recipient_id, seq, sender_id) WHERE recipient_id IS NOT NULL;
CREATE INDEX messages_sender       ON messages (sender_id, seq, kind, type);
CREATE INDEX messages_role         ON messages (sender_role, seq, type) WHERE kind = 'message';
CREATE INDEX messages_type         ON messages (type, seq, kind);
-- Kind, in two halves: the first is the index of broadcasts too.
CREATE INDEX messages_broadcast    ON messages (kind) WHERE recipient_id IS NULL;
CREATE INDEX messages_direct       ON messages (kind) WHERE recipient_id IS NOT NULL;
CREATE INDEX messages_odd          ON messages (seq) WHERE odd IS NOT NULL;

CREATE TABLE holes (
    from_seq INTEGER PRIMARY KEY,
    to_seq   INTEGER NOT NULL,
    reason   TEXT    NOT NULL
);

-- Messages by each value of three columns: kind, type, sender_id.
CREATE TABLE counts (
    what TEXT    NOT NULL,
    name TEXT    NOT NULL,
    n    INTEGER NOT NULL,
    PRIMARY KEY (what, name)
) WITHOUT ROWID;

CREATE TABLE task_counts (
    task_id   TEXT    NOT NULL,
    kind      TEXT    NOT NULL,
    type      TEXT    NOT NULL,
    sender_id TEXT    NOT NULL,
    n         INTEGER NOT NULL,
    PRIMARY KEY (task_id, kind, type, sender_id)
) WITHOUT ROWID;

-- The times that stretches of sequences span, in two widths, so that since and
-- until become sequences by reading a handful of rows.
CREATE TABLE time_index (
    width       INTEGER NOT NULL,
    bucket      INTEGER NOT NULL,
    min_created INTEGER NOT NULL,
    max_created INTEGER NOT NULL,
    PRIMARY KEY (width, bucket)
) WITHOUT ROWID;
