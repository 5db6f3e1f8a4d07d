-- Odd rows by one token of their subject, so that a filter of subjects does not look at all of
-- them. None says "odd": else the planner could choose messages_odd for the same condition.
CREATE INDEX messages_odd_key  ON messages ((CASE WHEN odd THEN split_part(subject, '.', 3) END), seq NULLS FIRST)
    WHERE (CASE WHEN odd THEN split_part(subject, '.', 3) END) IS NOT NULL;
CREATE INDEX messages_odd_type ON messages ((CASE WHEN odd THEN split_part(subject, '.', 4) END), seq NULLS FIRST)
    WHERE (CASE WHEN odd THEN split_part(subject, '.', 4) END) IS NOT NULL;
CREATE INDEX messages_odd_kind ON messages ((CASE WHEN odd THEN split_part(subject, '.', 2) END), seq NULLS FIRST)
    WHERE (CASE WHEN odd THEN split_part(subject, '.', 2) END) IS NOT NULL;
