-- Every statement of the store, each under its name. What is written for many rows comes as arrays, one for each column; in the
-- hottest ones as texts, which are cheaper to send.
-- Those of a transaction keep the plan that they once got, whatever the tables held then. So each has but one good plan, by index:
-- what is wanted first has an order, and no sorting is allowed; several columns are looked for through LATERAL, which OFFSET 0
-- keeps as it is.

-- name: begin
BEGIN ISOLATION LEVEL READ COMMITTED;
SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off;
SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;

-- name: lock
SELECT pg_advisory_xact_lock_shared({all}, {kind});
SELECT pg_advisory_xact_lock({kind}, name) FROM unnest(ARRAY[{names}]) AS name;

-- name: lock_all
SELECT pg_advisory_xact_lock({all}, {kind});

-- name: look
WITH found_key AS MATERIALIZED (
    SELECT found.* FROM unnest($2::text::text[], $3::text::text[]) AS asked (function_id, key)
    CROSS JOIN LATERAL (
        SELECT function_id, key, expires_at, run_id FROM stepwell.run_keys
        WHERE run_keys.function_id = asked.function_id AND run_keys.key = asked.key OFFSET 0
    ) AS found
), item AS MATERIALIZED (
    SELECT found.* FROM unnest($4::text::text[], $5::text::text[]) AS asked (run_id, key)
    CROSS JOIN LATERAL (
        SELECT seq, run_id, key, claim, owner, data FROM stepwell.items
        WHERE items.run_id = asked.run_id AND items.key = asked.key FOR UPDATE
    ) AS found
), dropped AS MATERIALIZED (
    SELECT found.* FROM unnest($6::text::text[]) AS asked (run_id)
    CROSS JOIN LATERAL (
        SELECT seq, run_id, key, claim, owner, data FROM stepwell.items WHERE items.run_id = asked.run_id FOR UPDATE
    ) AS found
), ready AS MATERIALIZED (
    SELECT seq, run_id, key, due_at, claim, attempt, rescues, data FROM stepwell.items
    WHERE owner IS NULL AND gate IS NULL AND due_at <= $11 ORDER BY due_at, seq LIMIT $12 FOR UPDATE SKIP LOCKED
)
SELECT
    ARRAY(SELECT (run_id, version) FROM stepwell.runs WHERE run_id = ANY ($1::text::text[])) AS versions,
    ARRAY(SELECT (function_id, key, expires_at, run_id) FROM found_key) AS keys,
    ARRAY(
        SELECT (run_id, data) FROM stepwell.runs WHERE run_id = ANY (ARRAY(SELECT run_id FROM found_key WHERE run_id IS NOT NULL))
    ) AS holders,
    ARRAY(
        SELECT (seq, run_id, key, claim, owner, data, (
            SELECT ref FROM stepwell.arriving WHERE ref = item.run_id || '.' || item.key || '.' || item.claim
        )) FROM item WHERE owner IS NOT NULL
    ) AS claims,
    ARRAY(
        SELECT (seq, run_id, key, claim, owner, data, (
            SELECT ref FROM stepwell.arriving WHERE ref = dropped.run_id || '.' || dropped.key || '.' || dropped.claim
        )) FROM dropped
    ) AS dropped,
    ARRAY(SELECT (run_id, bucket) FROM stepwell.holds WHERE run_id = ANY ($6::text::text[])) AS holds,
    ARRAY(
        SELECT (asked.run_id, asked.step_id) FROM unnest($7::text::text[], $8::text::text[]) AS asked (run_id, step_id)
        CROSS JOIN LATERAL (
            SELECT FROM stepwell.waits WHERE waits.run_id = asked.run_id AND waits.step_id = asked.step_id OFFSET 0
        ) AS found
    ) AS waits,
    ARRAY(SELECT (signal, run_id, step_id) FROM stepwell.waits WHERE signal = ANY ($9::text::text[])) AS signals,
    ARRAY(
        SELECT asked.name FROM unnest($10::text::text[]) AS asked (name)
        CROSS JOIN LATERAL (SELECT FROM stepwell.waits WHERE waits.name = asked.name ORDER BY path, value, seq LIMIT 1) AS found
    ) AS waited,
    ARRAY(
        SELECT (seq, run_id, key, due_at, claim, attempt, rescues, data, NULL) FROM ready
    ) AS ready,
    ARRAY(SELECT (run_id, version) FROM stepwell.runs WHERE run_id = ANY (ARRAY(SELECT run_id FROM ready))) AS ready_versions,
    (SELECT count(*) FROM (
        SELECT FROM stepwell.items WHERE owner IS NULL AND gate IS NULL AND due_at <= $11 ORDER BY due_at, seq LIMIT $12 + 1
    ) AS due) AS due,
    (
        SELECT due_at FROM stepwell.items WHERE owner IS NULL AND gate IS NULL AND due_at > $11 ORDER BY due_at, seq LIMIT 1
    ) AS next_due,
    (SELECT opens_at FROM stepwell.gates WHERE opens_at > $11 ORDER BY opens_at LIMIT 1) AS opens,
    (SELECT expires_at FROM stepwell.items WHERE gate IS NOT NULL AND expires_at > $11 ORDER BY expires_at LIMIT 1) AS expires,
    EXISTS (SELECT FROM stepwell.gates WHERE opens_at <= $11 ORDER BY opens_at LIMIT 1)
        OR EXISTS (SELECT FROM stepwell.items WHERE gate IS NOT NULL AND expires_at <= $11 ORDER BY expires_at LIMIT 1) AS gated;

