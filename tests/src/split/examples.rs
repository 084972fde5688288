//! The examples.

use super::Example;

/// A jsonb column becomes a table; profiles are emptied, nulled, big, and keys of users change.
pub static USER_SETTINGS: Example = Example {
    file: "user_settings.toml",
    setup: "CREATE TABLE users (id bigint PRIMARY KEY, name text NOT NULL, profile jsonb);
            INSERT INTO users SELECT i, 'user ' || i,
                   CASE WHEN i % 7 = 0 THEN NULL WHEN i % 5 = 0 THEN '{}'
                        ELSE jsonb_build_object('theme', i % 3, 'lang', 'l' || i, 'big', repeat(md5(i::text), (i % 100)::integer)) END
              FROM generate_series(1, {rows}) AS i",
    table: "users",
    look: "SELECT profile FROM public.users LIMIT 0",
    writes: &[
        "UPDATE {t} SET profile = NULL WHERE id = {k}",
        "UPDATE {t} SET profile = '{}' WHERE id = {k}",
        "UPDATE {t} SET profile = jsonb_build_object('theme', {n}, 'extra {n}', '', 'none', null) WHERE id = {k}",
        "UPDATE {t} SET profile = jsonb_build_object('big', (SELECT string_agg(md5(i::text || '{n}'), '') FROM generate_series(1, 300) AS i)) WHERE id = {k}",
        "UPDATE {t} SET profile = profile || '{\"theme\": {n}}' WHERE id = {k}",
        "UPDATE {t} SET profile = profile - 'theme' WHERE id = {k}",
        "UPDATE {t} SET name = 'renamed {n}' WHERE id = {k}",
        "UPDATE {t} SET name = 'all of them {n}' WHERE id BETWEEN {k} AND {k} + 20",
        "UPDATE {t} SET id = {new} WHERE id = {k}",
        "DELETE FROM {t} WHERE id = {k}",
        "INSERT INTO {t} VALUES ({k}, 'back', '{\"theme\": {n}}') ON CONFLICT (id) DO UPDATE SET profile = '{\"over\": 1}'",
    ],
    equal: &[
        (
            "SELECT id, name, has_settings FROM public.users",
            "SELECT id, name, profile IS NOT NULL FROM twin.users",
        ),
        (
            "SELECT user_id, setting, content FROM public.user_settings",
            "SELECT id, key, value FROM twin.users, jsonb_each(profile)",
        ),
    ],
    tables: &["users", "user_settings"],
    new_look: "SELECT has_settings FROM public.users LIMIT 0",
    new_writes: &[
        "UPDATE {s}.users SET name = 'new {n}' WHERE id = {k}",
        "UPDATE {s}.users SET has_settings = NOT has_settings WHERE id = {k}",
        "UPDATE {s}.users SET id = {new} WHERE id = {k}",
        "DELETE FROM {s}.users WHERE id = {k}",
        "INSERT INTO {s}.users VALUES ({new}, 'nobody yet', true)",
        "INSERT INTO {s}.user_settings VALUES ({k}, 'new', '{n}') ON CONFLICT (user_id, setting) DO UPDATE SET content = '{n}'",
        "INSERT INTO {s}.user_settings SELECT {k}, 'big {n}', to_jsonb(string_agg(md5(i::text || '{n}'), '')) FROM generate_series(1, 300) AS i
             ON CONFLICT DO NOTHING",
        "UPDATE {s}.user_settings SET content = 'null' WHERE user_id = {k} AND setting = 'theme'",
        "UPDATE {s}.user_settings SET user_id = {new} WHERE user_id = {k}",
        "DELETE FROM {s}.user_settings WHERE user_id = {k}",
        "DELETE FROM {s}.user_settings WHERE user_id = {k} AND setting <> 'new'",
    ],
    old: "SELECT id, name, profile FROM public.users",
    insert: "INSERT INTO {t} (id, name, profile) VALUES ({new}, 'new', '{\"theme\": {n}, \"none\": null}')",
};

