-- Many runs ended at once: what was asked for; and the runs that have not ended, by function.
CREATE TABLE cancellations (cancellation_id TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE INDEX runs_active ON runs (function_id, run_id) WHERE status IN ('queued', 'running');