-- name: write
WITH numbers AS MATERIALIZED (
    SELECT ARRAY(SELECT nextval('stepwell.seqs') FROM generate_series(1, $36::int)) AS places,
        ARRAY(SELECT nextval('stepwell.claims') FROM generate_series(1, $37::int)) AS claims
), put_events AS (
    INSERT INTO stepwell.events (internal_id, received_at, name, data)
    SELECT * FROM unnest($1::text::text[], $2::text::bigint[], $3::text::text[], $4::bytea[]) ON CONFLICT DO NOTHING RETURNING 1
), put_keys AS (
    INSERT INTO stepwell.run_keys (function_id, key, expires_at, run_id)
    SELECT * FROM unnest($5::text::text[], $6::text::text[], $7::text::bigint[], $8::text::text[])
    ON CONFLICT (function_id, key) DO UPDATE SET expires_at = excluded.expires_at, run_id = excluded.run_id
), put_runs AS (
    INSERT INTO stepwell.runs (run_id, function_id, app_id, status, version, queued_at, data)
    SELECT * FROM unnest($9::text::text[], $10::text::text[], $11::text::text[], $12::text::text[], $13::text::bigint[], $14::text::bigint[], $15::bytea[])
    ON CONFLICT (run_id) DO UPDATE SET status = excluded.status, version = excluded.version, data = excluded.data
), put_links AS (
    INSERT INTO stepwell.runs_of_event (event_id, run_id) SELECT * FROM unnest($16::text::text[], $17::text::text[]) ON CONFLICT DO NOTHING
), put_steps AS (
    INSERT INTO stepwell.steps (run_id, step_id, data) SELECT * FROM unnest($18::text::text[], $19::text::text[], $20::bytea[])
    ON CONFLICT (run_id, step_id) DO UPDATE SET data = excluded.data
), delete_items AS (
    DELETE FROM stepwell.items WHERE seq = ANY ($21::text::bigint[])
), put_items AS (
    INSERT INTO stepwell.items (run_id, key, seq, due_at, claim, owner, gate, attempt, rescues, expires_at, data)
    SELECT run_id, key, (SELECT places FROM numbers)[place], due_at, coalesce((SELECT claims FROM numbers)[claim], 0), owner, gate,
        attempt, rescues, expires_at, data
    FROM unnest(
        $22::text::text[], $23::text::text[], $24::text::bigint[], $25::text::bigint[], $26::text::bigint[], $27::text::text[], $28::text::text[], $29::text::bigint[],
        $30::text::bigint[], $31::text::bigint[], $32::bytea[]
    ) AS new (run_id, key, place, due_at, claim, owner, gate, attempt, rescues, expires_at, data)
    ON CONFLICT (run_id, key) DO UPDATE SET seq = excluded.seq, due_at = excluded.due_at,
        claim = CASE WHEN items.seq = ANY ($38::bigint[]) THEN excluded.claim ELSE greatest(items.claim, excluded.claim) END, owner = excluded.owner, gate = excluded.gate,
        attempt = excluded.attempt, rescues = excluded.rescues, expires_at = excluded.expires_at, data = excluded.data
), claim_items AS (
    UPDATE stepwell.items
    SET owner = $33, gate = NULL, claim = (SELECT claims FROM numbers)[($35::bigint[])[array_position($34::bigint[], seq)]]
    WHERE seq = ANY ($34::bigint[])
)
SELECT places, claims, (SELECT count(*) FROM put_events) FROM numbers;

