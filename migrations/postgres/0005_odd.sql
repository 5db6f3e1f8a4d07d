-- Odd rows by one token of their subject, so that a filter of subjects does not look at all of
-- them. None says "odd": else the planner could choose messages_odd for the same condition.
-- Only a token's first characters: a foreign one may be longer than an index takes.
CREATE INDEX messages_odd_key ON messages (
    (CASE WHEN odd THEN left(split_part(subject, '.', 3), 64) END), seq NULLS FIRST
) WHERE (CASE WHEN odd THEN left(split_part(subject, '.', 3), 64) END) IS NOT NULL;
CREATE INDEX messages_odd_type ON messages (
    (CASE WHEN odd THEN left(split_part(subject, '.', 4), 64) END), seq NULLS FIRST
) WHERE (CASE WHEN odd THEN left(split_part(subject, '.', 4), 64) END) IS NOT NULL;
CREATE INDEX messages_odd_kind ON messages (
    (CASE WHEN odd THEN left(split_part(subject, '.', 2), 64) END), seq NULLS FIRST
) WHERE (CASE WHEN odd THEN left(split_part(subject, '.', 2), 64) END) IS NOT NULL;
