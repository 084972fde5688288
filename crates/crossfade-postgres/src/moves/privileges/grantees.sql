-- Who is granted something of what a dump makes, or is named by a policy. $1: the tables that move; $2: all is dumped.
SELECT DISTINCT r.rolname::text
  FROM (SELECT a.grantee FROM pg_class c CROSS JOIN LATERAL aclexplode(c.relacl) a WHERE c.oid = ANY ($1::oid[])
        UNION ALL
        SELECT refobjid FROM pg_shdepend s
         WHERE $2 AND deptype IN ('a', 'i', 'r') AND dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
           AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = s.classid AND d.objid = s.objid AND d.deptype = 'e')) g (role)
  JOIN pg_roles r ON r.oid = g.role ORDER BY 1