-- name: put_waits
INSERT INTO stepwell.waits (run_id, step_id, seq, name, path, value, signal, data)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::bytea[], $7::text[], $8::bytea[])
ON CONFLICT (run_id, step_id) DO UPDATE SET seq = excluded.seq, name = excluded.name, path = excluded.path,
    value = excluded.value, signal = excluded.signal, data = excluded.data;

-- name: drop_waits
DELETE FROM stepwell.waits WHERE (run_id, step_id) IN (SELECT * FROM unnest($1::text[], $2::text[]));

-- name: ready_items
SELECT seq, run_id, key, due_at, claim, attempt, rescues, data, gate FROM stepwell.items
WHERE owner IS NULL AND gate IS NULL AND due_at <= $1 AND (due_at, seq) > ($2, $3)
ORDER BY due_at, seq LIMIT $4 FOR UPDATE SKIP LOCKED;

-- name: next_due
SELECT
    (SELECT due_at FROM stepwell.items WHERE owner IS NULL AND gate IS NULL AND due_at > $1 ORDER BY due_at, seq LIMIT 1),
    (SELECT opens_at FROM stepwell.gates WHERE opens_at > $1 ORDER BY opens_at LIMIT 1),
    (SELECT expires_at FROM stepwell.items WHERE gate IS NOT NULL AND expires_at > $1 ORDER BY expires_at LIMIT 1),
    EXISTS (SELECT FROM stepwell.items WHERE owner IS NULL AND gate IS NULL AND due_at <= $1 ORDER BY due_at, seq LIMIT 1)
        OR EXISTS (SELECT FROM stepwell.gates WHERE opens_at <= $1 ORDER BY opens_at LIMIT 1)
        OR EXISTS (SELECT FROM stepwell.items WHERE gate IS NOT NULL AND expires_at <= $1 ORDER BY expires_at LIMIT 1);

-- name: versions
SELECT run_id, version FROM stepwell.runs WHERE run_id = ANY ($1::text[]);

-- name: headers
SELECT run_id, data FROM stepwell.runs WHERE run_id = ANY ($1::text[]);

-- name: admissions
SELECT bucket, state FROM stepwell.admissions WHERE bucket = ANY ($1::text[]);

-- name: lock_items
SELECT item.seq, item.run_id, item.key, item.claim, item.owner, item.data, arriving.ref FROM stepwell.items AS item
LEFT JOIN stepwell.arriving ON arriving.ref = item.run_id || '.' || item.key || '.' || item.claim
WHERE (item.run_id, item.key) IN (SELECT * FROM unnest($1::text[], $2::text[]))
ORDER BY item.run_id, item.key FOR UPDATE OF item;

