-- Texts that are looked for are compared byte by byte, as the program compares them.
CREATE SEQUENCE stepwell.seqs;
CREATE SEQUENCE stepwell.claims;

CREATE TABLE stepwell.runs (
    run_id text COLLATE "C" PRIMARY KEY,
    function_id text COLLATE "C" NOT NULL,
    app_id text COLLATE "C" NOT NULL,
    status text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    queued_at bigint NOT NULL,
    data bytea NOT NULL
);
CREATE INDEX runs_of_function ON stepwell.runs (function_id, run_id);
CREATE INDEX runs_of_status ON stepwell.runs (status, run_id);
CREATE INDEX runs_of_app ON stepwell.runs (app_id, run_id);
CREATE INDEX runs_active ON stepwell.runs (function_id, run_id) WHERE status IN ('queued', 'running');

CREATE TABLE stepwell.steps (
    run_id text COLLATE "C" NOT NULL,
    step_id text COLLATE "C" NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (run_id, step_id)
);

CREATE TABLE stepwell.events (
    internal_id text COLLATE "C" PRIMARY KEY,
    received_at bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    data bytea NOT NULL
);
CREATE INDEX events_by_time ON stepwell.events (received_at, internal_id);
CREATE INDEX events_of_name ON stepwell.events (name, received_at, internal_id);

CREATE TABLE stepwell.runs_of_event (
    event_id text COLLATE "C" NOT NULL,
    run_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (event_id, run_id)
);

-- A key holds until 24 hours after the end of its run; until expires_at where there is no such run.
CREATE TABLE stepwell.run_keys (
    function_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    expires_at bigint NOT NULL,
    run_id text COLLATE "C",
    PRIMARY KEY (function_id, key)
);

-- seq: the place among items due at the same time. owner: who claimed it. gate: what holds it back.
-- expires_at: a parked item is claimed at this time whatever holds it back.
CREATE TABLE stepwell.items (
    run_id text COLLATE "C" NOT NULL,
    key text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    due_at bigint NOT NULL,
    claim bigint NOT NULL,
    owner text COLLATE "C",
    gate text COLLATE "C",
    attempt bigint NOT NULL,
    rescues bigint NOT NULL,
    expires_at bigint,
    data bytea NOT NULL,
    PRIMARY KEY (run_id, key)
);
CREATE INDEX items_in_order ON stepwell.items (seq);
CREATE INDEX items_ready ON stepwell.items (due_at, seq) WHERE owner IS NULL AND gate IS NULL;
CREATE INDEX items_parked ON stepwell.items (md5(gate), due_at, seq) WHERE gate IS NOT NULL;
CREATE INDEX items_expiring ON stepwell.items (expires_at) WHERE gate IS NOT NULL AND expires_at IS NOT NULL;
CREATE INDEX items_claimed ON stepwell.items (owner) WHERE owner IS NOT NULL;

CREATE TABLE stepwell.owners (owner text COLLATE "C" PRIMARY KEY, expires_at bigint NOT NULL);

-- Gates behind which items are parked. buckets: of their limits and paces. opens_at: when to look at them again.
CREATE TABLE stepwell.gates (gate text COLLATE "C" NOT NULL, buckets text[] COLLATE "C" NOT NULL, opens_at bigint NOT NULL);
CREATE UNIQUE INDEX gates_by_name ON stepwell.gates (md5(gate));
CREATE INDEX gates_opening ON stepwell.gates (opens_at);
CREATE INDEX gates_of_bucket ON stepwell.gates USING gin (buckets);

-- Slots in use: by claimed items and by runs that hold one.
CREATE TABLE stepwell.buckets (bucket text COLLATE "C" PRIMARY KEY, used bigint NOT NULL);
CREATE TABLE stepwell.holds (
    run_id text COLLATE "C" NOT NULL,
    bucket text COLLATE "C" NOT NULL,
    PRIMARY KEY (run_id, bucket)
);

-- What paced buckets remember, and what limits remember that are decided when an event comes in.
-- idle_at: from then on it means nothing; NULL: not known yet.
CREATE TABLE stepwell.flows (bucket text COLLATE "C" PRIMARY KEY, data bytea NOT NULL, idle_at bigint NOT NULL);
CREATE INDEX flows_idle ON stepwell.flows (idle_at);
CREATE TABLE stepwell.admissions (bucket text COLLATE "C" PRIMARY KEY, state bytea NOT NULL, idle_at bigint);
CREATE INDEX admissions_idle ON stepwell.admissions (idle_at) WHERE idle_at IS NOT NULL;

-- seq: the place in the order of waits and items. path, value: what an event must have there to be the one ('': nothing).
CREATE TABLE stepwell.waits (
    run_id text COLLATE "C" NOT NULL,
    step_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    name text COLLATE "C" NOT NULL,
    path text COLLATE "C" NOT NULL,
    value bytea NOT NULL,
    signal text COLLATE "C",
    data bytea NOT NULL,
    PRIMARY KEY (run_id, step_id)
);
CREATE INDEX waits_of_name ON stepwell.waits (name, path, value, seq);
CREATE INDEX waits_of_signal ON stepwell.waits (signal) WHERE signal IS NOT NULL;

CREATE TABLE stepwell.cancellations (cancellation_id text COLLATE "C" PRIMARY KEY, data bytea NOT NULL);

-- Bodies beside the state. Those that were stored piece by piece have no data in their own row.
CREATE TABLE stepwell.bodies (
    ref text COLLATE "C" PRIMARY KEY,
    run_id text COLLATE "C" NOT NULL,
    data bytea NOT NULL,
    pieces boolean NOT NULL DEFAULT false
);
CREATE INDEX bodies_of_run ON stepwell.bodies (run_id);
CREATE TABLE stepwell.body_pieces (
    ref text COLLATE "C" NOT NULL,
    start bigint NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (ref, start)
);
ALTER TABLE stepwell.bodies ALTER COLUMN data SET STORAGE EXTERNAL;
ALTER TABLE stepwell.body_pieces ALTER COLUMN data SET STORAGE EXTERNAL;
-- Those that are not whole yet, each belonging to a claim.
CREATE TABLE stepwell.arriving (ref text COLLATE "C" PRIMARY KEY);

CREATE TABLE stepwell.apps (app_id text COLLATE "C" PRIMARY KEY, data bytea NOT NULL);
