-- Slots that runs hold from their start to their end.
CREATE TABLE holds (run_id TEXT NOT NULL, bucket TEXT NOT NULL, PRIMARY KEY (run_id, bucket)) STRICT, WITHOUT ROWID;
