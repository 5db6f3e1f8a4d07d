-- Payload schemas: each version of each type's; the newest one counts.
CREATE TABLE schemas (
    kind       text COLLATE "C" NOT NULL,
    type       text COLLATE "C" NOT NULL,
    -- From 1 on.
    version    bigint           NOT NULL,
    -- JSON Schema, as it was sent without white space.
    schema     text             NOT NULL,
    -- text or json: what content is.
    content    text             NOT NULL,
    -- off, warn or enforce.
    mode       text             NOT NULL,
    created_at timestamptz      NOT NULL,
    -- The key that made this version; null: a caller without a key.
    created_by text,
    -- Identifies the call that made it, which may run twice.
    change     uuid             NOT NULL,
    PRIMARY KEY (kind, type, version)
);

-- The numbers that rise with each change: servers read again what has another number.
ALTER TABLE keys_version RENAME TO versions;
ALTER TABLE versions RENAME COLUMN version TO keys;
ALTER TABLE versions ADD COLUMN schemas bigint NOT NULL DEFAULT 0;
