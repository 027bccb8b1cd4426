-- The processes of the platform, each with the time of its newest beat.
CREATE TABLE workers (worker_id TEXT PRIMARY KEY, beat_at INTEGER NOT NULL, data BLOB NOT NULL) STRICT, WITHOUT ROWID;
