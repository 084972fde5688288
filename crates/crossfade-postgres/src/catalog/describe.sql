-- One document that holds everything attached to the table $1. The texts are deparsed under an empty
-- search_path, which is set, and set back, within the statement: each step reads from the one before.
with saved as materialized (
  select current_setting('search_path') as path
), pinned as materialized (
  select path, set_config('search_path', '', true) as emptied from saved
),
-- What belongs to the table, under names without schema and table.
own(classid, objid, label) as materialized (
  select 'pg_class'::regclass::oid, $1::oid, 'table'
  union all
  select 'pg_type'::regclass, c.reltype, 'row type' from pg_class c where c.oid = $1
  union all
  select 'pg_type'::regclass, t.typarray, 'array type'
  from pg_class c join pg_type t on t.oid = c.reltype where c.oid = $1
  union all
  select 'pg_class'::regclass, i.indexrelid, 'index ' || c.relname
  from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = $1
  union all
  select 'pg_constraint'::regclass, k.oid, 'constraint ' || k.conname from pg_constraint k where k.conrelid = $1
  union all
  select 'pg_attrdef'::regclass, f.oid, 'default of ' || a.attname
  from pg_attrdef f join pg_attribute a on a.attrelid = f.adrelid and a.attnum = f.adnum where f.adrelid = $1
  union all
  select 'pg_trigger'::regclass, t.oid, 'trigger ' || t.tgname
  from pg_trigger t where t.tgrelid = $1 and not t.tgisinternal
  union all
  select 'pg_policy'::regclass, p.oid, 'policy ' || p.polname from pg_policy p where p.polrelid = $1
  union all
  select 'pg_rewrite'::regclass, r.oid, 'rule ' || r.rulename from pg_rewrite r where r.ev_class = $1
  union all
  select 'pg_class'::regclass, d.objid, 'identity sequence of ' || a.attname
  from pg_depend d join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
  where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = $1
    and d.deptype = 'i' and d.refobjsubid > 0
),
edges as materialized (
  select d.* from own join pg_depend d on d.classid = own.classid and d.objid = own.objid
  union
  select d.* from own join pg_depend d on d.refclassid = own.classid and d.refobjid = own.objid
),
ends as materialized (
  select distinct e.classid, e.objid, e.objsubid
  from (select classid, objid, objsubid from edges union select refclassid, refobjid, refobjsubid from edges) e
),
named as materialized (
  select e.*, own.label is not null as is_own,
    case
      when own.label = 'table' and e.objsubid > 0
        then 'column ' || (select attname from pg_attribute where attrelid = e.objid and attnum = e.objsubid)
      when own.label is not null then own.label
      else coalesce(
        (select case c.relkind when 'm' then 'materialized view ' else 'view ' end || c.oid::regclass::text
         from pg_rewrite r join pg_class c on c.oid = r.ev_class
         where e.classid = 'pg_rewrite'::regclass and r.oid = e.objid and r.rulename = '_RETURN'),
        (select o.type || ' ' || o.identity from pg_identify_object(e.classid, e.objid, e.objsubid) o),
        pg_describe_object(e.classid, e.objid, e.objsubid))
    end as name
  from pinned, ends e left join own on own.classid = e.classid and own.objid = e.objid
),
document as materialized (
  select (select jsonb_build_object(
    'name', jsonb_build_object('schema', n.nspname, 'name', c.relname),
    'table', jsonb_build_object(
      'kind', c.relkind,
      'persistence', c.relpersistence,
      'access_method', (select amname from pg_am where oid = c.relam),
      'tablespace', (select spcname from pg_tablespace where oid = c.reltablespace),
      'owner', pg_get_userbyid(c.relowner),
      'grants', (
        select coalesce(jsonb_agg(jsonb_build_object('grantor', pg_get_userbyid(g.grantor),
          'grantee', case when g.grantee <> 0 then pg_get_userbyid(g.grantee) end,
          'privilege', g.privilege_type, 'grantable', g.is_grantable)), '[]')
        from aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) g),
      'options', coalesce(to_jsonb(c.reloptions), '[]'),
      'toast_options', coalesce((select to_jsonb(reloptions) from pg_class where oid = c.reltoastrelid), '[]'),
      'replica_identity', case c.relreplident
        when 'd' then jsonb_build_object('kind', 'default')
        when 'f' then jsonb_build_object('kind', 'full')
        when 'n' then jsonb_build_object('kind', 'nothing')
        else jsonb_build_object('kind', 'index', 'name', (
          select ic.relname from pg_index i join pg_class ic on ic.oid = i.indexrelid
          where i.indrelid = c.oid and i.indisreplident)) end,
      'clustered_index', (
        select ic.relname from pg_index i join pg_class ic on ic.oid = i.indexrelid
        where i.indrelid = c.oid and i.indisclustered),
      'row_security', c.relrowsecurity,
      'force_row_security', c.relforcerowsecurity,
      'of_type', case when c.reloftype <> 0 then format_type(c.reloftype, null) end,
      'parents', coalesce((
        select jsonb_agg(inhparent::regclass::text order by inhseqno) from pg_inherits where inhrelid = c.oid), '[]'),
      'children', coalesce((
        select jsonb_agg(inhrelid::regclass::text) from pg_inherits where inhparent = c.oid), '[]'),
      'partition_bound', pg_get_expr(c.relpartbound, c.oid),
      'partition_key', case when c.relkind = 'p' then pg_get_partkeydef(c.oid) end,
      'partitions', coalesce((
        select jsonb_agg(jsonb_build_object('name', p.relname, 'bound', pg_get_expr(p.relpartbound, p.oid)))
        from pg_inherits h join pg_class p on p.oid = h.inhrelid
        where h.inhparent = c.oid and c.relkind = 'p' and p.relnamespace = c.relnamespace), '[]'),
      'comment', obj_description(c.oid, 'pg_class'),
      'security_labels', (
        select coalesce(jsonb_agg(own.label || coalesce(' column ' || a.attname, '') || ': '
          || s.provider || '=' || s.label), '[]')
        from own join pg_seclabel s on s.classoid = own.classid and s.objoid = own.objid
          left join pg_attribute a on own.label = 'table' and a.attrelid = s.objoid and a.attnum = s.objsubid
            and s.objsubid > 0)),
    'row_type', (
      select jsonb_build_object(
        'grants', (
          select coalesce(jsonb_agg(jsonb_build_object('grantor', pg_get_userbyid(g.grantor),
            'grantee', case when g.grantee <> 0 then pg_get_userbyid(g.grantee) end,
            'privilege', g.privilege_type, 'grantable', g.is_grantable)), '[]')
          from aclexplode(t.typacl) g
          where not (t.typacl @> acldefault('T', t.typowner) and t.typacl <@ acldefault('T', t.typowner))),
        'comment', obj_description(t.oid, 'pg_type'))
      from pg_type t where t.oid = c.reltype),
    'columns', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', a.attname,
        'position', a.position,
        'type_name', format_type(a.atttypid, a.atttypmod),
        'collation', (
          select quote_ident(cn.nspname) || '.' || quote_ident(co.collname)
          from pg_collation co join pg_namespace cn on cn.oid = co.collnamespace
          where co.oid = a.attcollation and a.attcollation <> t.typcollation),
        'not_null', a.attnotnull,
        'default', case when a.attgenerated = '' then pg_get_expr(f.adbin, f.adrelid) end,
        'generated', case when a.attgenerated <> '' then jsonb_build_object(
          'expression', pg_get_expr(f.adbin, f.adrelid), 'stored', a.attgenerated = 's') end,
        'identity', case a.attidentity when 'a' then 'always' when 'd' then 'by_default' end,
        'storage', case when a.attstorage <> t.typstorage then
          case a.attstorage when 'p' then 'plain' when 'e' then 'external' when 'x' then 'extended' else 'main' end
        end,
        'compression', case a.attcompression when 'p' then 'pglz' when 'l' then 'lz4' end,
        'statistics', nullif(a.attstattarget, -1),
        -- Some releases stamp every column with a version that no statement can set.
        'options', (
          select coalesce(jsonb_agg(o), '[]') from unnest(a.attoptions) o where o not like 'pg_attver=%'),
        'grants', (
          select coalesce(jsonb_agg(jsonb_build_object('grantor', pg_get_userbyid(g.grantor),
            'grantee', case when g.grantee <> 0 then pg_get_userbyid(g.grantee) end,
            'privilege', g.privilege_type, 'grantable', g.is_grantable)), '[]')
          from aclexplode(a.attacl) g),
        'comment', col_description(a.attrelid, a.attnum)) order by a.position), '[]')
      from (
        select row_number() over (order by x.attnum) as position, x.*
        from pg_attribute x where x.attrelid = c.oid and x.attnum > 0 and not x.attisdropped) a
        join pg_type t on t.oid = a.atttypid
        left join pg_attrdef f on f.adrelid = a.attrelid and f.adnum = a.attnum),
    'constraints', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', k.conname,
        'kind', case k.contype when 'p' then 'primary_key' when 'u' then 'unique' when 'c' then 'check'
          when 'x' then 'exclusion' else 'not_null' end,
        'definition', pg_get_constraintdef(k.oid),
        'columns', (
          select coalesce(jsonb_agg(a.attname order by u.place), '[]')
          from unnest(k.conkey) with ordinality u(attnum, place)
            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.attnum),
        'validated', k.convalidated,
        'deferrable', k.condeferrable,
        'deferred', k.condeferred,
        'no_inherit', k.connoinherit,
        'index', (select relname from pg_class where oid = k.conindid),
        'comment', obj_description(k.oid, 'pg_constraint'))), '[]')
      from pg_constraint k where k.conrelid = c.oid and k.contype in ('p', 'u', 'c', 'x', 'n')),
    'foreign_keys', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', k.conname,
        'referencing', case when k.conrelid <> c.oid then jsonb_build_object('schema', tn.nspname, 'name', t.relname) end,
        'referenced', case when k.confrelid <> c.oid then jsonb_build_object('schema', rn.nspname, 'name', r.relname) end,
        'referencing_kind', t.relkind,
        'referenced_kind', r.relkind,
        'columns', l.columns,
        'referenced_columns', l.referenced,
        'period', l.period,
        'clauses', case when starts_with(l.def, l.head)
          then regexp_replace(substr(l.def, length(l.head) + 1), ' NOT VALID$', '') end,
        'validated', k.convalidated,
        'index', (select relname from pg_class where oid = k.conindid),
        'comment', obj_description(k.oid, 'pg_constraint'),
        'triggers', (
          select coalesce(jsonb_agg(jsonb_build_object('function', p.proname,
            'fires', case g.tgenabled when 'D' then 'disabled' when 'R' then 'replica' else 'always' end)), '[]')
          from pg_trigger g join pg_proc p on p.oid = g.tgfoid
          where g.tgconstraint = k.oid and g.tgisinternal and g.tgenabled <> 'O'),
        'inherited', (
          select 'constraint ' || quote_ident(pk.conname) || ' on ' || pk.conrelid::regclass::text
          from pg_constraint pk where pk.oid = k.conparentid))), '[]')
      from pg_constraint k
        join pg_class t on t.oid = k.conrelid join pg_namespace tn on tn.oid = t.relnamespace
        join pg_class r on r.oid = k.confrelid join pg_namespace rn on rn.oid = r.relnamespace
        cross join lateral (
          select jsonb_agg(a.attname order by u.place) as columns, jsonb_agg(b.attname order by u.place) as referenced,
            bool_or(p.period) as period, pg_get_constraintdef(k.oid) as def,
            'FOREIGN KEY ('
            || string_agg(case when p.period and u.last then 'PERIOD ' else '' end || quote_ident(a.attname), ', ' order by u.place)
            || ') REFERENCES ' || quote_ident(rn.nspname) || '.' || quote_ident(r.relname) || '('
            || string_agg(case when p.period and u.last then 'PERIOD ' else '' end || quote_ident(b.attname), ', ' order by u.place)
            || ')' as head
          from (select coalesce((to_jsonb(k) ->> 'conperiod')::bool, false)) p(period)
            cross join (
              select x.own, x.other, x.place, x.place = cardinality(k.conkey) as last
              from unnest(k.conkey, k.confkey) with ordinality x(own, other, place)) u
            join pg_attribute a on a.attrelid = k.conrelid and a.attnum = u.own
            join pg_attribute b on b.attrelid = k.confrelid and b.attnum = u.other) l
      where k.contype = 'f' and (k.conrelid = c.oid or k.confrelid = c.oid)),
    'indexes', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', ic.relname,
        'definition', case when starts_with(l.def, l.head) then
          substr(l.def, length(l.head) + 1, length(l.def) - length(l.head) - coalesce(length(' WHERE ' || l.predicate), 0))
        end,
        'predicate', l.predicate,
        'columns', (
          select jsonb_agg(a.attname order by u.place)
          from unnest(i.indkey::int2[]) with ordinality u(attnum, place)
            left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = u.attnum
          where u.place <= i.indnkeyatts),
        'unique', i.indisunique,
        'valid', i.indisvalid and i.indisready and i.indislive,
        'immediate', i.indimmediate,
        'clustered', i.indisclustered,
        'replica_identity', i.indisreplident,
        'constraint', (
          select min(k.conname::text) from pg_constraint k
          where k.conrelid = i.indrelid and k.conindid = i.indexrelid and k.contype in ('p', 'u', 'x')),
        'statistics', (
          select coalesce(jsonb_agg(jsonb_build_array(a.attnum, a.attstattarget)), '[]')
          from pg_attribute a where a.attrelid = i.indexrelid and a.attnum > 0 and a.attstattarget <> -1),
        'tablespace', (select spcname from pg_tablespace where oid = ic.reltablespace),
        'comment', obj_description(ic.oid, 'pg_class'))), '[]')
      from pg_index i
        join pg_class ic on ic.oid = i.indexrelid
        cross join lateral (
          select pg_get_indexdef(i.indexrelid) as def, pg_get_expr(i.indpred, i.indrelid) as predicate,
            'CREATE ' || case when i.indisunique then 'UNIQUE ' else '' end || 'INDEX ' || quote_ident(ic.relname)
            || ' ON ' || case when c.relkind = 'p' then 'ONLY ' else '' end
            || quote_ident(n.nspname) || '.' || quote_ident(c.relname) || ' USING ' as head) l
      where i.indrelid = c.oid),
    'triggers', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', t.tgname,
        'definition', pg_get_triggerdef(t.oid),
        'fires', case t.tgenabled when 'O' then 'origin' when 'D' then 'disabled' when 'R' then 'replica' else 'always' end,
        'comment', obj_description(t.oid, 'pg_trigger'))), '[]')
      from pg_trigger t where t.tgrelid = c.oid and not t.tgisinternal),
    'rules', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', r.rulename,
        'definition', pg_get_ruledef(r.oid),
        'fires', case r.ev_enabled when 'O' then 'origin' when 'D' then 'disabled' when 'R' then 'replica' else 'always' end)), '[]')
      from pg_rewrite r where r.ev_class = c.oid),
    'policies', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', p.polname,
        'definition', concat_ws(' ', p.polcmd, case when p.polpermissive then 'permissive' else 'restrictive' end,
          (select string_agg(case when r = 0 then 'public' else pg_get_userbyid(r)::text end, ',') from unnest(p.polroles) r),
          'using', pg_get_expr(p.polqual, p.polrelid), 'check', pg_get_expr(p.polwithcheck, p.polrelid)))), '[]')
      from pg_policy p where p.polrelid = c.oid),
    'sequences', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', sc.relname,
        'owned', case d.deptype when 'i' then 'identity' else 'serial' end,
        'column', a.attname,
        'type_name', format_type(s.seqtypid, null),
        'start', s.seqstart, 'increment', s.seqincrement, 'min', s.seqmin, 'max', s.seqmax,
        'cache', s.seqcache, 'cycle', s.seqcycle,
        'owner', pg_get_userbyid(sc.relowner),
        'grants', (
          select coalesce(jsonb_agg(jsonb_build_object('grantor', pg_get_userbyid(g.grantor),
            'grantee', case when g.grantee <> 0 then pg_get_userbyid(g.grantee) end,
            'privilege', g.privilege_type, 'grantable', g.is_grantable)), '[]')
          from aclexplode(coalesce(sc.relacl, acldefault('s', sc.relowner))) g),
        'comment', obj_description(sc.oid, 'pg_class'),
        'persistence', sc.relpersistence)), '[]')
      from pg_depend d
        join pg_class sc on sc.oid = d.objid and sc.relkind = 'S'
        join pg_sequence s on s.seqrelid = sc.oid
        join pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
      where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid
        and d.deptype in ('a', 'i')),
    'publications', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'name', p.pubname,
        'by', case when p.puballtables then 'all_tables' when r.oid is not null then 'table' else 'schema' end)), '[]')
      from pg_publication p
        left join pg_publication_rel r on r.prpubid = p.oid and r.prrelid = c.oid
        -- By its edges, since 14 has no such catalog.
        cross join lateral (select exists (
          select from pg_depend s
            join pg_depend o on o.classid = s.classid and o.objid = s.objid
              and o.refclassid = 'pg_publication'::regclass and o.refobjid = p.oid
          where s.classid = to_regclass('pg_publication_namespace')
            and s.refclassid = 'pg_namespace'::regclass and s.refobjid = c.relnamespace)) b(schema)
      where p.puballtables or r.oid is not null or b.schema),
    'subscriptions', (
      select coalesce(jsonb_agg(s.subname), '[]')
      from pg_subscription_rel r join pg_subscription s on s.oid = r.srsubid where r.srrelid = c.oid),
    -- The schema is in the name already; TOAST tables and internal triggers come with what they serve.
    'depend', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'dependent', f.name, 'dependent_own', f.is_own, 'kind', e.deptype,
        'referenced', t.name, 'referenced_own', t.is_own)), '[]')
      from edges e
        join named f on f.classid = e.classid and f.objid = e.objid and f.objsubid = e.objsubid
        join named t on t.classid = e.refclassid and t.objid = e.refobjid and t.objsubid = e.refobjsubid
      where not (e.refclassid = 'pg_namespace'::regclass and e.refobjid = c.relnamespace)
        and not (e.classid = 'pg_class'::regclass and e.objid = c.reltoastrelid)
        and not (e.classid = 'pg_trigger'::regclass
          and exists (select from pg_trigger g where g.oid = e.objid and g.tgisinternal))
        and not (e.refclassid = 'pg_trigger'::regclass
          and exists (select from pg_trigger g where g.oid = e.refobjid and g.tgisinternal))),
    'outside', jsonb_build_object(
      'oid', c.oid::bigint,
      'relfilenode', c.relfilenode::bigint,
      'version_num', current_setting('server_version_num')::int,
      'roles_not_ours', (
        select coalesce(jsonb_agg(distinct pg_get_userbyid(o.role)), '[]')
        from (
          select c.relowner, 'USAGE'
          union select t.relowner, 'USAGE'
          from pg_constraint k join pg_class t on t.oid = k.conrelid where k.contype = 'f' and k.confrelid = c.oid
          union select g.grantor, 'MEMBER' from aclexplode(c.relacl) g
          union select g.grantor, 'MEMBER' from pg_attribute a, aclexplode(a.attacl) g where a.attrelid = c.oid
          union select g.grantor, 'MEMBER'
          from pg_depend d join pg_class sc on sc.oid = d.objid, aclexplode(sc.relacl) g
          where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid
            and d.deptype = 'i' and sc.relkind = 'S') o(role, how)
        where not pg_has_role(o.role, o.how)),
      'privileges_not_ours', (
        select coalesce(jsonb_agg(distinct m.missing), '[]')
        from (
          select p.privilege || ' on ' || k.confrelid::regclass::text
          from pg_constraint k,
            (values ('UPDATE', 'UPDATE, DELETE, TRUNCATE'), ('REFERENCES', 'REFERENCES')) p(privilege, any_of)
          where k.contype = 'f' and k.conrelid = c.oid and not has_table_privilege(k.confrelid, p.any_of)
          union
          select 'CREATE on schema ' || quote_ident(n.nspname) where not has_schema_privilege(n.oid, 'CREATE')
          union
          select 'CREATE on database ' || quote_ident(current_database())
          where not has_database_privilege(current_database(), 'CREATE')) m(missing)),
      'default_grantees', (
        select coalesce(jsonb_agg(distinct case when g.grantee <> 0 then pg_get_userbyid(g.grantee) end), '[]')
        from pg_default_acl d, aclexplode(d.defaclacl) g
        where d.defaclrole = (select r.oid from pg_roles r where r.rolname = current_user) and d.defaclnamespace = 0 and d.defaclobjtype in ('r', 'S')),
      'event_triggers', (
        select coalesce(jsonb_agg(evtname), '[]') from pg_event_trigger where evtenabled <> 'D')))
    from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = $1) as document
  from pinned
), restored as materialized (
  select set_config('search_path', pinned.path, true) as path from pinned, document
)
select document.document from document, restored
