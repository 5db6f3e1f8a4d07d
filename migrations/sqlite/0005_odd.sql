-- Odd rows by one token of their subject, so that a filter of subjects does not look at all of them.
CREATE INDEX messages_odd_key  ON messages (odd ->> '$[2]') WHERE odd IS NOT NULL;
CREATE INDEX messages_odd_type ON messages (odd ->> '$[3]') WHERE odd IS NOT NULL;
CREATE INDEX messages_odd_kind ON messages (odd ->> '$[1]') WHERE odd IS NOT NULL;
