-- Every statement of the store, each under its name. Statements with VALUES (...) are multiplied for many rows at once.

-- name: versions
SELECT json_group_array(json_array(run_id, version)) FROM runs WHERE run_id IN (SELECT value FROM json_each(?));

-- name: keys
SELECT function_id, key, expires_at, run_id FROM run_keys WHERE (function_id, key) IN (VALUES (?, ?));

-- name: headers
SELECT run_id, data FROM runs WHERE run_id IN (SELECT value FROM json_each(?));

-- name: admissions
SELECT bucket, state FROM admissions WHERE bucket IN (SELECT value FROM json_each(?));

-- name: put_admissions
INSERT INTO admissions (bucket, state, idle_at) VALUES (?, ?, ?)
ON CONFLICT (bucket) DO UPDATE SET state = excluded.state, idle_at = excluded.idle_at;

-- name: drop_admissions
DELETE FROM admissions WHERE bucket IN (SELECT value FROM json_each(?));

-- name: forget_admissions
DELETE FROM admissions
WHERE bucket IN (SELECT bucket FROM admissions WHERE idle_at <= ? ORDER BY idle_at LIMIT ?);

-- name: put_events
INSERT INTO events (internal_id, received_at, name, data) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: put_keys
INSERT INTO run_keys (function_id, key, expires_at, run_id) VALUES (?, ?, ?, ?)
ON CONFLICT (function_id, key) DO UPDATE SET expires_at = excluded.expires_at, run_id = excluded.run_id;

-- name: put_runs
INSERT INTO runs (run_id, function_id, app_id, status, version, queued_at, data) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run_id) DO UPDATE SET status = excluded.status, version = excluded.version, data = excluded.data;

-- name: put_links
INSERT INTO runs_of_event (event_id, run_id) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: put_steps
INSERT INTO steps (run_id, step_id, data) VALUES (?, ?, ?)
ON CONFLICT (run_id, step_id) DO UPDATE SET data = excluded.data;

-- name: put_bodies
INSERT INTO bodies (ref, run_id, data) VALUES (?, ?, ?)
ON CONFLICT (ref) DO UPDATE SET run_id = excluded.run_id, data = excluded.data;

-- name: put_waits
INSERT INTO waits (run_id, step_id, seq, name, path, value, signal, data) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run_id, step_id) DO UPDATE SET seq = excluded.seq, name = excluded.name, path = excluded.path,
    value = excluded.value, signal = excluded.signal, data = excluded.data;

-- name: drop_waits
DELETE FROM waits WHERE (run_id, step_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?));

-- name: stored_waits
SELECT run_id, step_id FROM waits
WHERE (run_id, step_id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?));

-- name: waited
SELECT value FROM json_each(?) AS asked WHERE EXISTS (SELECT 1 FROM waits WHERE name = asked.value);

-- name: signal_holders
SELECT signal, run_id, step_id FROM waits WHERE signal IN (SELECT value FROM json_each(?));

-- name: find_waits
SELECT seq, data FROM waits WHERE name = ? AND path = ? AND value = ? AND seq > ? AND seq < ? ORDER BY seq LIMIT ?;

-- name: waited_places
WITH RECURSIVE place (path) AS (
    SELECT min(path) FROM waits WHERE name = :name AND path > ''
    UNION ALL
    SELECT (SELECT min(path) FROM waits WHERE name = :name AND path > place.path) FROM place WHERE place.path IS NOT NULL
)
SELECT (SELECT seq FROM waits WHERE name = :name AND path = place.path LIMIT 1),
    (SELECT data FROM waits WHERE name = :name AND path = place.path LIMIT 1)
FROM place WHERE place.path IS NOT NULL;

-- name: find_signal
SELECT seq, data FROM waits WHERE signal = ?;

-- name: item_seq
SELECT seq FROM items WHERE run_id = ? AND key = ?;

