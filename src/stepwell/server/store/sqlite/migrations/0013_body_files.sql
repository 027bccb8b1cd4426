-- Large bodies are files of their own beside the database; of those that have one: how many bytes. Older ones stay in body_pieces.
ALTER TABLE bodies ADD COLUMN size INTEGER;
