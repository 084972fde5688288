//! What the catalogs say: one query a kind of thing, each giving a name and a definition.

use tokio_postgres::{Client, Error};

use super::{Named, named};

const SCHEMA: &str = "SELECT quote_ident(n.nspname), '' FROM pg_catalog.pg_namespace AS n WHERE {schemas}";

const TABLE: &str = "SELECT c.oid::regclass::text,
        concat_ws(', ', 'kind ' || c.relkind::text, 'persistence ' || c.relpersistence::text, 'replica identity ' || c.relreplident::text,
            'partitioned by ' || pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid),
            'inherits ' || (SELECT string_agg(i.inhparent::regclass::text, ' and ' ORDER BY i.inhseqno)
                            FROM pg_inherits AS i WHERE i.inhrelid = c.oid),
            'row security ' || c.relrowsecurity, 'options ' || c.reloptions::text)
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p') AND {schemas}";

const COLUMN: &str = "SELECT a.attrelid::regclass::text || '.' || quote_ident(a.attname),
        concat_ws(', ', 'number ' || row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum),
            format_type(a.atttypid, a.atttypmod), 'not null ' || a.attnotnull, 'storage ' || a.attstorage::text,
            'collation ' || nullif(a.attcollation, 0)::regcollation::text,
            'identity ' || nullif(a.attidentity::text, ''), 'generated ' || nullif(a.attgenerated::text, ''),
            'default ' || pg_get_expr(d.adbin, d.adrelid))
    FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'v', 'm', 'c', 'f') AND {schemas}";

const INDEX: &str = "SELECT i.indexrelid::regclass::text,
        concat_ws(', ', pg_get_indexdef(i.indexrelid), 'valid ' || i.indisvalid, 'identity ' || i.indisreplident,
            'clustered ' || i.indisclustered)
    FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'p', 'm') AND {schemas}";

/// Without NOT NULL, which newer servers have here, too: it is compared by column. Constraint triggers are triggers.
const CONSTRAINT: &str = "SELECT coalesce(nullif(k.conrelid, 0)::regclass::text, k.contypid::regtype::text)
            || '.' || quote_ident(k.conname),
        concat_ws(', ', pg_get_constraintdef(k.oid), 'validated ' || k.convalidated)
    FROM pg_constraint AS k JOIN pg_namespace AS n ON n.oid = k.connamespace
    WHERE k.contype NOT IN ('n', 't') AND {schemas}";

const TRIGGER: &str = "SELECT t.tgrelid::regclass::text || '.' || quote_ident(t.tgname),
        concat_ws(', ', pg_get_triggerdef(t.oid), 'enabled ' || t.tgenabled::text)
    FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE NOT t.tgisinternal AND {schemas}";

const TYPE: &str = "SELECT t.oid::regtype::text,
        concat_ws(', ', 'kind ' || t.typtype::text, 'base ' || nullif(t.typbasetype, 0)::regtype::text,
            'not null ' || t.typnotnull, 'default ' || t.typdefault,
            (SELECT string_agg(quote_literal(e.enumlabel), ' ' ORDER BY e.enumsortorder)
             FROM pg_enum AS e WHERE e.enumtypid = t.oid))
    FROM pg_type AS t JOIN pg_namespace AS n ON n.oid = t.typnamespace LEFT JOIN pg_class AS c ON c.oid = t.typrelid
    WHERE t.typelem = 0 AND (t.typtype <> 'c' OR c.relkind = 'c') AND {schemas}";

const VIEW: &str = "SELECT c.oid::regclass::text,
        concat_ws(', ', 'kind ' || c.relkind::text, 'populated ' || c.relispopulated, 'options ' || c.reloptions::text,
            pg_get_viewdef(c.oid))
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE c.relkind IN ('v', 'm') AND {schemas}";

const FUNCTION: &str = "SELECT p.oid::regprocedure::text, pg_get_functiondef(p.oid)
    FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE p.prokind IN ('f', 'p') AND {schemas}";

const SEQUENCE: &str = "SELECT s.seqrelid::regclass::text,
        concat_ws(', ', s.seqtypid::regtype::text, 'start ' || s.seqstart, 'increment ' || s.seqincrement,
            'from ' || s.seqmin || ' to ' || s.seqmax, 'cache ' || s.seqcache, 'cycle ' || s.seqcycle,
            'owned by ' || d.refobjid::regclass::text || '.' || quote_ident(a.attname))
    FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = s.seqrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_depend AS d ON d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.deptype IN ('a', 'i')
    LEFT JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE {schemas}";

const ALL: [(&str, &str); 10] = [
    ("schema", SCHEMA),
    ("table", TABLE),
    ("column", COLUMN),
    ("index", INDEX),
    ("constraint", CONSTRAINT),
    ("trigger", TRIGGER),
    ("type", TYPE),
    ("view", VIEW),
    ("function", FUNCTION),
    ("sequence", SEQUENCE),
];

/// What is on one side only, or defined otherwise.
pub(super) async fn differences(source: &Client, target: &Client) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for (kind, query) in ALL {
        found.extend(compare(
            kind,
            &named(source, query).await?,
            &named(target, query).await?,
        ));
    }
    Ok(found)
}

fn compare(kind: &str, source: &Named, target: &Named) -> Vec<String> {
    let here = source.iter().filter_map(|(name, is)| match target.get(name) {
        None => Some(format!("{kind} {name}: not in the target ({is})")),
        Some(other) if other != is => Some(format!("{kind} {name}: {is}; in the target {other}")),
        Some(_) => None,
    });
    let there = target
        .iter()
        .filter(|(name, _)| !source.contains_key(*name))
        .map(|(name, is)| format!("{kind} {name}: only in the target ({is})"));
    here.chain(there).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_side_is_told() {
        let named = |pairs: &[(&str, &str)]| -> Named {
            pairs
                .iter()
                .map(|(name, is)| ((*name).to_owned(), (*is).to_owned()))
                .collect()
        };
        let found = compare(
            "index",
            &named(&[("a", "x"), ("b", "x"), ("c", "x")]),
            &named(&[("b", "y"), ("c", "x"), ("d", "x")]),
        );
        assert_eq!(
            found,
            [
                "index a: not in the target (x)",
                "index b: x; in the target y",
                "index d: only in the target (x)"
            ]
        );
    }
}
