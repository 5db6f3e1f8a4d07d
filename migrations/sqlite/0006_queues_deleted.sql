-- Which making of a queue this is: another one after it was deleted and made again.
ALTER TABLE queues ADD COLUMN made BLOB;

-- The store's time, which leases and delays are counted by, and what the wall clock said then;
-- both in microseconds. It goes on from here after a restart.
CREATE TABLE store_time (
    one  INTEGER PRIMARY KEY CHECK (one = 1),
    at   INTEGER NOT NULL,
    wall INTEGER NOT NULL
);