/// An array column becomes a table, and the key is retyped in the same run.
pub static ORDER_TAGS: Example = Example {
    file: "order_tags.toml",
    setup: "CREATE TABLE orders (id integer PRIMARY KEY, note text, tags text[]);
            INSERT INTO orders SELECT i, 'note', (ARRAY['A' || i % 7, 'b', 'c' || i])[1:(i % 4)] FROM generate_series(1, {rows}) AS i",
    table: "orders",
    look: "SELECT tags FROM public.orders LIMIT 0",
    writes: &[
        "UPDATE {t} SET tags = NULL WHERE id = {k}",
        "UPDATE {t} SET tags = tags || 'more {n}'::text WHERE id = {k}",
        "UPDATE {t} SET tags = ARRAY['', NULL, 'kept {n}', ''] WHERE id = {k}",
        "UPDATE {t} SET tags = tags[2:] WHERE id = {k}",
        "UPDATE {t} SET tags = ARRAY(SELECT md5(i::text || '{n}') FROM generate_series(1, 200) AS i) WHERE id = {k}",
        "UPDATE {t} SET note = 'n {n}' WHERE id = {k}",
        "UPDATE {t} SET id = {new} WHERE id = {k}",
        "DELETE FROM {t} WHERE id = {k}",
        "INSERT INTO {t} VALUES ({k}, 'back', '{x,Y,z}') ON CONFLICT (id) DO NOTHING",
    ],
    equal: &[
        (
            "SELECT id, note, tagged FROM public.orders",
            "SELECT id::bigint, note, tags IS NOT NULL FROM twin.orders",
        ),
        (
            "SELECT order_id, position, tag, folded FROM public.order_tags",
            "SELECT id::bigint, position, tag, lower(tag) FROM twin.orders, unnest(tags) WITH ORDINALITY AS x (tag, position)",
        ),
    ],
    tables: &["orders", "order_tags"],
    new_look: "SELECT tagged FROM public.orders LIMIT 0",
    new_writes: &[
        "UPDATE {s}.orders SET note = 'new {n}' WHERE id = {k}",
        "UPDATE {s}.orders SET tagged = NOT tagged WHERE id = {k}",
        "UPDATE {s}.orders SET id = {new} WHERE id = {k}",
        "DELETE FROM {s}.orders WHERE id = {k}",
        "INSERT INTO {s}.orders VALUES ({new}, 'new', true)",
        "INSERT INTO {s}.order_tags VALUES ({k}, {n}, 'Tag {n}', '') ON CONFLICT DO NOTHING",
        "UPDATE {s}.order_tags SET tag = NULL WHERE order_id = {k} AND position = 1",
        "UPDATE {s}.order_tags SET position = position + 200000 WHERE order_id = {k}",
        "UPDATE {s}.order_tags SET order_id = {new} WHERE order_id = {k}",
        "DELETE FROM {s}.order_tags WHERE order_id = {k}",
    ],
    old: "SELECT id, note, tags FROM public.orders",
    insert: "INSERT INTO {t} VALUES ({new}, 'new', '{x,Y,NULL,x}')",
};

const DOCUMENTS: &str =
    "CREATE TABLE documents (id serial PRIMARY KEY, tenant integer NOT NULL, title text NOT NULL, body text);
     INSERT INTO documents (tenant, title, body) SELECT i % 5, 'Title ' || i, repeat('x', (i % 50)::integer)
       FROM generate_series(1, {rows}) AS i";

/// Documents change hands, grow, come and go.
const DOCUMENT_WRITES: &[&str] = &[
    "UPDATE {t} SET tenant = {n} % 5 WHERE id = {k}",
    "UPDATE {t} SET tenant = 3 - tenant WHERE id BETWEEN {k} AND {k} + 9 AND tenant IN (1, 2)",
    "UPDATE {t} SET body = (SELECT string_agg(md5(i::text || '{n}'), '') FROM generate_series(1, 200) AS i) WHERE id = {k}",
    "UPDATE {t} SET body = NULL, tenant = 2 WHERE id = {k}",
    "UPDATE {t} SET id = {new}, tenant = 1 WHERE id = {k}",
    "DELETE FROM {t} WHERE id = {k}",
    "INSERT INTO {t} VALUES ({k}, {n} % 5, 'Other title {new}', 'new {n}') ON CONFLICT (id) DO UPDATE SET tenant = {n} % 5",
];

