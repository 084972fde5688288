-- What a role needs to change tables with crossfade. No superuser; seen on PostgreSQL 15.
--
-- Run it once as a superuser (or as whoever may grant all this), in the database of the tables:
--
--   psql -d shop -v engine=crossfade -v database=shop -v schema=public -v owner=shop -f grants.sql
--
--   engine    the role that crossfade connects as; it must exist and may log in
--   database  the database of the table
--   schema    the schema of the table
--   owner     the role that owns the table, and the tables that refer to it by foreign keys; if these have
--             several owners, repeat the line with :"owner" for each

-- Reads the changes from the write-ahead log through a replication slot.
ALTER ROLE :"engine" REPLICATION;

-- Makes the schemas `crossfade` (its state), `crossfade_NAME` (the new table until the swap) and
-- `crossfade_NAME_retired` (the old one after it), and the publication.
GRANT CREATE ON DATABASE :"database" TO :"engine";

-- Moves the new table into the schema of the old one.
GRANT USAGE, CREATE ON SCHEMA :"schema" TO :"engine";

-- Acts as the owner: publishes the table, locks it, moves it, gives the new one its owner, grants and foreign
-- keys. From PostgreSQL 16 on the membership must be WITH INHERIT TRUE, SET TRUE, which is the default.
GRANT :"owner" TO :"engine";

-- Sees whose transactions hold old snapshots or stand in the way of the cutover's lock. Without it such
-- transactions of other roles cannot be seen, nor waited for. Sees how far standbys are behind, too: without it the
-- limits replica_lag_max and replica_lag_bytes_max hold nothing back, and only a pace_query does.
GRANT pg_read_all_stats TO :"engine";

-- For each table of another owner that the table refers to by a foreign key, with its schema and name:
--   GRANT USAGE ON SCHEMA parents_schema TO crossfade;
--   GRANT SELECT, REFERENCES, UPDATE ON parents_schema.parent TO crossfade;
