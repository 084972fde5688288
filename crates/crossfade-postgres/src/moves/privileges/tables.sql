-- What a role must be granted to move tables that are there, from or to the server, and what of it it has. $1: the role; $2: the
-- tables and their sequences; $3: what membership must allow, `SET` where the server tells that apart, else `MEMBER`.
WITH engine AS (
  SELECT oid FROM pg_roles WHERE rolname = $1::text
), moved AS (
  SELECT c.oid, c.oid::regclass::text AS name, c.relkind, c.relowner, c.relnamespace,
         c.relrowsecurity AND c.relforcerowsecurity AS filtered
    FROM pg_class c WHERE c.oid = ANY ($2::oid[])
), owners AS (
  SELECT relowner AS role, array_agg(name ORDER BY oid) AS names FROM moved GROUP BY relowner
), functions AS (
  SELECT DISTINCT f.oid, f.pronamespace
    FROM moved m JOIN pg_trigger t ON t.tgrelid = m.oid AND NOT t.tgisinternal JOIN pg_proc f ON f.oid = t.tgfoid
   WHERE t.tgname <> 'crossfade_lockout'
), schemas(oid, why) AS (
  SELECT relnamespace, 'Finds the tables in it.' FROM moved
  UNION
  SELECT pronamespace, 'Finds a function in it that a trigger of a table calls.' FROM functions
   WHERE pronamespace NOT IN (SELECT relnamespace FROM moved)
), taken(oid, privileges) AS (
  -- Owners can take privileges away from themselves.
  SELECT m.oid, array_agg(privilege ORDER BY privilege)
    FROM moved m CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[]) AS privilege
   WHERE m.relkind <> 'S' AND NOT EXISTS (SELECT FROM owners o WHERE has_table_privilege(o.role, m.oid, privilege))
   GROUP BY m.oid
), needed(place, statement, why, optional, held, code, object) AS (
  SELECT 30, format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, $1), s.why, false,
         (SELECT has_schema_privilege(e.oid, n.oid, 'USAGE') FROM engine e), 'privilege_missing', 'schema ' || n.nspname
    FROM schemas s JOIN pg_namespace n ON n.oid = s.oid
   WHERE NOT EXISTS (SELECT FROM owners o WHERE has_schema_privilege(o.role, n.oid, 'USAGE'))
  UNION ALL
  SELECT 40, format('GRANT %I TO %I', r.rolname, $1) || CASE WHEN $3::text = 'SET' THEN ' WITH INHERIT TRUE, SET TRUE' ELSE '' END,
         format('%I owns %s: publishes them, locks them, shuts writers out, and lets them follow.', r.rolname,
                array_to_string(o.names[:3], ', ') || CASE WHEN cardinality(o.names) > 3 THEN format(' and %s more', cardinality(o.names) - 3) ELSE '' END)
           || CASE WHEN r.rolsuper THEN ' It is a superuser: better give what it owns another owner first.' ELSE '' END, false,
         (SELECT pg_has_role(e.oid, r.oid, 'USAGE') AND pg_has_role(e.oid, r.oid, $3) FROM engine e), 'not_a_member', 'role ' || r.rolname
    FROM owners o JOIN pg_roles r ON r.oid = o.role WHERE r.rolname <> $1
  UNION ALL
  SELECT 50, format('GRANT %s ON TABLE %s TO %I', array_to_string(t.privileges, ', '), m.name, $1),
         'Its owner has taken this away from itself.', false,
         (SELECT bool_and(has_table_privilege(e.oid, t.oid, privilege)) FROM engine e, unnest(t.privileges) AS privilege),
         CASE WHEN 'SELECT' = ANY (t.privileges) THEN 'role_cannot_read' ELSE 'privilege_missing' END, m.name
    FROM taken t JOIN moved m USING (oid)
  UNION ALL
  SELECT 60, format('GRANT EXECUTE ON FUNCTION %s TO %I', f.oid::regprocedure, $1),
         'A trigger of a table calls it, and is made anew when its table leads again.', false,
         (SELECT has_function_privilege(e.oid, f.oid, 'EXECUTE') FROM engine e), 'privilege_missing', f.oid::regprocedure::text
    FROM functions f WHERE NOT EXISTS (SELECT FROM owners o WHERE has_function_privilege(o.role, f.oid, 'EXECUTE'))
  UNION ALL
  SELECT 70, format('ALTER ROLE %I BYPASSRLS', $1), format('%s has policies that hold for its owner, too.', min(m.name)), false,
         (SELECT bool_or(r.rolbypassrls OR r.rolsuper) FROM pg_roles r WHERE r.rolname = $1), 'row_security_applies', min(m.name)
    FROM moved m WHERE m.filtered HAVING count(*) > 0
)
SELECT place, statement, why, optional, coalesce(held, false), code, object FROM needed ORDER BY place, statement