-- name: waiting_names
WITH RECURSIVE found (name) AS (
    SELECT min(name) FROM waits WHERE name > ''
    UNION ALL
    SELECT (SELECT min(name) FROM waits WHERE name > found.name) FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL;

-- name: put_cancellations
INSERT INTO cancellations (cancellation_id, data) VALUES (?, ?)
ON CONFLICT (cancellation_id) DO UPDATE SET data = excluded.data;

-- name: cancellations
SELECT data FROM cancellations ORDER BY cancellation_id DESC;

-- name: drop_cancellations
DELETE FROM cancellations WHERE cancellation_id IN (SELECT value FROM json_each(?));

-- name: largest_gates
SELECT gate, count(*) AS waiting FROM items WHERE gate IS NOT NULL GROUP BY gate ORDER BY waiting DESC, gate LIMIT ?;

-- name: behind_gate
SELECT items.data, items.claim, items.attempt, items.rescues, runs.function_id
FROM items LEFT JOIN runs ON runs.run_id = items.run_id
WHERE items.gate = ? ORDER BY items.due_at, items.seq LIMIT ?;

-- name: keys_of
SELECT key FROM run_keys WHERE function_id = ? ORDER BY key;

-- name: pauses
SELECT function_id, paused_at FROM pauses ORDER BY function_id;

-- name: put_pause
INSERT INTO pauses (function_id, paused_at) VALUES (?, ?) ON CONFLICT (function_id) DO NOTHING;

-- name: drop_pause
DELETE FROM pauses WHERE function_id = ?;

-- name: drop_items
DELETE FROM items WHERE run_id IN (SELECT value FROM json_each(?));

-- name: delete_items
DELETE FROM items WHERE seq IN (SELECT value FROM json_each(?));

-- name: put_items
INSERT INTO items (seq, run_id, key, due_at, claim, owner, gate, attempt, rescues, expires_at, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run_id, key) DO UPDATE SET seq = excluded.seq, due_at = excluded.due_at,
    claim = max(claim, excluded.claim), owner = excluded.owner, gate = excluded.gate, attempt = excluded.attempt,
    rescues = excluded.rescues, expires_at = excluded.expires_at, data = excluded.data;

-- name: touch_item
UPDATE items SET attempt = ? WHERE run_id = ? AND key = ?;

-- name: claim_items
UPDATE items SET owner = ?, gate = NULL, claim = pairs.value ->> 1 FROM json_each(?) AS pairs
WHERE seq = pairs.value ->> 0;

-- name: park_item
UPDATE items SET gate = ? WHERE seq = ?;

-- name: free_items
UPDATE items SET owner = NULL, rescues = rescues + ? WHERE seq IN (SELECT value FROM json_each(?));

-- name: reserve_claims
UPDATE meta SET value = ? WHERE name = 'claims';

-- name: reserved_claims
SELECT value FROM meta WHERE name = 'claims';

-- name: last_seq
SELECT max(coalesce((SELECT max(seq) FROM items), 0), coalesce((SELECT max(seq) FROM waits), 0));

-- name: claimed_items
SELECT seq, run_id, key, claim, owner, data FROM items WHERE owner IS NOT NULL;

-- name: gates
SELECT DISTINCT gate FROM items WHERE gate IS NOT NULL;

-- name: ready_items
SELECT seq, run_id, key, due_at, claim, attempt, rescues, gate, data FROM items
WHERE owner IS NULL AND gate IS NULL AND due_at <= ? ORDER BY due_at, seq;

-- name: parked_items
SELECT seq, run_id, key, due_at, claim, attempt, rescues, gate, data FROM items
WHERE gate = ? ORDER BY due_at, seq;

-- name: expired_items
SELECT seq, run_id, key, due_at, claim, attempt, rescues, gate, data FROM items
WHERE gate IS NOT NULL AND expires_at <= ? ORDER BY due_at, seq;

-- name: next_expiry
SELECT min(expires_at) FROM items WHERE gate IS NOT NULL AND expires_at > ?;

-- name: flows
SELECT bucket, data FROM flows;

-- name: put_flows
INSERT INTO flows (bucket, data) VALUES (?, ?) ON CONFLICT (bucket) DO UPDATE SET data = excluded.data;

-- name: drop_flows
DELETE FROM flows WHERE bucket IN (SELECT value FROM json_each(?));

-- name: holds
SELECT run_id, bucket FROM holds;

-- name: put_holds
INSERT INTO holds (run_id, bucket) VALUES (?, ?) ON CONFLICT DO NOTHING;

-- name: drop_holds
DELETE FROM holds WHERE run_id IN (SELECT value FROM json_each(?));

-- name: due_of_run
SELECT data, claim, attempt, rescues FROM items WHERE run_id = ? AND owner IS NULL AND due_at <= ? ORDER BY due_at, seq;

-- name: next_due
SELECT due_at FROM items WHERE owner IS NULL AND gate IS NULL AND due_at > ? ORDER BY due_at LIMIT 1;

-- name: put_lease
INSERT INTO owners (owner, expires_at) VALUES (?, ?) ON CONFLICT (owner) DO UPDATE SET expires_at = excluded.expires_at;

-- name: end_leases
DELETE FROM owners WHERE expires_at <= ?;

-- name: forget_leases
DELETE FROM owners;

-- name: forget_leader
DELETE FROM leader;

-- name: leases
SELECT owner FROM owners;

-- name: put_worker
INSERT INTO workers (worker_id, beat_at, data) VALUES (?, ?, ?)
ON CONFLICT (worker_id) DO UPDATE SET beat_at = excluded.beat_at, data = excluded.data;

-- name: forget_workers
DELETE FROM workers WHERE beat_at < ? AND worker_id <> ?;

-- name: workers
SELECT data FROM workers ORDER BY worker_id;

-- name: drop_worker
DELETE FROM workers WHERE worker_id = ?;

-- name: lead
INSERT INTO leader (one, owner, expires_at) VALUES (1, :owner, :expires_at)
ON CONFLICT (one) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
    WHERE leader.owner = excluded.owner OR leader.expires_at <= :now
RETURNING 1;

-- name: resign
DELETE FROM leader WHERE owner = ?;

-- name: put_app
INSERT INTO apps (app_id, data) VALUES (?, ?) ON CONFLICT (app_id) DO UPDATE SET data = excluded.data;

-- name: apps
SELECT data FROM apps ORDER BY app_id;

-- name: run
SELECT data FROM runs WHERE run_id = ?;

-- name: event
SELECT data FROM events WHERE internal_id = ?;

-- name: steps_of_run
SELECT data FROM steps WHERE run_id = ?;

-- name: items_of_run
SELECT data, claim, attempt, rescues FROM items WHERE run_id = ? ORDER BY due_at, seq;

-- name: list_runs
SELECT data FROM runs WHERE run_id < :before AND run_id > :after ORDER BY run_id DESC LIMIT :limit;

-- name: list_runs_of_status
SELECT data FROM runs WHERE status = :status AND run_id < :before AND run_id > :after ORDER BY run_id DESC LIMIT :limit;

-- name: list_runs_of_function
SELECT data FROM runs WHERE function_id = :function_id AND run_id < :before AND run_id > :after
    AND (:status IS NULL OR status = :status) AND (:app_id IS NULL OR app_id = :app_id)
ORDER BY run_id DESC LIMIT :limit;

-- name: list_active_runs
SELECT data FROM runs WHERE function_id = :function_id AND status IN ('queued', 'running')
    AND run_id < :before AND run_id > :after AND (:app_id IS NULL OR app_id = :app_id)
    AND (:status IS NULL OR status = :status)
ORDER BY run_id DESC LIMIT :limit;

-- name: list_runs_of_app
SELECT data FROM runs WHERE app_id = :app_id AND run_id < :before AND run_id > :after
    AND (:status IS NULL OR status = :status)
ORDER BY run_id DESC LIMIT :limit;

-- name: list_events
SELECT data FROM events WHERE (received_at, internal_id) < (:at, :event_id) AND received_at > :after AND received_at < :until
ORDER BY received_at DESC, internal_id DESC LIMIT :limit;

-- name: list_events_of_name
SELECT data FROM events WHERE name = :name AND (received_at, internal_id) < (:at, :event_id)
    AND received_at > :after AND received_at < :until
ORDER BY received_at DESC, internal_id DESC LIMIT :limit;

-- name: list_runs_of_event
SELECT runs.data FROM runs_of_event AS link JOIN runs ON runs.run_id = link.run_id
WHERE link.event_id = :event_id AND link.run_id < :before AND link.run_id > :after
    AND (:status IS NULL OR runs.status = :status) AND (:function_id IS NULL OR runs.function_id = :function_id)
    AND (:app_id IS NULL OR runs.app_id = :app_id)
ORDER BY link.run_id DESC LIMIT :limit;

-- name: body
SELECT coalesce(substr(data, ? + 1), x''), pieces, size FROM bodies WHERE ref = ?;

-- name: body_part
SELECT coalesce(substr(data, ? + 1, ?), x''), pieces, size FROM bodies WHERE ref = ?;

-- name: body_pieces
SELECT coalesce(substr(data, max(:start - start, 0) + 1, min(:end - max(start, :start), 1 << 30)), x'') FROM body_pieces
WHERE ref = :ref AND start < :end
    AND start >= (SELECT max(start) FROM body_pieces WHERE ref = :ref AND start <= :start)
ORDER BY start;

-- name: drop_pieces
DELETE FROM body_pieces WHERE rowid IN (SELECT rowid FROM body_pieces WHERE ref = ? LIMIT ?);

-- name: keep_body
INSERT INTO bodies (ref, run_id, data, size) VALUES (?, ?, x'', ?);

-- name: put_arriving
INSERT INTO arriving (ref, run_id, key, claim) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING;

-- name: end_arriving
UPDATE arriving SET claim = NULL WHERE ref = ?;

-- name: drop_arriving
DELETE FROM arriving WHERE ref = ?;

-- name: all_arriving
SELECT ref, run_id, key, claim FROM arriving;

-- name: old_runs
SELECT * FROM (SELECT run_id, data FROM runs WHERE status = 'cancelled' AND run_id < :below ORDER BY run_id DESC LIMIT :limit)
UNION ALL
SELECT * FROM (SELECT run_id, data FROM runs WHERE status = 'completed' AND run_id < :below ORDER BY run_id DESC LIMIT :limit)
UNION ALL
SELECT * FROM (SELECT run_id, data FROM runs WHERE status = 'failed' AND run_id < :below ORDER BY run_id DESC LIMIT :limit)
UNION ALL
SELECT * FROM (SELECT run_id, data FROM runs WHERE status = 'skipped' AND run_id < :below ORDER BY run_id DESC LIMIT :limit)
ORDER BY run_id DESC LIMIT :limit;

-- name: runs_of_events
SELECT runs.run_id, runs.data FROM runs_of_event AS link JOIN runs ON runs.run_id = link.run_id
WHERE link.event_id IN (SELECT value FROM json_each(?));

-- name: working
SELECT DISTINCT run_id FROM items WHERE run_id IN (SELECT value FROM json_each(?));

-- name: large_bodies
SELECT ref FROM bodies WHERE (pieces OR size IS NOT NULL) AND run_id IN (SELECT value FROM json_each(?));

-- name: give_up_bodies
INSERT INTO arriving (ref, run_id, key, claim) SELECT value, '', '', NULL FROM json_each(?) WHERE true ON CONFLICT DO NOTHING;

-- name: forget_bodies
DELETE FROM bodies WHERE run_id IN (SELECT value FROM json_each(?));

-- name: forget_steps
DELETE FROM steps WHERE run_id IN (SELECT value FROM json_each(?));

-- name: forget_runs
DELETE FROM runs WHERE run_id IN (SELECT value FROM json_each(?));

-- name: old_events
SELECT received_at, internal_id,
    NOT EXISTS (
        SELECT 1 FROM runs_of_event AS link JOIN runs ON runs.run_id = link.run_id WHERE link.event_id = internal_id
    ) AND NOT EXISTS (SELECT 1 FROM items WHERE items.run_id = 'event:' || internal_id)
FROM events WHERE (received_at, internal_id) > (?, ?) AND received_at < ? ORDER BY received_at, internal_id LIMIT ?;

-- name: forget_links
DELETE FROM runs_of_event WHERE event_id IN (SELECT value FROM json_each(?));

-- name: forget_events
DELETE FROM events WHERE internal_id IN (SELECT value FROM json_each(?));

-- name: old_keys
SELECT run_keys.function_id, run_keys.key, run_keys.expires_at, run_keys.run_id, runs.data
FROM run_keys LEFT JOIN runs ON runs.run_id = run_keys.run_id
WHERE (run_keys.expires_at, run_keys.function_id, run_keys.key) > (?, ?, ?) AND run_keys.expires_at <= ?
ORDER BY run_keys.expires_at, run_keys.function_id, run_keys.key LIMIT ?;

-- name: forget_keys
DELETE FROM run_keys WHERE (function_id, key) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?));

