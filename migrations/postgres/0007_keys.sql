-- Keys and their secrets, of which only the SHA-256 is kept.
CREATE TABLE keys (
    id           text PRIMARY KEY,
    name         text NOT NULL,
    -- agent, human or service.
    kind         text NOT NULL,
    -- JSON, as the API shows both.
    grants       text NOT NULL,
    limits       text NOT NULL,
    created_at   timestamptz NOT NULL,
    -- The id of the key that made this one; null: the command line or the root key.
    created_by   text,
    expires_at   timestamptz,
    last_used_at timestamptz,
    -- A new one with each change, so that a change based on an older state is refused.
    change       uuid NOT NULL
);

CREATE TABLE key_secrets (
    hash        bytea PRIMARY KEY,
    key_id      text NOT NULL REFERENCES keys (id) ON DELETE CASCADE,
    -- Until when a secret that was replaced is accepted; null: the current one.
    valid_until timestamptz
);
CREATE INDEX key_secrets_key ON key_secrets (key_id);

-- Rises with each change of keys: servers read the keys again when they see another number.
CREATE TABLE keys_version (
    one     integer PRIMARY KEY CHECK (one = 1),
    version bigint NOT NULL
);
INSERT INTO keys_version VALUES (1, 0);

-- Sessions that ended before their time. A row is needed until the session would have ended by itself.
CREATE TABLE revoked_sessions (
    id    uuid PRIMARY KEY,
    until timestamptz NOT NULL
);

-- Who did what: changes of keys, queues, consumers, webhooks and dead letters, log-ins, denials.
CREATE TABLE audit (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL,
    -- The key that acted; null: a caller without a key, or the command line on the store.
    actor_id   text,
    actor_name text NOT NULL,
    action     text NOT NULL,
    target     text NOT NULL,
    -- A JSON object.
    detail     text NOT NULL,
    outcome    text NOT NULL
);

-- The key that made the webhook: it delivers no more than that key may read. Null: made without a key.
ALTER TABLE webhooks ADD COLUMN key_id text;
