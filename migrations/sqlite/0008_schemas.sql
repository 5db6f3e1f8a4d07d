-- Payload schemas: each version of each type's; the newest one counts.
CREATE TABLE schemas (
    kind       TEXT    NOT NULL,
    type       TEXT    NOT NULL,
    -- From 1 on.
    version    INTEGER NOT NULL,
    -- JSON Schema, as it was sent without white space.
    schema     TEXT    NOT NULL,
    -- text or json: what content is.
    content    TEXT    NOT NULL,
    -- off, warn or enforce.
    mode       TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    -- The key that made this version; null: a caller without a key.
    created_by TEXT,
    -- Identifies the call that made it, which may run twice.
    change     BLOB    NOT NULL,
    PRIMARY KEY (kind, type, version)
);

-- The numbers that rise with each change: servers read again what has another number.
ALTER TABLE keys_version RENAME TO versions;
ALTER TABLE versions RENAME COLUMN version TO keys;
ALTER TABLE versions ADD COLUMN schemas INTEGER NOT NULL DEFAULT 0;
