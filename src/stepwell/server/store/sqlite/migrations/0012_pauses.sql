-- Functions that start no runs, and since when.
CREATE TABLE pauses (function_id TEXT PRIMARY KEY, paused_at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
