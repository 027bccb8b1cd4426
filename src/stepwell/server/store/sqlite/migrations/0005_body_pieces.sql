-- Bodies that are stored piece by piece while they arrive. Their row in bodies, with no data, is made when they are whole.
CREATE TABLE body_pieces (
    ref TEXT NOT NULL,
    start INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (ref, start)
) STRICT;

-- Those that are not whole, each with the claim that it belongs to; claim NULL: it ended, the pieces are being deleted.
CREATE TABLE arriving (
    ref TEXT PRIMARY KEY,
    run_id TEXT NOT NULL,
    key TEXT NOT NULL,
    claim INTEGER
) STRICT, WITHOUT ROWID;

ALTER TABLE bodies ADD COLUMN pieces INTEGER NOT NULL DEFAULT 0;
