-- Messages that were erased, or are being erased. The row is the intent: any server finishes it.
CREATE TABLE erasures (
    seq    INTEGER NOT NULL PRIMARY KEY,
    id     BLOB    NOT NULL,
    -- The erased form of the message.
    body   BLOB    NOT NULL,
    reason TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    -- The number of the change that finished it; null until then.
    change INTEGER
);
CREATE INDEX erasures_change ON erasures (change, seq);

-- Rises with each erasure that is finished.
ALTER TABLE versions ADD COLUMN erasures INTEGER NOT NULL DEFAULT 0;

-- What a process still has in memory of a message must not be kept again.
CREATE TRIGGER set_aside_erased AFTER INSERT ON set_aside
    WHEN EXISTS (SELECT 1 FROM erasures WHERE seq = new.seq) BEGIN
    UPDATE set_aside SET body = (SELECT body FROM erasures WHERE seq = new.seq), attempts = ''
    WHERE consumer = new.consumer AND seq = new.seq;
END;
CREATE TRIGGER dead_letters_erased AFTER INSERT ON dead_letters
    WHEN new.kind = 'message' AND EXISTS (SELECT 1 FROM erasures WHERE seq = new.seq) BEGIN
    UPDATE dead_letters SET body = (SELECT body FROM erasures WHERE seq = new.seq), attempts = '',
        reason = 'the message was erased'
    WHERE kind = new.kind AND source = new.source AND seq = new.seq;
END;
