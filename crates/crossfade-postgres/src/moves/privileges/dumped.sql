-- Whose objects a dump of the schema makes, in which schemas. $1: the tables that move; $2: all of the database is dumped.
-- A row for each owner and schema, with one of the objects, how many there are, and who owns the schema.
WITH named(classid, oid, owner, namespace) AS (
  SELECT 'pg_class'::regclass, oid, relowner, relnamespace FROM pg_class
   WHERE oid = ANY ($1::oid[]) OR $2 AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND relpersistence <> 't'
  UNION ALL
  SELECT 'pg_proc'::regclass, oid, proowner, pronamespace FROM pg_proc WHERE $2
  UNION ALL
  SELECT 'pg_type'::regclass, oid, typowner, typnamespace FROM pg_type t
   WHERE $2 AND typrelid = 0 AND typtype <> 'm' AND NOT EXISTS (SELECT FROM pg_type e WHERE e.typarray = t.oid)
  UNION ALL
  -- That of each new database is not made.
  SELECT 'pg_namespace'::regclass, oid, nspowner, oid FROM pg_namespace WHERE $2 AND nspname <> 'public'
), objects(classid, oid, owner, schema, schema_owner) AS (
  SELECT o.classid, o.oid, o.owner, n.nspname, n.nspowner
    FROM named o JOIN pg_namespace n ON n.oid = o.namespace
   WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^(pg_|crossfade(_|$))'
  UNION ALL
  SELECT classid, objid, refobjid, NULL, NULL FROM pg_shdepend
   WHERE $2 AND deptype = 'o' AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
     AND classid <> ALL (ARRAY['pg_class', 'pg_proc', 'pg_type', 'pg_namespace', 'pg_extension', 'pg_publication']::regclass[])
)
SELECT r.rolname::text, o.schema::text, pg_get_userbyid(o.schema_owner)::text,
       min(pg_describe_object(o.classid, o.oid, 0)), count(*)
  FROM objects o JOIN pg_roles r ON r.oid = o.owner
 WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.oid AND d.deptype = 'e')
 GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
