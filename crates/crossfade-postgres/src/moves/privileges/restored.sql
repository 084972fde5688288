-- What a role must be granted to restore the schema of a move, and what of it it has. $1: the role; $2: what membership must
-- allow; $3: all of the database is restored, and its schemas with it; $4: a table with policies that hold for its owner, too;
-- $5 to $9: owners of what is restored, each with a schema, its owner, an object and their number; $10: grantees.
WITH engine AS (
  SELECT oid FROM pg_roles WHERE rolname = $1::text
), dumped AS (
  SELECT * FROM unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::int8[]) AS d (owner, schema, schema_owner, name, number)
), owners AS (
  SELECT owner, min(name) AS name, sum(number) AS number FROM dumped WHERE owner <> $1 GROUP BY owner
), places AS (
  -- Schemas that are made by the restore belong to their owner then.
  SELECT d.schema, d.owner, d.schema_owner, n.oid FROM dumped d LEFT JOIN pg_namespace n ON n.nspname = d.schema
   WHERE d.schema IS NOT NULL AND (n.oid IS NOT NULL OR NOT $3)
), needed(place, statement, why, optional, held, code, object) AS (
  SELECT 5, format('CREATE ROLE %I', role), 'It owns something of what is moved, or is granted something of it. '
         '(`pg_dumpall --roles-only` at the source writes all roles, with their passwords and memberships.)', false,
         false, 'role_not_found', 'role ' || role
    FROM (SELECT owner FROM dumped UNION SELECT unnest($10::text[])) roles (role)
   WHERE role <> $1 AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role)
  UNION ALL
  SELECT DISTINCT 30, format('CREATE SCHEMA %I AUTHORIZATION %I', schema, schema_owner),
         'Single tables are restored without their schema.', false, false, 'schema_not_found', 'schema ' || schema
    FROM places WHERE oid IS NULL
  UNION ALL
  SELECT 31, format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', p.schema, p.owner),
         format('%I is given what is restored there.', p.owner), false,
         has_schema_privilege(r.oid, p.oid, 'USAGE') AND has_schema_privilege(r.oid, p.oid, 'CREATE'),
         'schema_not_writable', 'schema ' || p.schema
    FROM places p LEFT JOIN pg_roles r ON r.rolname = p.owner WHERE p.oid IS NOT NULL OR p.owner <> p.schema_owner
  UNION ALL
  SELECT 40, format('GRANT %I TO %I', o.owner, $1) || CASE WHEN $2::text = 'SET' THEN ' WITH INHERIT TRUE, SET TRUE' ELSE '' END,
         format('%I is given %s', o.owner, o.name) || CASE WHEN o.number > 1 THEN format(' and %s more', o.number - 1) ELSE '' END
           || ', which only its members can; publishes, locks and shuts the tables.'
           || CASE WHEN r.rolsuper THEN ' It is a superuser: better give what it owns at the source another owner first.' ELSE '' END, false,
         (SELECT pg_has_role(e.oid, r.oid, 'USAGE') AND pg_has_role(e.oid, r.oid, $2) FROM engine e), 'not_a_member', 'role ' || o.owner
    FROM owners o LEFT JOIN pg_roles r ON r.rolname = o.owner
  UNION ALL
  SELECT 70, format('ALTER ROLE %I BYPASSRLS', $1), format('%s has policies that hold for its owner, too.', $4::text), false,
         (SELECT bool_or(r.rolbypassrls OR r.rolsuper) FROM pg_roles r WHERE r.rolname = $1), 'row_security_applies', $4::text
   WHERE $4::text IS NOT NULL
)
SELECT place, statement, why, optional, coalesce(held, false), code, object FROM needed ORDER BY place, statement