/// Tenants move to tables of their own; documents change hands.
pub static TENANTS: Example = Example {
    file: "tenants.toml",
    setup: DOCUMENTS,
    table: "documents",
    look: "SELECT tenant FROM public.documents LIMIT 0",
    writes: DOCUMENT_WRITES,
    equal: &[
        (
            "SELECT id, title, body FROM public.tenant_1_documents",
            "SELECT id, title, body FROM twin.documents WHERE tenant = 1",
        ),
        (
            "SELECT id, title, body FROM public.tenant_2_documents",
            "SELECT id, title, body FROM twin.documents WHERE tenant = 2",
        ),
        (
            "SELECT id, tenant, title, body FROM public.other_documents",
            "SELECT id, tenant, title, body FROM twin.documents WHERE tenant NOT IN (1, 2)",
        ),
    ],
    tables: &["tenant_1_documents", "tenant_2_documents", "other_documents"],
    new_look: "SELECT id FROM public.other_documents LIMIT 0",
    new_writes: &[
        "UPDATE {s}.tenant_1_documents SET body = 'new {n}' WHERE id = {k}",
        "UPDATE {s}.tenant_2_documents SET body = NULL WHERE id = {k}",
        "UPDATE {s}.other_documents SET tenant = 3 + {n} % 2 WHERE id = {k}",
        "UPDATE {s}.tenant_1_documents SET id = {new} WHERE id = {k}",
        "DELETE FROM {s}.tenant_1_documents WHERE id = {k}",
        "DELETE FROM {s}.other_documents WHERE id BETWEEN {k} AND {k} + 3",
        "INSERT INTO {s}.tenant_2_documents VALUES ({new}, 'new {new}', 'x')",
        "INSERT INTO {s}.other_documents SELECT {new}, 3, 'new', string_agg(md5(i::text || '{n}'), '') FROM generate_series(1, 200) AS i",
        "WITH moved AS (DELETE FROM {s}.tenant_1_documents WHERE id = {k} RETURNING *)
         INSERT INTO {s}.tenant_2_documents SELECT id, title || ' of {new}', body FROM moved",
    ],
    old: "SELECT id, tenant, title, body FROM public.documents",
    insert: "INSERT INTO {t} VALUES ({new}, {n} % 5, 'Inserted {new}', NULL)",
};

