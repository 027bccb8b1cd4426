-- What pruning, new keys and the doctor ask for. See queries.sql.

-- name: old_runs
SELECT found.run_id, found.data FROM unnest($1::text[]) AS ended (status)
CROSS JOIN LATERAL (
    SELECT run_id, data FROM stepwell.runs
    WHERE runs.status = ended.status AND run_id < $2 ORDER BY run_id DESC LIMIT $3
) AS found
ORDER BY found.run_id DESC LIMIT $3;

-- name: runs_of_events
SELECT runs.run_id, runs.data FROM stepwell.runs_of_event AS link JOIN stepwell.runs ON runs.run_id = link.run_id
WHERE link.event_id = ANY ($1::text[]);

-- name: working
SELECT DISTINCT run_id FROM stepwell.items WHERE run_id = ANY ($1::text[]);

-- name: row_bodies
SELECT ref FROM stepwell.bodies WHERE pieces AND run_id = ANY ($1::text[]);

-- name: forget_bodies
DELETE FROM stepwell.bodies WHERE run_id = ANY ($1::text[]);

-- name: forget_steps
DELETE FROM stepwell.steps WHERE run_id = ANY ($1::text[]);

-- name: forget_runs
DELETE FROM stepwell.runs WHERE run_id = ANY ($1::text[]);

-- name: old_events
SELECT received_at, internal_id,
    NOT EXISTS (
        SELECT FROM stepwell.runs_of_event AS link JOIN stepwell.runs ON runs.run_id = link.run_id
        WHERE link.event_id = internal_id
    ) AND NOT EXISTS (SELECT FROM stepwell.items WHERE items.run_id = 'event:' || internal_id) AS free
FROM stepwell.events WHERE (received_at, internal_id) > ($1, $2) AND received_at < $3
ORDER BY received_at, internal_id LIMIT $4;

-- name: forget_links
DELETE FROM stepwell.runs_of_event WHERE event_id = ANY ($1::text[]);

-- name: forget_events
DELETE FROM stepwell.events WHERE internal_id = ANY ($1::text[]);

-- name: old_keys
SELECT found.function_id, found.key, found.expires_at, found.run_id, runs.data
FROM stepwell.run_keys AS found LEFT JOIN stepwell.runs ON runs.run_id = found.run_id
WHERE (found.expires_at, found.function_id, found.key) > ($1, $2, $3) AND found.expires_at <= $4
ORDER BY found.expires_at, found.function_id, found.key LIMIT $5;

-- name: forget_keys
DELETE FROM stepwell.run_keys WHERE (function_id, key, expires_at) IN (SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]));

-- name: old_cancellations
SELECT cancellation_id, data, EXISTS (SELECT FROM stepwell.items WHERE items.run_id = 'cancellation:' || cancellation_id) AS busy
FROM stepwell.cancellations WHERE cancellation_id > $1 AND cancellation_id < $2 ORDER BY cancellation_id LIMIT $3;

-- name: sealed_rows
SELECT (SELECT count(*) FROM stepwell.events) + (SELECT count(*) FROM stepwell.runs) + (SELECT count(*) FROM stepwell.steps)
    + (SELECT count(*) FROM stepwell.items) + (SELECT count(*) FROM stepwell.waits)
    + (SELECT count(*) FROM stepwell.cancellations) + (SELECT count(*) FROM stepwell.bodies WHERE NOT pieces)
    + (SELECT count(*) FROM stepwell.body_pieces);

-- name: sealed_events
SELECT internal_id, data FROM stepwell.events WHERE internal_id > $1 ORDER BY internal_id LIMIT $2 FOR UPDATE;

-- name: reseal_events
UPDATE stepwell.events AS old SET data = new.data FROM unnest($1::text[], $2::bytea[]) AS new (internal_id, data)
WHERE old.internal_id = new.internal_id;

-- name: sealed_runs
SELECT run_id, data FROM stepwell.runs WHERE run_id > $1 ORDER BY run_id LIMIT $2 FOR UPDATE;

