-- seq: the place in the order of waits and items. path, value: what an event must have there to be the one ('': nothing).
-- signal: what a step waits for that waits for a signal and not for an event.
CREATE TABLE new_waits (
    run_id TEXT NOT NULL,
    step_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    name TEXT NOT NULL,
    path TEXT NOT NULL,
    value BLOB NOT NULL,
    signal TEXT,
    data BLOB NOT NULL,
    PRIMARY KEY (run_id, step_id)
) STRICT, WITHOUT ROWID;
INSERT INTO new_waits (run_id, step_id, seq, name, path, value, signal, data)
SELECT run_id, step_id, row_number() OVER (ORDER BY run_id, step_id) - (SELECT count(*) FROM waits) - 1, name, '', x'', NULL, data
FROM waits;
DROP TABLE waits;
ALTER TABLE new_waits RENAME TO waits;
CREATE INDEX waits_of_name ON waits (name, path, value, seq);
CREATE INDEX waits_in_order ON waits (seq);
CREATE INDEX waits_of_signal ON waits (signal) WHERE signal IS NOT NULL;