/// A table becomes a partitioned one; rows move between partitions, and come from before the first.
pub static MONTHLY: Example = Example {
    file: "monthly_partitions.toml",
    setup: "CREATE TABLE events (id serial PRIMARY KEY, happened timestamptz NOT NULL, kind text, payload jsonb);
            CREATE INDEX ON events (happened);
            INSERT INTO events (happened, kind, payload)
            SELECT date_trunc('day', now()) - (i % 250) * interval '1 day', 'k' || i % 9, jsonb_build_object('n', i) FROM generate_series(1, {rows}) AS i",
    table: "events",
    look: "LOCK TABLE public.events IN ACCESS SHARE MODE;
           DO $$ BEGIN
             IF (SELECT relkind FROM pg_class WHERE oid = 'public.events'::regclass) <> 'r' THEN RAISE undefined_table; END IF;
           END $$",
    writes: &[
        "UPDATE {t} SET happened = happened + interval '31 days' WHERE id = {k}",
        "UPDATE {t} SET happened = happened - ({n} % 2000) * interval '1 hour' WHERE id = {k}",
        "UPDATE {t} SET kind = 'k {n}' WHERE id BETWEEN {k} AND {k} + 9",
        "UPDATE {t} SET payload = jsonb_build_object('big', (SELECT string_agg(md5(i::text || '{n}'), '') FROM generate_series(1, 300) AS i)) WHERE id = {k}",
        "UPDATE {t} SET id = {new}, happened = now() - interval '300 days' WHERE id = {k}",
        "DELETE FROM {t} WHERE id = {k}",
        "INSERT INTO {t} VALUES ({k}, '2031-01-01', 'again', NULL) ON CONFLICT (id) DO UPDATE SET happened = EXCLUDED.happened",
    ],
    equal: &[(
        "SELECT id, happened, kind, payload FROM public.events",
        "SELECT id::bigint, happened, kind, payload FROM twin.events",
    )],
    tables: &["events"],
    new_look: "LOCK TABLE public.events IN ACCESS SHARE MODE;
           DO $$ BEGIN
             IF (SELECT relkind FROM pg_class WHERE oid = 'public.events'::regclass) <> 'p' THEN RAISE undefined_table; END IF;
           END $$",
    new_writes: &[
        "UPDATE {s}.events SET happened = happened + interval '31 days' WHERE id = {k}",
        "UPDATE {s}.events SET kind = 'new {n}' WHERE id BETWEEN {k} AND {k} + 5",
        "UPDATE {s}.events SET payload = jsonb_build_object('big', (SELECT string_agg(md5(i::text || '{n}'), '') FROM generate_series(1, 300) AS i)) WHERE id = {k}",
        "UPDATE {s}.events SET id = {new} WHERE id = {k}",
        "DELETE FROM {s}.events WHERE id = {k}",
        "INSERT INTO {s}.events VALUES ({new}, '2031-01-01', 'new', NULL)",
    ],
    old: "SELECT id, happened, kind, payload FROM public.events",
    insert: "INSERT INTO {t} VALUES ({new}, '2031-01-01', 'new', NULL)",
};

/// Tenants become partitions of one table; documents change hands, and the partition with them.
pub static TENANT_PARTITIONS: Example = Example {
    file: "tenant_partitions.toml",
    setup: DOCUMENTS,
    table: "documents",
    look: "LOCK TABLE public.documents IN ACCESS SHARE MODE;
           DO $$ BEGIN
             IF (SELECT relkind FROM pg_class WHERE oid = 'public.documents'::regclass) <> 'r' THEN RAISE undefined_table; END IF;
           END $$",
    writes: DOCUMENT_WRITES,
    equal: &[(
        "SELECT id, tenant, title, body FROM public.documents",
        "SELECT id, tenant, title, body FROM twin.documents",
    )],
    tables: &["documents"],
    new_look: "LOCK TABLE public.documents IN ACCESS SHARE MODE;
           DO $$ BEGIN
             IF (SELECT relkind FROM pg_class WHERE oid = 'public.documents'::regclass) <> 'p' THEN RAISE undefined_table; END IF;
           END $$",
    new_writes: &[
        "UPDATE {s}.documents SET tenant = {n} % 5 WHERE id = {k}",
        "UPDATE {s}.documents SET title = 'new {n}' WHERE id BETWEEN {k} AND {k} + 5",
        "UPDATE {s}.documents SET body = (SELECT string_agg(md5(i::text || '{n}'), '') FROM generate_series(1, 200) AS i) WHERE id = {k}",
        "UPDATE {s}.documents SET id = {new} WHERE id = {k}",
        "DELETE FROM {s}.documents WHERE id = {k}",
        "INSERT INTO {s}.documents VALUES ({new}, {n} % 5, 'new', NULL)",
    ],
    old: "SELECT id, tenant, title, body FROM public.documents",
    insert: "INSERT INTO {t} VALUES ({new}, {n} % 5, 'Inserted {new}', NULL)",
};

/// All of them.
pub static ALL: [&Example; 5] = [
    &USER_SETTINGS,
    &ORDER_TAGS,
    &TENANTS,
    &MONTHLY,
    &TENANT_PARTITIONS,
];
