-- What preflight must know beside the table's definition. $1: the table; $2: slot, publication and schema of the
-- migration; $3: the schema for its retired table.
SELECT jsonb_build_object(
  'server', {server},
  'owns_table', pg_has_role(c.relowner, 'USAGE'),
  'owner', pg_get_userbyid(c.relowner)::text,
  'may_select', has_table_privilege(c.oid, 'SELECT'),
  'may_create_in_schema', has_schema_privilege(c.relnamespace, 'CREATE')
    AND has_schema_privilege(c.relnamespace, 'USAGE'),
  'row_security_applies', row_security_active(c.oid),
  -- Locks of prepared transactions have no process; their own id is among them.
  'prepared', (SELECT coalesce(jsonb_agg(DISTINCT p.gid), '[]')
                 FROM pg_locks l
                 JOIN pg_locks x ON x.virtualtransaction = l.virtualtransaction AND x.locktype = 'transactionid'
                 JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
                WHERE l.locktype = 'relation' AND l.relation = c.oid AND l.pid IS NULL AND x.pid IS NULL
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())),
  'taken', (SELECT coalesce(jsonb_agg(name ORDER BY name), '[]') FROM (
      SELECT 'replication slot ' || slot_name FROM pg_replication_slots WHERE slot_name IN ($2::text, $2::text || '_back')
      UNION ALL SELECT 'publication ' || pubname FROM pg_publication WHERE pubname IN ($2::text, $2::text || '_back')
      UNION ALL SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname IN ($2::text, $3::text)) AS names (name)),
  'related', (SELECT coalesce(jsonb_agg(jsonb_build_object(
        'table', jsonb_build_object('schema', n.nspname, 'name', o.relname),
        'owned', pg_has_role(o.relowner, 'USAGE'),
        'referencing', k.confrelid = c.oid,
        'lockable', has_table_privilege(o.oid, 'UPDATE') OR has_table_privilege(o.oid, 'DELETE')
          OR has_table_privilege(o.oid, 'TRUNCATE'),
        'may_reference', has_table_privilege(o.oid, 'REFERENCES')) ORDER BY k.conname), '[]')
      FROM pg_constraint k
      JOIN pg_class o ON o.oid = CASE WHEN k.confrelid = c.oid THEN k.conrelid ELSE k.confrelid END
      JOIN pg_namespace n ON n.oid = o.relnamespace
     WHERE k.contype = 'f' AND c.oid IN (k.conrelid, k.confrelid) AND o.oid <> c.oid),
  'changed_or_deleted', coalesce(pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid), 0)
)
  FROM pg_class c WHERE c.oid = $1