-- name: lock_lost_items
SELECT item.seq, item.run_id, item.key, item.claim, item.owner, item.data, arriving.ref FROM stepwell.items AS item
LEFT JOIN stepwell.arriving ON arriving.ref = item.run_id || '.' || item.key || '.' || item.claim
WHERE item.owner IS NOT NULL AND NOT EXISTS (SELECT FROM stepwell.owners WHERE owners.owner = item.owner)
ORDER BY item.run_id, item.key LIMIT 2000 FOR UPDATE OF item SKIP LOCKED;

-- name: holds_of_runs
SELECT run_id, bucket FROM stepwell.holds WHERE run_id = ANY ($1::text[]);

-- name: used
SELECT bucket, used FROM stepwell.buckets WHERE bucket = ANY ($1::text[]);

-- name: flows
SELECT bucket, data FROM stepwell.flows WHERE bucket = ANY ($1::text[]);

-- name: opening_gates
SELECT gate FROM stepwell.gates WHERE opens_at <= $1 OR buckets && $2::text[] ORDER BY gate;

-- name: parked_items
SELECT seq, run_id, key, due_at, claim, attempt, rescues, data, gate FROM stepwell.items
WHERE gate IS NOT NULL AND md5(gate) = md5($1) AND (due_at, seq) > ($2, $3)
ORDER BY due_at, seq LIMIT $4 FOR UPDATE SKIP LOCKED;

-- name: expired_items
SELECT seq, run_id, key, due_at, claim, attempt, rescues, data, gate FROM stepwell.items
WHERE gate IS NOT NULL AND expires_at <= $1 AND (due_at, seq) > ($2, $3)
ORDER BY due_at, seq LIMIT $4 FOR UPDATE SKIP LOCKED;

-- name: put_cancellations
INSERT INTO stepwell.cancellations (cancellation_id, data) SELECT * FROM unnest($1::text[], $2::bytea[])
ON CONFLICT (cancellation_id) DO UPDATE SET data = excluded.data;

-- name: put_bodies
INSERT INTO stepwell.bodies (ref, run_id, data) SELECT * FROM unnest($1::text[], $2::text[], $3::bytea[])
ON CONFLICT (ref) DO UPDATE SET run_id = excluded.run_id, data = excluded.data;

-- name: touch_items
UPDATE stepwell.items AS item SET attempt = new.attempt
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS new (run_id, key, attempt)
WHERE item.run_id = new.run_id AND item.key = new.key;

-- name: park_items
UPDATE stepwell.items AS item SET gate = new.gate FROM unnest($1::bigint[], $2::text[]) AS new (seq, gate)
WHERE item.seq = new.seq;

-- name: free_items
UPDATE stepwell.items SET owner = NULL, rescues = rescues + $1 WHERE seq = ANY ($2::bigint[]);

-- name: put_gates
INSERT INTO stepwell.gates (gate, buckets, opens_at)
SELECT gate, ARRAY(SELECT jsonb_array_elements_text(buckets::jsonb)), opens_at
FROM unnest($1::text[], $2::text[], $3::bigint[]) AS new (gate, buckets, opens_at)
ON CONFLICT (md5(gate)) DO UPDATE SET opens_at = excluded.opens_at;

-- name: drop_gates
DELETE FROM stepwell.gates WHERE md5(gate) IN (SELECT md5(name) FROM unnest($1::text[]) AS name)
    AND NOT EXISTS (SELECT FROM stepwell.items WHERE items.gate IS NOT NULL AND md5(items.gate) = md5(gates.gate));

-- name: open_gates
UPDATE stepwell.gates SET opens_at = 0 WHERE buckets && $1::text[] AND opens_at > 0;

-- name: add_used
INSERT INTO stepwell.buckets (bucket, used) SELECT * FROM unnest($1::text[], $2::bigint[])
ON CONFLICT (bucket) DO UPDATE SET used = buckets.used + excluded.used;

