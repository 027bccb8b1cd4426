-- What paced buckets remember: hosts, and functions with a fetch_throttle.
CREATE TABLE flows (bucket TEXT PRIMARY KEY, data BLOB NOT NULL) STRICT, WITHOUT ROWID;

-- A parked item is claimed at this time whatever holds it back.
ALTER TABLE items ADD COLUMN expires_at INTEGER;
CREATE INDEX items_expiring ON items (expires_at) WHERE gate IS NOT NULL AND expires_at IS NOT NULL;

-- Gates are written in another way from here on: parked items are looked at again.
UPDATE items SET gate = NULL;
