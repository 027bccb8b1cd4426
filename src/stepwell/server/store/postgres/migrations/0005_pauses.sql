-- Functions that start no runs, and since when.
CREATE TABLE stepwell.pauses (function_id text COLLATE "C" PRIMARY KEY, paused_at bigint NOT NULL);