-- name: drop_unused
DELETE FROM stepwell.buckets WHERE bucket = ANY ($1::text[]) AND used <= 0;

-- name: put_holds
INSERT INTO stepwell.holds (run_id, bucket) SELECT * FROM unnest($1::text[], $2::text[]) ON CONFLICT DO NOTHING;

-- name: drop_holds
DELETE FROM stepwell.holds WHERE run_id = ANY ($1::text[]);

-- name: put_flows
INSERT INTO stepwell.flows (bucket, data, idle_at) SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[])
ON CONFLICT (bucket) DO UPDATE SET data = excluded.data, idle_at = excluded.idle_at;

-- name: drop_flows
DELETE FROM stepwell.flows WHERE bucket = ANY ($1::text[]);

-- name: forget_flows
DELETE FROM stepwell.flows WHERE bucket IN (
    SELECT bucket FROM stepwell.flows WHERE idle_at <= $1 ORDER BY idle_at LIMIT 1000 FOR UPDATE SKIP LOCKED
);

-- name: put_admissions
INSERT INTO stepwell.admissions (bucket, state, idle_at) SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[])
ON CONFLICT (bucket) DO UPDATE SET state = excluded.state, idle_at = excluded.idle_at;

-- name: drop_admissions
DELETE FROM stepwell.admissions WHERE bucket = ANY ($1::text[]);

-- name: forget_admissions
DELETE FROM stepwell.admissions WHERE bucket IN (
    SELECT bucket FROM stepwell.admissions WHERE idle_at <= $1 ORDER BY idle_at LIMIT 1000 FOR UPDATE SKIP LOCKED
);

-- name: mark
SELECT pg_logical_emit_message(true, 'stepwell', '');

-- name: notify
SELECT pg_notify('stepwell', $1);

-- name: hold_claim
SELECT FROM stepwell.items WHERE run_id = $1 AND key = $2 AND claim = $3 AND owner IS NOT NULL FOR UPDATE;

-- name: put_arriving
INSERT INTO stepwell.arriving (ref) VALUES ($1) ON CONFLICT DO NOTHING;

-- name: put_piece
INSERT INTO stepwell.body_pieces (ref, start, data) VALUES ($1, $2, $3) ON CONFLICT (ref, start) DO UPDATE SET data = excluded.data;

-- name: drop_pieces
DELETE FROM stepwell.body_pieces WHERE ref = ANY ($1::text[]);

-- name: drop_arriving
DELETE FROM stepwell.arriving WHERE ref = ANY ($1::text[]);

-- name: keep_bodies
INSERT INTO stepwell.bodies (ref, run_id, data, pieces) SELECT ref, run_id, '', true FROM unnest($1::text[], $2::text[]) AS new (ref, run_id);

-- name: put_lease
INSERT INTO stepwell.owners (owner, expires_at) VALUES ($1, $2) ON CONFLICT (owner) DO UPDATE SET expires_at = excluded.expires_at;

-- name: end_leases
DELETE FROM stepwell.owners WHERE expires_at <= $1;

-- name: put_worker
INSERT INTO stepwell.workers (worker_id, beat_at, data) VALUES ($1, $2, $3)
ON CONFLICT (worker_id) DO UPDATE SET beat_at = excluded.beat_at, data = excluded.data;

-- name: forget_workers
DELETE FROM stepwell.workers WHERE beat_at < $1 AND worker_id <> $2;

-- name: workers
SELECT data FROM stepwell.workers ORDER BY worker_id;

-- name: drop_worker
DELETE FROM stepwell.workers WHERE worker_id = $1;

-- name: lead
INSERT INTO stepwell.leader (one, owner, expires_at) VALUES (1, $1, $3)
ON CONFLICT (one) DO UPDATE SET owner = excluded.owner, expires_at = excluded.expires_at
    WHERE leader.owner = excluded.owner OR leader.expires_at <= $2
