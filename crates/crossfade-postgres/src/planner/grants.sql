-- What a role must be granted to change a table, beside what it needs on any server, and what of it it has. $1: the role; $2: the table; $3: schemas of further
-- tables; $4: what membership must allow, `SET` where the server tells that apart, else `MEMBER`.
WITH engine AS (
  SELECT oid FROM pg_roles WHERE rolname = $1::text
), source AS (
  SELECT c.oid, c.relowner, c.relnamespace FROM pg_class c WHERE c.oid = $2
), owners(role, why, place) AS (
  SELECT role, string_agg(DISTINCT why, '; '), min(place)
    FROM (SELECT s.relowner, format('owns %s: publishes it, locks it, moves it, and gives the new one its owner', s.oid::regclass), 1
            FROM source s
          UNION ALL
          SELECT t.relowner, format('owns %s, which refers to the table: its foreign key is made anew', t.oid::regclass), 2
            FROM source s JOIN pg_constraint k ON k.confrelid = s.oid AND k.contype = 'f' JOIN pg_class t ON t.oid = k.conrelid
           WHERE t.oid <> s.oid
          UNION ALL
          SELECT g.grantor, 'passed on privileges, which only it can give on the new table too', 3
            FROM source s
            CROSS JOIN LATERAL (
              SELECT c.relacl FROM pg_class c WHERE c.oid = s.oid
              UNION ALL SELECT a.attacl FROM pg_attribute a WHERE a.attrelid = s.oid
              UNION ALL SELECT q.relacl FROM pg_depend d JOIN pg_class q ON q.oid = d.objid
               WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = s.oid
                 AND d.deptype = 'i' AND q.relkind = 'S') acls(acl)
            CROSS JOIN LATERAL aclexplode(acls.acl) g
           WHERE g.grantor <> s.relowner) all_owners(role, why, place)
   GROUP BY role
), parents AS (
  SELECT DISTINCT p.oid, p.relnamespace, p.relowner
    FROM source s JOIN pg_constraint k ON k.conrelid = s.oid AND k.contype = 'f' JOIN pg_class p ON p.oid = k.confrelid
   WHERE p.oid <> s.oid AND p.relowner NOT IN (SELECT role FROM owners)
), functions AS (
  SELECT DISTINCT f.oid
    FROM source s JOIN pg_trigger t ON t.tgrelid = s.oid AND NOT t.tgisinternal JOIN pg_proc f ON f.oid = t.tgfoid
   WHERE NOT has_function_privilege(s.relowner, f.oid, 'EXECUTE')
), needed(place, statement, why, optional, held) AS (
  SELECT 30, format('GRANT USAGE, CREATE ON SCHEMA %I TO %I', n.nspname, $1),
         'Moves the new table into its place.', false,
         (SELECT has_schema_privilege(oid, n.oid, 'USAGE') AND has_schema_privilege(oid, n.oid, 'CREATE') FROM engine)
    FROM pg_namespace n WHERE n.oid IN (SELECT relnamespace FROM source) OR n.nspname = ANY ($3::text[])
  UNION ALL
  SELECT 40 + o.place, format('GRANT %I TO %I', r.rolname, $1) || CASE WHEN $4::text = 'SET' THEN ' WITH INHERIT TRUE, SET TRUE' ELSE '' END,
         format('%I %s.', r.rolname, o.why)
           || CASE WHEN r.rolsuper THEN ' It is a superuser: better give what it owns another owner first.' ELSE '' END, false,
         (SELECT pg_has_role(oid, r.oid, 'USAGE') AND pg_has_role(oid, r.oid, $4) FROM engine)
    FROM owners o JOIN pg_roles r ON r.oid = o.role WHERE r.rolname <> $1
  UNION ALL
  SELECT 50, format('GRANT USAGE ON SCHEMA %I TO %I', n.nspname, $1), 'The table refers to a table there.', false,
         (SELECT has_schema_privilege(oid, n.oid, 'USAGE') FROM engine)
    FROM (SELECT DISTINCT relnamespace FROM parents) p JOIN pg_namespace n ON n.oid = p.relnamespace
   WHERE n.oid NOT IN (SELECT relnamespace FROM source)
  UNION ALL
  SELECT 51, format('GRANT SELECT, REFERENCES, UPDATE ON TABLE %I.%I TO %I', n.nspname, p.relname, $1),
         'The new table refers to it too: REFERENCES makes the foreign key, SELECT validates it, and UPDATE is for the lock meanwhile.', false,
         (SELECT has_table_privilege(e.oid, p.oid, 'SELECT') AND has_table_privilege(e.oid, p.oid, 'REFERENCES')
                   AND has_table_privilege(e.oid, p.oid, 'UPDATE, DELETE, TRUNCATE') FROM engine e)
    FROM parents a JOIN pg_class p ON p.oid = a.oid JOIN pg_namespace n ON n.oid = p.relnamespace
  UNION ALL
  SELECT 60, format('GRANT EXECUTE ON FUNCTION %s TO %I', f.oid::regprocedure, $1), 'A trigger of the table calls it.', false,
         (SELECT has_function_privilege(e.oid, f.oid, 'EXECUTE') FROM engine e)
    FROM functions f
)
SELECT place, statement, why, optional, coalesce(held, false) FROM needed ORDER BY place, statement
