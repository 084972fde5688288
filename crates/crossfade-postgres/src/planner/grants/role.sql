-- What a role must be granted on a server whatever it changes or moves there, and what of it it has. $1: the role; $2: what it
-- makes in the database.
WITH engine AS (
  SELECT oid, rolsuper OR rolreplication AS replicates FROM pg_roles WHERE rolname = $1::text
), needed(place, statement, why, optional, held) AS (
  SELECT 1, format('CREATE ROLE %I LOGIN', $1), 'There is no such role yet. Give it a password as you like, for instance with \password.', false, false
   WHERE NOT EXISTS (SELECT FROM engine)
  UNION ALL
  SELECT 10, CASE WHEN hosted.oid IS NULL THEN format('ALTER ROLE %I REPLICATION', $1) ELSE format('GRANT %I TO %I', hosted.rolname, $1) END,
         'Reads the changes from the write-ahead log, through a replication slot.', false,
         (SELECT replicates FROM engine) OR (SELECT pg_has_role(e.oid, hosted.oid, 'MEMBER') FROM engine e WHERE hosted.oid IS NOT NULL)
    -- Where REPLICATION cannot be given, as on RDS.
    FROM (SELECT) one LEFT JOIN pg_roles hosted ON hosted.rolname = 'rds_replication'
  UNION ALL
  SELECT 20, format('GRANT CREATE ON DATABASE %I TO %I', current_database(), $1), 'Makes ' || $2::text, false,
         (SELECT has_database_privilege(oid, current_database(), 'CREATE') FROM engine)
  UNION ALL
  SELECT 90, format('GRANT pg_read_all_stats TO %I', $1),
         'Sees transactions of other roles that hold old snapshots or stand in the way of the lock, and how far standbys are behind. '
         'Without it neither is waited for.', true,
         (SELECT pg_has_role(e.oid, 'pg_read_all_stats', 'USAGE') FROM engine e)
)
SELECT place, statement, why, optional, coalesce(held, false) FROM needed ORDER BY place, statement