RETURNING 1;

-- name: resign
DELETE FROM stepwell.leader WHERE owner = $1;

-- name: put_app
INSERT INTO stepwell.apps (app_id, data) VALUES ($1, $2) ON CONFLICT (app_id) DO UPDATE SET data = excluded.data;

-- name: drop_cancellations
DELETE FROM stepwell.cancellations WHERE cancellation_id = ANY($1) RETURNING true;

-- name: put_pause
INSERT INTO stepwell.pauses (function_id, paused_at) VALUES ($1, $2) ON CONFLICT (function_id) DO NOTHING;

-- name: drop_pause
DELETE FROM stepwell.pauses WHERE function_id = $1 RETURNING true;

-- name: apps
SELECT data FROM stepwell.apps ORDER BY app_id;

-- name: events_by_id
SELECT internal_id, data FROM stepwell.events WHERE internal_id = ANY ($1::text[]);

-- name: steps_of_runs
SELECT wanted.run_id, found.data FROM unnest($1::text[]) AS wanted (run_id)
CROSS JOIN LATERAL (SELECT data FROM stepwell.steps WHERE steps.run_id = wanted.run_id OFFSET 0) AS found;

-- name: items_of_run
SELECT data, claim, attempt, rescues FROM stepwell.items WHERE run_id = $1 ORDER BY due_at, seq;

-- name: due_of_run
SELECT data, claim, attempt, rescues FROM stepwell.items WHERE run_id = $1 AND owner IS NULL AND due_at <= $2
ORDER BY due_at, seq;

-- name: list_runs
SELECT data FROM stepwell.runs
WHERE run_id < $1 AND run_id > $2 AND ($3::text IS NULL OR status = $3) AND ($4::text IS NULL OR function_id = $4)
    AND ($5::text IS NULL OR app_id = $5)
ORDER BY run_id DESC LIMIT $6;

-- name: list_active_runs
SELECT data FROM stepwell.runs
WHERE run_id < $1 AND run_id > $2 AND status IN ('queued', 'running') AND ($3::text IS NULL OR status = $3)
    AND ($4::text IS NULL OR function_id = $4) AND ($5::text IS NULL OR app_id = $5)
ORDER BY run_id DESC LIMIT $6;

-- name: list_runs_of_event
SELECT runs.data FROM stepwell.runs_of_event AS link JOIN stepwell.runs ON runs.run_id = link.run_id
WHERE link.run_id < $1 AND link.run_id > $2 AND ($3::text IS NULL OR status = $3)
    AND ($4::text IS NULL OR function_id = $4) AND ($5::text IS NULL OR app_id = $5) AND link.event_id = $7
ORDER BY link.run_id DESC LIMIT $6;

-- name: list_events
SELECT data FROM stepwell.events
WHERE (received_at, internal_id) < ($1, $2) AND received_at > $3 AND received_at < $4 AND ($5::text IS NULL OR name = $5)
ORDER BY received_at DESC, internal_id DESC LIMIT $6;

-- name: body
SELECT substr(data, $2::int + 1, $3::int), pieces FROM stepwell.bodies WHERE ref = $1;

-- name: body_pieces
SELECT substr(data, greatest($2 - start, 0)::int + 1, least($3 - greatest(start, $2), 1 << 30)::int)
FROM stepwell.body_pieces
WHERE ref = $1 AND start < $3
    AND start >= (SELECT max(start) FROM stepwell.body_pieces WHERE ref = $1 AND start <= $2)
ORDER BY start;

-- name: find_waits
SELECT found.seq, found.data FROM unnest($2::text[], $3::bytea[]) AS place (path, value)
CROSS JOIN LATERAL (
    SELECT seq, data FROM stepwell.waits
    WHERE name = $1 AND path = place.path AND value = place.value AND seq > $4 AND seq < $5 ORDER BY seq LIMIT $6
) AS found
ORDER BY found.seq LIMIT $6;

