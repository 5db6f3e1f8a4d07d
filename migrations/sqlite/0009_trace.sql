-- The trace that a job belongs to, as the headers of the job in NATS: JSON, [[name, value], ...].
-- The trace of a message stands in its foreign_headers, without a foreign_payload.
ALTER TABLE jobs ADD COLUMN trace BLOB;