-- name: old_cancellations
SELECT cancellation_id, data, EXISTS (SELECT 1 FROM items WHERE items.run_id = 'cancellation:' || cancellation_id)
FROM cancellations WHERE cancellation_id > ? AND cancellation_id < ? ORDER BY cancellation_id LIMIT ?;

-- name: runs_after
SELECT data FROM runs WHERE run_id > ? ORDER BY run_id LIMIT ?;

-- name: waits_of_run
SELECT step_id FROM waits WHERE run_id = ?;

-- name: runs_by_status
SELECT status, count(*) FROM runs GROUP BY status;

-- name: item_counts
SELECT count(*), count(owner) FROM items;

-- name: sealed_rows
SELECT (SELECT count(*) FROM events) + (SELECT count(*) FROM runs) + (SELECT count(*) FROM steps)
    + (SELECT count(*) FROM items) + (SELECT count(*) FROM waits) + (SELECT count(*) FROM cancellations)
    + (SELECT count(*) + count(size) FROM bodies)
    + (SELECT count(*) FROM body_pieces);

-- name: sealed_events
SELECT rowid, data FROM events WHERE rowid > ? ORDER BY rowid LIMIT ?;

-- name: reseal_event
UPDATE events SET data = ? WHERE rowid = ?;

-- name: sealed_runs
SELECT rowid, data FROM runs WHERE rowid > ? ORDER BY rowid LIMIT ?;

