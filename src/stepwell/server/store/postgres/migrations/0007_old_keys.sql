-- Keys that have expired are found by their time, to be deleted.
CREATE INDEX run_keys_expiring ON stepwell.run_keys (expires_at, function_id, key);
