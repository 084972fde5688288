jsonb_build_object(
  'wal_level', current_setting('wal_level'),
  'slots_max', current_setting('max_replication_slots')::int,
  'slots_used', (SELECT count(*) FROM pg_replication_slots),
  'senders_max', current_setting('max_wal_senders')::int,
  'senders_used', (SELECT count(*) FROM pg_stat_replication),
  'synchronous_standby_names', current_setting('synchronous_standby_names'),
  -- Of 17 and later; names of slots need no quotes.
  'awaited_standbys', (SELECT coalesce(jsonb_agg(name ORDER BY name), '[]')
                         FROM (SELECT btrim(part, ' "') FROM regexp_split_to_table(
                                 coalesce(current_setting('synchronized_standby_slots', true), ''), ',') part) named(name)
                        WHERE name <> '' AND NOT EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = name AND active)),
  'slot_keeps_bytes', (SELECT CASE WHEN setting::int8 >= 0 THEN setting::int8 * 1048576 END
                         FROM pg_settings WHERE name = 'max_slot_wal_keep_size'),
  'standbys_unseen', (SELECT count(*) FROM pg_stat_replication s
                       WHERE s.backend_xmin IS NULL
                         AND NOT EXISTS (SELECT FROM pg_replication_slots l WHERE l.active_pid = s.pid)),
  'may_see_lag', pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
  'role', current_user::text,
  'may_replicate', (SELECT rolsuper OR rolreplication FROM pg_roles WHERE rolname = current_user)
    OR EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication' AND pg_has_role(oid, 'MEMBER')),
  'replicates_by', (SELECT rolname::text FROM pg_roles WHERE rolname = 'rds_replication'),
  'may_create_schemas', has_database_privilege(current_database(), 'CREATE'),
  'database', current_database()::text,
  'publications_of_all', (SELECT coalesce(jsonb_agg(pubname ORDER BY pubname), '[]')
                            FROM pg_publication WHERE puballtables),
  -- Of all databases, both: a slot that is made waits for whoever writes anywhere.
  'prepared', (SELECT coalesce(jsonb_agg(jsonb_build_object('gid', gid, 'age_s', extract(epoch FROM now() - prepared)::int8)
                                         ORDER BY prepared), '[]')
                 FROM pg_prepared_xacts),
  'long', (SELECT coalesce(jsonb_agg(jsonb_build_object('pid', pid, 'user', usename::text, 'application', application_name,
                                       'age_s', extract(epoch FROM now() - xact_start)::int8) ORDER BY xact_start), '[]')
             FROM pg_stat_activity
            WHERE xact_start < now() - interval '5 minutes' AND pid <> pg_backend_pid() AND usesysid IS NOT NULL),
  'event_triggers', (SELECT coalesce(jsonb_agg(evtname::text ORDER BY evtname), '[]') FROM pg_event_trigger WHERE evtenabled <> 'D')
)
