-- Keys and their secrets, of which only the SHA-256 is kept.
CREATE TABLE keys (
    id           TEXT PRIMARY KEY,
    name         TEXT NOT NULL,
    -- agent, human or service.
    kind         TEXT NOT NULL,
    -- JSON, as the API shows both.
    grants       TEXT NOT NULL,
    limits       TEXT NOT NULL,
    created_at   INTEGER NOT NULL,
    -- The id of the key that made this one; null: the command line or the root key.
    created_by   TEXT,
    expires_at   INTEGER,
    last_used_at INTEGER,
    -- A new one with each change, so that a change based on an older state is refused.
    change       BLOB NOT NULL
);

CREATE TABLE key_secrets (
    hash        BLOB PRIMARY KEY,
    key_id      TEXT NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    -- Until when a secret that was replaced is accepted; null: the current one.
    valid_until INTEGER
);
CREATE INDEX key_secrets_key ON key_secrets (key_id);

-- Rises with each change of keys: servers read the keys again when they see another number.
CREATE TABLE keys_version (
    one     INTEGER PRIMARY KEY CHECK (one = 1),
    version INTEGER NOT NULL
);
INSERT INTO keys_version VALUES (1, 0);

-- Sessions that ended before their time. A row is needed until the session would have ended by itself.
CREATE TABLE revoked_sessions (
    id    BLOB PRIMARY KEY,
    until INTEGER NOT NULL
);

-- Who did what: changes of keys, queues, consumers, webhooks and dead letters, log-ins, denials.
CREATE TABLE audit (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    at         INTEGER NOT NULL,
    -- The key that acted; null: a caller without a key, or the command line on the store.
    actor_id   TEXT,
    actor_name TEXT NOT NULL,
    action     TEXT NOT NULL,
    target     TEXT NOT NULL,
    -- A JSON object.
    detail     TEXT NOT NULL,
    outcome    TEXT NOT NULL
);

-- The key that made the webhook: it delivers no more than that key may read. Null: made without a key.
ALTER TABLE webhooks ADD COLUMN key_id TEXT;
