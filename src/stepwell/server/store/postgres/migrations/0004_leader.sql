-- Which process starts crons and deletes what is old, and until when; at most one row.
CREATE TABLE stepwell.leader (one int PRIMARY KEY, owner text COLLATE "C" NOT NULL, expires_at bigint NOT NULL);
