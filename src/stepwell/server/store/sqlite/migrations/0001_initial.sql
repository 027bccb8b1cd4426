CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
-- Claim numbers up to this one may have been given out.
INSERT INTO meta (name, value) VALUES ('claims', 0);

CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    function_id TEXT NOT NULL,
    status TEXT NOT NULL,
    version INTEGER NOT NULL,
    queued_at INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE INDEX runs_of_function ON runs (function_id, run_id);
CREATE INDEX runs_of_status ON runs (status, run_id);

CREATE TABLE steps (
    run_id TEXT NOT NULL,
    step_id TEXT NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (run_id, step_id)
) STRICT;

CREATE TABLE events (internal_id TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT;

CREATE TABLE runs_of_event (
    event_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (event_id, run_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE run_keys (
    function_id TEXT NOT NULL,
    key TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    PRIMARY KEY (function_id, key)
) STRICT, WITHOUT ROWID;

-- seq: the place among items due at the same time. owner: who claimed it. gate: the limit that held it back.
CREATE TABLE items (
    seq INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    claim INTEGER NOT NULL,
    owner TEXT,
    gate TEXT,
    attempt INTEGER NOT NULL,
    rescues INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (run_id, key)
) STRICT;
CREATE INDEX items_ready ON items (due_at, seq) WHERE owner IS NULL AND gate IS NULL;
CREATE INDEX items_parked ON items (gate, due_at, seq) WHERE gate IS NOT NULL;

CREATE TABLE owners (owner TEXT PRIMARY KEY, expires_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE bodies (ref TEXT PRIMARY KEY, run_id TEXT NOT NULL, data BLOB NOT NULL) STRICT;
CREATE INDEX bodies_of_run ON bodies (run_id);

CREATE TABLE apps (app_id TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID;
