-- Work queues. Attempts are JSON arrays of [number, microseconds since 1970, error],
-- kept as text.

CREATE TABLE lease_secret (
    one    boolean PRIMARY KEY DEFAULT true CHECK (one),
    secret bytea   NOT NULL
);

CREATE TABLE queues (
    name          text COLLATE "C" NOT NULL PRIMARY KEY,
    lease_us      bigint           NOT NULL,
    max_deliver   integer          NOT NULL,
    backoff_us    text             NOT NULL,
    -- The longest lease given before the last change, and until when one may be held.
    longest_us    bigint           NOT NULL DEFAULT 0,
    longest_until timestamptz      NOT NULL DEFAULT '-infinity'
);

-- No sequence is ever given twice: a dead letter is known by it.
CREATE TABLE jobs (
    seq      bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue    text COLLATE "C" NOT NULL,
    rank     smallint         NOT NULL,
    -- When it may be leased: after its delay, or when the lease it has runs out.
    due      timestamptz      NOT NULL,
    lease    uuid,
    worker   text COLLATE "C",
    -- Attempts begun.
    attempt  integer          NOT NULL DEFAULT 0,
    attempts text             NOT NULL DEFAULT '[]',
    failed   boolean          NOT NULL DEFAULT false,
    body     bytea            NOT NULL
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX jobs_due   ON jobs (queue, rank, due);
-- Those among which a sweep finds what is spent.
CREATE INDEX jobs_tried ON jobs (due) WHERE attempt > 0;

-- Ids that clients chose, for as long as a repeat is recognised.
CREATE TABLE job_ids (
    queue  text COLLATE "C" NOT NULL,
    id     uuid             NOT NULL,
    seq    bigint           NOT NULL,
    digest bytea            NOT NULL,
    until  timestamptz      NOT NULL,
    PRIMARY KEY (queue, id)
);
CREATE INDEX job_ids_until ON job_ids (until);

-- How attempts of jobs in JetStream ended, if badly. A guess is what is taken to have
-- happened (the lease ran out) unless the attempt's worker says otherwise; its due time is
-- when the lease is over, that of a worker's word when the job may be leased again.
CREATE TABLE job_attempts (
    queue   text COLLATE "C" NOT NULL,
    seq     bigint           NOT NULL,
    attempt integer          NOT NULL,
    at      timestamptz      NOT NULL,
    error   text             NOT NULL,
    due     timestamptz      NOT NULL,
    guess   boolean          NOT NULL,
    PRIMARY KEY (queue, seq, attempt)
);

-- What was done in all queues, since there is nothing left of it.
CREATE TABLE job_totals (
    one  boolean PRIMARY KEY DEFAULT true CHECK (one),
    done bigint  NOT NULL DEFAULT 0
);
INSERT INTO job_totals DEFAULT VALUES;
