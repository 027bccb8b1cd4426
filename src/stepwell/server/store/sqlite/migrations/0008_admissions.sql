-- What limits remember that are decided when an event comes in. idle_at: from then on it means nothing; NULL: not known yet.
CREATE TABLE admissions (bucket TEXT PRIMARY KEY, state BLOB NOT NULL, idle_at INTEGER) STRICT, WITHOUT ROWID;
CREATE INDEX admissions_idle ON admissions (idle_at) WHERE idle_at IS NOT NULL;

-- A key holds until 24 hours after the end of its run.
ALTER TABLE run_keys ADD COLUMN run_id TEXT;
