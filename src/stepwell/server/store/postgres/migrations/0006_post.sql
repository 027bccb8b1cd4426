-- Messages between processes. What is in these tables means nothing after a few seconds, and may go with a crash.
CREATE UNLOGGED TABLE stepwell.listeners (name bytea NOT NULL, owner text NOT NULL, expires_at bigint NOT NULL,
    PRIMARY KEY (name, owner));
CREATE INDEX listeners_by_owner ON stepwell.listeners (owner, expires_at);
CREATE UNLOGGED TABLE stepwell.parcels (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, data bytea NOT NULL,
    expires_at bigint NOT NULL);
CREATE INDEX parcels_by_time ON stepwell.parcels (expires_at);