-- name: reseal_run
UPDATE runs SET data = ? WHERE rowid = ?;

-- name: sealed_steps
SELECT rowid, data FROM steps WHERE rowid > ? ORDER BY rowid LIMIT ?;

-- name: reseal_step
UPDATE steps SET data = ? WHERE rowid = ?;

-- name: sealed_items
SELECT seq, data FROM items WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: reseal_item
UPDATE items SET data = ? WHERE seq = ?;

-- name: sealed_cancellations
SELECT rowid, data FROM cancellations WHERE rowid > ? ORDER BY rowid LIMIT ?;

-- name: reseal_cancellation
UPDATE cancellations SET data = ? WHERE rowid = ?;

-- name: sealed_waits
SELECT seq, data FROM waits WHERE seq > ? ORDER BY seq LIMIT ?;

-- name: reseal_wait
UPDATE waits SET data = ?, path = ?, value = ? WHERE seq = ? AND run_id = ? AND step_id = ?;

-- name: sealed_bodies
SELECT rowid, ref, data FROM bodies WHERE rowid > ? ORDER BY rowid LIMIT ?;

-- name: reseal_body
UPDATE bodies SET data = ? WHERE rowid = ?;

-- name: sealed_pieces
SELECT rowid, ref, start, data FROM body_pieces WHERE rowid > ? ORDER BY rowid LIMIT ?;

-- name: reseal_piece
UPDATE body_pieces SET data = ? WHERE rowid = ?;

-- name: bodies_in_files
SELECT rowid, ref FROM bodies WHERE size IS NOT NULL AND rowid > ? ORDER BY rowid LIMIT ?;

-- name: drop_app
DELETE FROM apps WHERE app_id = ?;
