-- Events are listed by time and by name, runs by app. Older rows are read once, by functions of the program.
ALTER TABLE events ADD COLUMN received_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN name TEXT NOT NULL DEFAULT '';
UPDATE events SET received_at = event_received_at(data), name = event_name(data);
CREATE INDEX events_by_time ON events (received_at, internal_id);
CREATE INDEX events_of_name ON events (name, received_at, internal_id);

ALTER TABLE runs ADD COLUMN app_id TEXT NOT NULL DEFAULT '';
UPDATE runs SET app_id = run_app_id(data);
CREATE INDEX runs_of_app ON runs (app_id, run_id);
