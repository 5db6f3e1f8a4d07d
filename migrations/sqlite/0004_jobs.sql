-- Work queues: the same as PostgreSQL's but for types. Times are microseconds since
-- 1970, ids are 16 bytes. Attempts are JSON arrays of [number, microseconds, error].

CREATE TABLE lease_secret (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    secret BLOB    NOT NULL
);

CREATE TABLE queues (
    name          TEXT    NOT NULL PRIMARY KEY,
    lease_us      INTEGER NOT NULL,
    max_deliver   INTEGER NOT NULL,
    backoff_us    TEXT    NOT NULL,
    -- The longest lease given before the last change, and until when one may be held.
    longest_us    INTEGER NOT NULL DEFAULT 0,
    longest_until INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- No sequence is ever given twice: a dead letter is known by it.
CREATE TABLE jobs (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    queue    TEXT    NOT NULL,
    rank     INTEGER NOT NULL,
    -- When it may be leased: after its delay, or when the lease it has runs out.
    due      INTEGER NOT NULL,
    lease    BLOB,
    worker   TEXT,
    -- Attempts begun.
    attempt  INTEGER NOT NULL DEFAULT 0,
    attempts TEXT    NOT NULL DEFAULT '[]',
    failed   INTEGER NOT NULL DEFAULT 0,
    body     BLOB    NOT NULL
);
CREATE INDEX jobs_due   ON jobs (queue, rank, due);
-- Those among which a sweep finds what is spent.
CREATE INDEX jobs_tried ON jobs (due) WHERE attempt > 0;

-- Ids that clients chose, for as long as a repeat is recognised.
CREATE TABLE job_ids (
    queue  TEXT    NOT NULL,
    id     BLOB    NOT NULL,
    seq    INTEGER NOT NULL,
    digest BLOB    NOT NULL,
    until  INTEGER NOT NULL,
    PRIMARY KEY (queue, id)
) WITHOUT ROWID;
CREATE INDEX job_ids_until ON job_ids (until);

-- How attempts of jobs in JetStream ended, if badly. A guess is what is taken to have
-- happened (the lease ran out) unless the attempt's worker says otherwise; its due time is
-- when the lease is over, that of a worker's word when the job may be leased again.
CREATE TABLE job_attempts (
    queue   TEXT    NOT NULL,
    seq     INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    error   TEXT    NOT NULL,
    due     INTEGER NOT NULL,
    guess   INTEGER NOT NULL,
    PRIMARY KEY (queue, seq, attempt)
) WITHOUT ROWID;

-- What was done in all queues, since there is nothing left of it.
CREATE TABLE job_totals (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    done INTEGER NOT NULL DEFAULT 0
);
INSERT INTO job_totals (one) VALUES (1);
