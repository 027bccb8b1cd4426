-- Steps that wait for an event of a name, and runs that one may cancel.
CREATE TABLE waits (
    run_id TEXT NOT NULL,
    step_id TEXT NOT NULL,
    name TEXT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (run_id, step_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX waits_of_name ON waits (name);
