-- Agents, tasks and inboxes, folded from the log by the write that moves the
-- watermark. What the log holds already is folded here; a server that is writing
-- meanwhile waits for this row, and takes its lease anew.
UPDATE log_state SET lease_epoch = lease_epoch + 1;

CREATE TABLE agents (
    agent_id   text COLLATE "C" NOT NULL PRIMARY KEY,
    role       text,
    status     text,
    status_seq bigint,
    since      timestamptz,
    last_seen  timestamptz,
    expires_at timestamptz
) WITH (fillfactor = 50);
CREATE INDEX agents_expiring ON agents (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE tasks (
    task_id     text COLLATE "C" NOT NULL PRIMARY KEY,
    outcome     text,
    last_event  text,
    messages    bigint NOT NULL,
    events      bigint NOT NULL,
    late_events bigint NOT NULL,
    first_seq   bigint NOT NULL,
    last_seq    bigint NOT NULL
) WITH (fillfactor = 80);
CREATE INDEX tasks_open ON tasks (task_id) WHERE outcome IS NULL;
CREATE INDEX tasks_done ON tasks (task_id) WHERE outcome IS NOT NULL;

-- What was received stands apart from what was consumed, which clients write: so
-- the writer of the log waits for no client, and no client for it.
CREATE TABLE inboxes (
    agent_id      text COLLATE "C" NOT NULL PRIMARY KEY,
    received      bigint NOT NULL,
    last_expiring bigint
) WITH (fillfactor = 50);
CREATE TABLE inbox_cursors (
    agent_id         text COLLATE "C" NOT NULL PRIMARY KEY,
    consumed_through bigint NOT NULL,
    consumed         bigint NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX messages_expiring ON messages (recipient_id, seq NULLS FIRST) INCLUDE (expires_at)
    WHERE recipient_id IS NOT NULL AND expires_at IS NOT NULL;

-- A body that another program wrote may be no JSON in PostgreSQL's eyes.
CREATE FUNCTION ttl_of(body bytea) RETURNS interval LANGUAGE plpgsql AS $$
DECLARE
    ttl json;
BEGIN
    IF position('ttl_s'::bytea IN body) = 0 THEN RETURN NULL; END IF;
    ttl := convert_from(body, 'UTF8')::json -> 'metadata' -> 'ttl_s';
    IF ttl::text ~ '^[0-9]{1,5}$' AND ttl::text::int BETWEEN 1 AND 86400 THEN
        RETURN make_interval(secs => ttl::text::int);
    END IF;
    RETURN NULL;
EXCEPTION WHEN others THEN
    RETURN NULL;
END $$;

INSERT INTO agents (agent_id, role, status, status_seq, since, last_seen, expires_at)
SELECT sender.name, role.sender_role, status.type, status.seq, run.created_at,
    CASE WHEN coalesce(status.seq, -1) > coalesce(said.seq, -1)
        THEN status.created_at ELSE said.created_at END,
    status.created_at + ttl_of(status.body)
FROM counts sender
LEFT JOIN LATERAL (
    SELECT seq, type, created_at, body FROM messages
    WHERE sender_id = sender.name AND kind = 'status' ORDER BY seq DESC NULLS LAST LIMIT 1
) status ON true
LEFT JOIN LATERAL (
    SELECT seq, created_at FROM messages
    WHERE sender_id = sender.name AND kind = 'message' ORDER BY seq DESC NULLS LAST LIMIT 1
) said ON true
LEFT JOIN LATERAL (
    SELECT created_at FROM messages
    WHERE sender_id = sender.name AND kind = 'status' AND seq > coalesce((
        SELECT seq FROM messages
        WHERE sender_id = sender.name AND kind = 'status' AND type <> status.type
        ORDER BY seq DESC NULLS LAST LIMIT 1), -1)
    ORDER BY seq NULLS FIRST LIMIT 1
) run ON true
LEFT JOIN LATERAL (
    SELECT sender_role FROM (
        (SELECT seq, sender_role FROM messages
         WHERE sender_id = sender.name AND kind = 'status' AND sender_role IS NOT NULL
         ORDER BY seq DESC NULLS LAST LIMIT 1)
        UNION ALL
        (SELECT seq, sender_role FROM messages
         WHERE sender_id = sender.name AND kind = 'message' AND sender_role IS NOT NULL
         ORDER BY seq DESC NULLS LAST LIMIT 1)
    ) roles ORDER BY seq DESC LIMIT 1
) role ON true
WHERE sender.what = 'sender_id' AND (status.seq IS NOT NULL OR said.seq IS NOT NULL);
DROP FUNCTION ttl_of(bytea);

INSERT INTO tasks (task_id, outcome, last_event, messages, events, late_events, first_seq, last_seq)
SELECT task.task_id, ending.type, latest.type, task.messages, task.events,
    (SELECT count(*) FROM messages late
     WHERE late.task_id = task.task_id AND late.kind = 'task' AND late.seq > task.end_seq),
    task.first_seq, task.last_seq
FROM (
    SELECT task_id, count(*) AS messages, count(*) FILTER (WHERE kind = 'task') AS events,
        min(seq) AS first_seq, max(seq) AS last_seq,
        max(seq) FILTER (WHERE kind = 'task') AS event_seq,
        min(seq) FILTER (WHERE kind = 'task' AND type IN ('completed', 'failed', 'cancelled')) AS end_seq
    FROM messages WHERE task_id IS NOT NULL GROUP BY task_id
) task
LEFT JOIN messages ending ON ending.seq = task.end_seq
LEFT JOIN messages latest ON latest.seq = task.event_seq;

INSERT INTO inboxes (agent_id, received, last_expiring)
SELECT recipient_id, count(*), max(seq) FILTER (WHERE expires_at IS NOT NULL)
FROM messages WHERE recipient_id IS NOT NULL GROUP BY recipient_id;
