-- The processes of the platform, each with the time of its newest beat.
CREATE TABLE stepwell.workers (worker_id text COLLATE "C" PRIMARY KEY, beat_at bigint NOT NULL, data bytea NOT NULL);
