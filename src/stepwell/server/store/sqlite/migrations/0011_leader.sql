-- Which process starts crons and deletes what is old, and until when; at most one row.
CREATE TABLE leader (one INTEGER PRIMARY KEY, owner TEXT NOT NULL, expires_at INTEGER NOT NULL) STRICT;
