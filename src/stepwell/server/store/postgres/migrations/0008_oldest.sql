-- The newest migration that processes of older versions could not work with: who does not know it must not open the database.
ALTER TABLE stepwell.schema_version ADD COLUMN oldest int NOT NULL DEFAULT 0;