-- name: item_seq
SELECT seq FROM stepwell.items WHERE run_id = $1 AND key = $2;

-- name: waited_places
WITH RECURSIVE place (path) AS (
    (SELECT min(path) FROM stepwell.waits WHERE name = $1 AND path > '')
    UNION ALL
    SELECT (SELECT min(path) FROM stepwell.waits WHERE name = $1 AND path > place.path) FROM place WHERE place.path IS NOT NULL
)
SELECT found.seq, found.data FROM place
CROSS JOIN LATERAL (SELECT seq, data FROM stepwell.waits WHERE name = $1 AND path = place.path LIMIT 1) AS found
WHERE place.path IS NOT NULL ORDER BY place.path;

-- name: find_signal
SELECT seq, data FROM stepwell.waits WHERE signal = $1;

-- name: waiting_names
WITH RECURSIVE found (name) AS (
    (SELECT min(name) FROM stepwell.waits WHERE name > '')
    UNION ALL
    SELECT (SELECT min(name) FROM stepwell.waits WHERE name > found.name) FROM found WHERE found.name IS NOT NULL
)
SELECT name FROM found WHERE name IS NOT NULL;

-- name: cancellations
SELECT data FROM stepwell.cancellations ORDER BY cancellation_id DESC;

-- name: held_items
SELECT counted.gate, counted.waiting, item.data, item.claim, item.attempt, item.rescues, runs.function_id
FROM (
    SELECT gate, count(*) AS waiting FROM stepwell.items WHERE gate IS NOT NULL GROUP BY gate ORDER BY waiting DESC, gate LIMIT $1
) AS counted
CROSS JOIN LATERAL (
    SELECT * FROM stepwell.items AS one
    WHERE md5(one.gate) = md5(counted.gate) AND one.gate = counted.gate ORDER BY one.due_at, one.seq LIMIT $2
) AS item
LEFT JOIN stepwell.runs ON runs.run_id = item.run_id
ORDER BY counted.waiting DESC, counted.gate, item.due_at, item.seq;

-- name: keys_of
SELECT key FROM stepwell.run_keys WHERE function_id = $1 ORDER BY key;

-- name: pauses
SELECT function_id, paused_at FROM stepwell.pauses ORDER BY function_id;

-- name: put_listeners
INSERT INTO stepwell.listeners (name, owner, expires_at) SELECT name, $2, $3 FROM unnest($1::bytea[]) AS name
ON CONFLICT (name, owner) DO UPDATE SET expires_at = excluded.expires_at;

-- name: drop_listeners
DELETE FROM stepwell.listeners WHERE owner = $2 AND name = ANY($1::bytea[]);

-- name: forget_listeners
DELETE FROM stepwell.listeners WHERE expires_at < $1;

-- name: listeners
SELECT DISTINCT name FROM stepwell.listeners WHERE owner <> $1 AND expires_at > $2;

-- name: tell
SELECT count(pg_notify('stepwell_' || owner, $2)) FROM (
    SELECT DISTINCT owner FROM stepwell.listeners WHERE name = ANY($1::bytea[]) AND owner <> $3 AND expires_at > $4
) AS found;

-- name: tell_parcel
WITH found AS (
    SELECT DISTINCT owner FROM stepwell.listeners WHERE name = ANY($1::bytea[]) AND owner <> $3 AND expires_at > $4
), put AS (
    INSERT INTO stepwell.parcels (data, expires_at) SELECT $2, $5 WHERE EXISTS (SELECT FROM found) RETURNING id
)
SELECT count(pg_notify('stepwell_' || owner, '#' || id)) FROM found, put;

-- name: parcel
SELECT data FROM stepwell.parcels WHERE id = $1;

-- name: forget_parcels
DELETE FROM stepwell.parcels WHERE expires_at < $1;
