-- The log as PostgreSQL keeps it. Rows, counters and the watermark move in one
-- statement; nothing here is ever updated but counters and log_state.

CREATE TABLE log_state (
    one               boolean     PRIMARY KEY DEFAULT true CHECK (one),
    committed_through bigint      NOT NULL DEFAULT 0,
    bus               text,
    stream_epoch      uuid,
    lease_owner       uuid,
    lease_epoch       bigint      NOT NULL DEFAULT 0,
    lease_until       timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);
INSERT INTO log_state DEFAULT VALUES;

-- Partitions of PARTITION_SEQS sequences are attached by the writer.
CREATE TABLE messages (
    seq             bigint                NOT NULL PRIMARY KEY,
    id              uuid                  NOT NULL,
    kind            text COLLATE "C"      NOT NULL,
    type            text COLLATE "C"      NOT NULL,
    subject         text COLLATE "C"      NOT NULL,
    sender_id       text COLLATE "C"      NOT NULL,
    sender_role     text COLLATE "C",
    recipient_id    text COLLATE "C",
    task_id         text COLLATE "C",
    conversation_id text COLLATE "C",
    in_reply_to     uuid,
    expires_at      timestamptz,
    created_at      timestamptz           NOT NULL,
    logged_at       timestamptz           NOT NULL,
    body            bytea                 NOT NULL,
    foreign_payload bytea,
    -- JSON as bytes: a header may hold what text and jsonb refuse.
    foreign_headers bytea,
    -- Whether the subject is another than the columns derive.
    odd             boolean               NOT NULL DEFAULT false
) PARTITION BY RANGE (seq);

-- Every index ends in "seq NULLS FIRST" and every filtered query orders by that.
-- seq is never null, so the order is the plain one; but the primary key, being
-- NULLS LAST, cannot deliver it, and the planner cannot walk the whole log in
-- the hope of meeting a value that it believes to be common.
CREATE INDEX messages_id           ON messages (id, seq NULLS FIRST);
CREATE INDEX messages_reply        ON messages (in_reply_to, seq NULLS FIRST) WHERE in_reply_to IS NOT NULL;
CREATE INDEX messages_conversation ON messages (conversation_id, seq NULLS FIRST) WHERE conversation_id IS NOT NULL;
CREATE INDEX messages_task         ON messages (task_id, seq NULLS FIRST) WHERE task_id IS NOT NULL;
CREATE INDEX messages_recipient    ON messages (recipient_id, seq NULLS FIRST) WHERE recipient_id IS NOT NULL;
-- One text for the two names: else the planner may take the index of one of them.
CREATE INDEX messages_pair         ON messages ((sender_id || ' ' || recipient_id), seq NULLS FIRST) WHERE recipient_id IS NOT NULL;
CREATE INDEX messages_sender_type  ON messages (sender_id, type, seq NULLS FIRST);
CREATE INDEX messages_sender_kind  ON messages (sender_id, kind, seq NULLS FIRST);
CREATE INDEX messages_role         ON messages (sender_role, seq NULLS FIRST) WHERE kind = 'message';
CREATE INDEX messages_type         ON messages (type, kind, seq NULLS FIRST);
-- Kind, in two halves: the first is the index of broadcasts too.
CREATE INDEX messages_broadcast    ON messages (kind, seq NULLS FIRST) WHERE recipient_id IS NULL;
CREATE INDEX messages_direct       ON messages (kind, seq NULLS FIRST) WHERE recipient_id IS NOT NULL;
CREATE INDEX messages_odd          ON messages (seq NULLS FIRST) WHERE odd;

CREATE TABLE holes (
    from_seq bigint NOT NULL PRIMARY KEY,
    to_seq   bigint NOT NULL,
    reason   text   NOT NULL
);

-- Messages by each value of three columns: kind, type, sender_id.
CREATE TABLE counts (
    what text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    n    bigint           NOT NULL,
    PRIMARY KEY (what, name)
) WITH (fillfactor = 50);

CREATE TABLE task_counts (
    task_id   text COLLATE "C" NOT NULL,
    kind      text COLLATE "C" NOT NULL,
    type      text COLLATE "C" NOT NULL,
    sender_id text COLLATE "C" NOT NULL,
    n         bigint           NOT NULL,
    PRIMARY KEY (task_id, kind, type, sender_id)
) WITH (fillfactor = 80);

-- The times that stretches of sequences span, in two widths, so that since and
-- until become sequences by reading a handful of rows.
CREATE TABLE time_index (
    width       bigint      NOT NULL,
    bucket      bigint      NOT NULL,
    min_created timestamptz NOT NULL,
    max_created timestamptz NOT NULL,
    PRIMARY KEY (width, bucket)
) WITH (fillfactor = 80);