-- name: reseal_runs
UPDATE stepwell.runs AS old SET data = new.data FROM unnest($1::text[], $2::bytea[]) AS new (run_id, data)
WHERE old.run_id = new.run_id;

-- name: sealed_steps
SELECT run_id, step_id, data FROM stepwell.steps WHERE (run_id, step_id) > ($1, $2) ORDER BY run_id, step_id LIMIT $3 FOR UPDATE;

-- name: reseal_steps
UPDATE stepwell.steps AS old SET data = new.data FROM unnest($1::text[], $2::text[], $3::bytea[]) AS new (run_id, step_id, data)
WHERE old.run_id = new.run_id AND old.step_id = new.step_id;

-- name: sealed_items
SELECT run_id, key, data FROM stepwell.items WHERE (run_id, key) > ($1, $2) ORDER BY run_id, key LIMIT $3 FOR UPDATE;

-- name: reseal_items
UPDATE stepwell.items AS old SET data = new.data FROM unnest($1::text[], $2::text[], $3::bytea[]) AS new (run_id, key, data)
WHERE old.run_id = new.run_id AND old.key = new.key;

-- name: sealed_waits
SELECT run_id, step_id, data FROM stepwell.waits WHERE (run_id, step_id) > ($1, $2) ORDER BY run_id, step_id LIMIT $3 FOR UPDATE;

-- name: reseal_waits
UPDATE stepwell.waits AS old SET data = new.data, path = new.path, value = new.value
FROM unnest($1::text[], $2::text[], $3::bytea[], $4::text[], $5::bytea[]) AS new (run_id, step_id, data, path, value)
WHERE old.run_id = new.run_id AND old.step_id = new.step_id;

-- name: sealed_cancellations
SELECT cancellation_id, data FROM stepwell.cancellations WHERE cancellation_id > $1 ORDER BY cancellation_id LIMIT $2 FOR UPDATE;

-- name: reseal_cancellations
UPDATE stepwell.cancellations AS old SET data = new.data FROM unnest($1::text[], $2::bytea[]) AS new (cancellation_id, data)
WHERE old.cancellation_id = new.cancellation_id;

-- name: sealed_bodies
SELECT ref, data FROM stepwell.bodies WHERE ref > $1 AND NOT pieces ORDER BY ref LIMIT $2 FOR UPDATE;

-- name: reseal_bodies
UPDATE stepwell.bodies AS old SET data = new.data FROM unnest($1::text[], $2::bytea[]) AS new (ref, data)
WHERE old.ref = new.ref;

-- name: sealed_pieces
SELECT ref, start, data FROM stepwell.body_pieces WHERE (ref, start) > ($1, $2) ORDER BY ref, start LIMIT $3 FOR UPDATE;

-- name: reseal_pieces
UPDATE stepwell.body_pieces AS old SET data = new.data FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS new (ref, start, data)
WHERE old.ref = new.ref AND old.start = new.start;

-- name: drop_apps
DELETE FROM stepwell.apps WHERE app_id = ANY ($1::text[]);

-- name: runs_after
SELECT run_id, data FROM stepwell.runs WHERE run_id > $1 ORDER BY run_id LIMIT $2;

-- name: items_of_runs
SELECT run_id, data, claim, attempt, rescues FROM stepwell.items WHERE run_id = ANY ($1::text[]);

-- name: waits_of_runs
SELECT run_id, step_id FROM stepwell.waits WHERE run_id = ANY ($1::text[]);

-- name: claimed_items
SELECT data FROM stepwell.items WHERE owner IS NOT NULL;

-- name: holders
SELECT bucket, count(*) FROM stepwell.holds GROUP BY bucket;

-- name: runs_by_status
SELECT status, count(*) FROM stepwell.runs GROUP BY status;

-- name: item_counts
SELECT count(*), count(owner) FROM stepwell.items;
