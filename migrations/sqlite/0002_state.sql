-- Agents, tasks and inboxes; the same as PostgreSQL's but for types.

CREATE TABLE agents (
    agent_id   TEXT NOT NULL PRIMARY KEY,
    role       TEXT,
    status     TEXT,
    status_seq INTEGER,
    since      INTEGER,
    last_seen  INTEGER,
    expires_at INTEGER
) WITHOUT ROWID;
CREATE INDEX agents_expiring ON agents (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE tasks (
    task_id     TEXT    NOT NULL PRIMARY KEY,
    outcome     TEXT,
    last_event  TEXT,
    messages    INTEGER NOT NULL,
    events      INTEGER NOT NULL,
    late_events INTEGER NOT NULL,
    first_seq   INTEGER NOT NULL,
    last_seq    INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX tasks_open ON tasks (task_id) WHERE outcome IS NULL;
CREATE INDEX tasks_done ON tasks (task_id) WHERE outcome IS NOT NULL;

CREATE TABLE inboxes (
    agent_id      TEXT    NOT NULL PRIMARY KEY,
    received      INTEGER NOT NULL,
    last_expiring INTEGER
) WITHOUT ROWID;
CREATE TABLE inbox_cursors (
    agent_id         TEXT    NOT NULL PRIMARY KEY,
    consumed_through INTEGER NOT NULL,
    consumed         INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX messages_expiring ON messages (recipient_id, seq, expires_at)
    WHERE recipient_id IS NOT NULL AND expires_at IS NOT NULL;

INSERT INTO agents (agent_id, role, status, status_seq, since, last_seen, expires_at)
WITH latest AS (
    SELECT name AS agent_id,
        (SELECT max(seq) FROM messages WHERE sender_id = name AND kind = 'status') AS status_seq,
        (SELECT max(seq) FROM messages WHERE sender_id = name AND kind <> 'task') AS seen_seq,
        (SELECT max(seq) FROM messages
         WHERE sender_id = name AND kind <> 'task' AND sender_role IS NOT NULL) AS role_seq
    FROM counts WHERE what = 'sender_id'
)
SELECT latest.agent_id, role.sender_role, status.type, status.seq,
    (SELECT created_at FROM messages
     WHERE sender_id = latest.agent_id AND kind = 'status' AND seq > coalesce((
        SELECT max(other.seq) FROM messages other
        WHERE other.sender_id = latest.agent_id AND other.kind = 'status'
            AND other.type <> status.type), -1)
     ORDER BY seq LIMIT 1),
    seen.created_at,
    -- A blob would be read as SQLite's own binary JSON.
    CASE WHEN json_valid(CAST(status.body AS TEXT))
            AND json_type(CAST(status.body AS TEXT), '$.metadata.ttl_s') = 'integer'
            AND json_extract(CAST(status.body AS TEXT), '$.metadata.ttl_s') BETWEEN 1 AND 86400
        THEN status.created_at
            + 1000000 * json_extract(CAST(status.body AS TEXT), '$.metadata.ttl_s') END
FROM latest
JOIN messages seen ON seen.seq = latest.seen_seq
LEFT JOIN messages status ON status.seq = latest.status_seq
LEFT JOIN messages role ON role.seq = latest.role_seq;

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
