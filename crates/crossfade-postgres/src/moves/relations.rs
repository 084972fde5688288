//! Which tables a move takes.

use std::time::Duration;

use crossfade_core::name::TableName;

use crate::change::TypedName;
use crate::ident;
use crate::session::{Session, SqlError};

/// Which tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of the database.
    All,
    /// All of these schemas.
    Schemas(Vec<String>),
    /// Those that match, as `schema.table` or `table`, with `*` and `?`.
    Tables(Vec<String>),
}

impl Selection {
    /// In one form, to be found again by.
    pub fn canonical(&self) -> String {
        match self {
            Selection::All => "all".to_owned(),
            Selection::Schemas(schemas) => format!("schemas {}", schemas.join(", ")),
            Selection::Tables(patterns) => format!("tables {}", patterns.join(", ")),
        }
    }
}

/// A table, or a partitioned one above tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Its name.
    pub name: TableName,
    /// Its rows are in tables below it.
    pub partitioned: bool,
    /// `relpersistence` is not `p`: its changes are not in the WAL.
    pub unlogged: bool,
    /// So many partitioned tables are above it.
    pub depth: i32,
}

impl Relation {
    /// Without a schema, in whichever it is.
    pub fn is_named(&self, name: &TypedName) -> bool {
        let schema = name.schema.as_ref();
        self.name.name == name.name && schema.is_none_or(|schema| *schema == self.name.schema)
    }
}

/// Of these tables the ones with rows: the partitions of a partitioned one, at whatever depth.
///
/// # Errors
/// As the server says.
pub async fn leaves_below(session: &Session, oids: &[u32]) -> Result<Vec<u32>, SqlError> {
    let query = "\
SELECT p.relid::oid FROM unnest($1::oid[]) AS top, pg_partition_tree(top) AS p WHERE p.isleaf
 UNION SELECT unnest($1::oid[])";
    let rows = session.query(query, &[&oids]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// Every table of the database that could move, with the partitioned ones; in the order of their oids, which is that of
/// every lock on several.
const RELATIONS: &str = "\
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind = 'p', c.relpersistence <> 'p',
       (SELECT count(*)::int4 FROM pg_partition_ancestors(c.oid))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
   AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname !~ '^crossfade(_|$)'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY c.oid";

/// The tables that were selected, and of the patterns those that select nothing.
///
/// # Errors
/// As the server says.
pub async fn select(
    session: &Session,
    selection: &Selection,
) -> Result<(Vec<Relation>, Vec<String>), SqlError> {
    let all: Vec<Relation> = session.query(RELATIONS, &[]).await?.iter().map(read).collect();
    let wanted: Vec<(String, Pattern)> = match selection {
        Selection::All => return Ok((all, Vec::new())),
        Selection::Schemas(schemas) => schemas
            .iter()
            .map(|schema| (schema.clone(), Pattern::of_schema(schema)))
            .collect(),
        Selection::Tables(patterns) => patterns
            .iter()
            .map(|pattern| (pattern.clone(), Pattern::parse(pattern)))
            .collect(),
    };
    let matches = |pattern: &Pattern| all.iter().any(|relation| pattern.matches(&relation.name));
    let unmatched = wanted.iter().filter(|(_, pattern)| !matches(pattern));
    let unmatched = unmatched.map(|(text, _)| text.clone()).collect();
    let selected = all
        .iter()
        .filter(|relation| wanted.iter().any(|(_, pattern)| pattern.matches(&relation.name)));
    Ok((selected.cloned().collect(), unmatched))
}

fn read(row: &tokio_postgres::Row) -> Relation {
    Relation {
        oid: row.get(0),
        name: TableName::new(row.get::<_, String>(1), row.get::<_, String>(2)),
        partitioned: row.get(3),
        unlogged: row.get(4),
        depth: row.get(5),
    }
}

/// Tables that these, by oid, belong together with and that are not among them: partitions, what they are partitions of,
/// parents and children.
///
/// # Errors
/// As the server says.
pub async fn torn(session: &Session, oids: &[u32]) -> Result<Vec<(TableName, TableName)>, SqlError> {
    let query = "\
SELECT a.nspname::text, c.relname::text, b.nspname::text, p.relname::text
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace a ON a.oid = c.relnamespace
  JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace b ON b.oid = p.relnamespace
 WHERE p.relkind IN ('r', 'p')
   AND (i.inhrelid = ANY ($1::oid[])) <> (i.inhparent = ANY ($1::oid[]))
 ORDER BY 1, 2, 3, 4";
    let rows = session.query(query, &[&oids]).await?;
    let name = |row: &tokio_postgres::Row, at: usize| {
        TableName::new(row.get::<_, String>(at), row.get::<_, String>(at + 1))
    };
    Ok(rows.iter().map(|row| (name(row, 0), name(row, 2))).collect())
}

/// `schema.table` with `*` and `?`; what stands in double quotes stands for itself, and what does not is folded to lower
/// case, as in psql.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    schema: Option<Vec<Piece>>,
    table: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Char(char),
    One,
    Any,
}

impl Pattern {
    fn of_schema(schema: &str) -> Self {
        let mut parts = split(schema);
        Pattern {
            schema: parts.pop(),
            table: vec![Piece::Any],
        }
    }

    fn parse(text: &str) -> Self {
        let mut parts = split(text);
        let table = parts.pop().unwrap_or_default();
        Pattern {
            schema: parts.pop(),
            table,
        }
    }

    fn matches(&self, name: &TableName) -> bool {
        let schema = self.schema.as_ref();
        schema.is_none_or(|schema| fits(schema, &name.schema)) && fits(&self.table, &name.name)
    }
}

/// The parts between dots that are not in quotes.
fn split(text: &str) -> Vec<Vec<Piece>> {
    let mut parts = vec![Vec::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let piece = match char {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                Piece::Char('"')
            }
            '"' => {
                quoted = !quoted;
                continue;
            }
            '.' if !quoted => {
                parts.push(Vec::new());
                continue;
            }
            '*' if !quoted => Piece::Any,
            '?' if !quoted => Piece::One,
            char if quoted => Piece::Char(char),
            char => Piece::Char(char.to_ascii_lowercase()),
        };
        parts.last_mut().into_iter().for_each(|part| part.push(piece));
    }
    parts
}

fn fits(pattern: &[Piece], text: &str) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return text.is_empty();
    };
    let mut chars = text.chars();
    match first {
        Piece::Any => fits(rest, text) || chars.next().is_some() && fits(pattern, chars.as_str()),
        Piece::One => chars.next().is_some() && fits(rest, chars.as_str()),
        Piece::Char(char) => chars.next() == Some(*char) && fits(rest, chars.as_str()),
    }
}

/// The files (`relfilenode`) of these tables, one for one.
///
/// # Errors
/// As the server says.
pub async fn files(session: &Session, tables: &[TableName]) -> Result<Vec<Option<u32>>, SqlError> {
    let names: Vec<String> = tables.iter().map(ident::table).collect();
    let query = "SELECT pg_relation_filenode(to_regclass(name)) FROM unnest($1::text[]) WITH ORDINALITY AS t (name, place)
                  ORDER BY place";
    let rows = session.query(query, &[&names]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The oids of those of these tables that are there; by the catalogs, since names are only looked up in schemas that one may
/// use.
///
/// # Errors
/// As the server says.
pub async fn oids(session: &Session, tables: &[TableName]) -> Result<Vec<u32>, SqlError> {
    let schemas: Vec<&str> = tables.iter().map(|table| table.schema.as_str()).collect();
    let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
    let query = "\
SELECT c.oid FROM unnest($1::text[], $2::text[]) AS t (schema, name)
  JOIN pg_namespace AS n ON n.nspname = t.schema JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = t.name";
    let rows = session.query(query, &[&schemas, &names]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// These tables in the order of `ordered`, some of them; a partitioned one right before the first of its partitions, as a
/// statement that names it locks them.
///
/// # Errors
/// As the server says.
pub async fn in_order(
    session: &Session,
    tables: &[TableName],
    ordered: &[TableName],
) -> Result<Vec<TableName>, SqlError> {
    let names = |tables: &[TableName]| tables.iter().map(ident::table).collect::<Vec<String>>();
    let query = "\
SELECT (t.place - 1)::int4
  FROM unnest($1::text[]) WITH ORDINALITY AS t (name, place)
 CROSS JOIN LATERAL (
       SELECT min(o.place) AS first
         FROM unnest($2::text[]) WITH ORDINALITY AS o (name, place)
        WHERE o.name = t.name
           OR to_regclass(o.name) IN (SELECT relid FROM pg_partition_tree(to_regclass(t.name)))
       ) AS w
 ORDER BY w.first NULLS FIRST, (SELECT count(*) FROM pg_partition_ancestors(to_regclass(t.name))), t.place";
    let rows = session.query(query, &[&names(tables), &names(ordered)]).await?;
    let place = |row: &tokio_postgres::Row| usize::try_from(row.get::<_, i32>(0)).ok();
    Ok(rows
        .iter()
        .filter_map(|row| tables.get(place(row)?).cloned())
        .collect())
}

/// The places of these tables, those last that are written to most.
///
/// # Errors
/// As the server says.
pub async fn by_writes(session: &Session, tables: &[TableName]) -> Result<Vec<usize>, SqlError> {
    let names: Vec<String> = tables.iter().map(ident::table).collect();
    let query = "\
SELECT (t.place - 1)::int4
  FROM unnest($1::text[]) WITH ORDINALITY AS t (name, place)
 CROSS JOIN LATERAL (
       SELECT pg_stat_get_tuples_inserted(r) + pg_stat_get_tuples_updated(r) + pg_stat_get_tuples_deleted(r) AS writes
         FROM (SELECT to_regclass(t.name)::oid) AS it (r)
       ) AS w
 ORDER BY w.writes NULLS FIRST, t.place";
    let rows = session.query(query, &[&names]).await?;
    let place = |row: &tokio_postgres::Row| usize::try_from(row.get::<_, i32>(0)).ok();
    Ok(rows.iter().filter_map(place).collect())
}

/// Whether an autovacuum is at work on one of these tables.
///
/// # Errors
/// As the server says.
pub async fn being_vacuumed(session: &Session, tables: &[TableName]) -> Result<bool, SqlError> {
    let names: Vec<String> = tables.iter().map(ident::table).collect();
    let query = "\
SELECT EXISTS (SELECT FROM pg_locks AS l JOIN pg_stat_get_activity(l.pid) AS a ON a.usesysid IS NULL
                WHERE l.mode = 'ShareUpdateExclusiveLock' AND l.granted
                  AND l.relation IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS name))";
    Ok(session.query_one(query, &[&names]).await?.get(0))
}

/// After what wait for a lock the server looks for a deadlock, and ends somebody.
///
/// # Errors
/// As the server says.
pub async fn deadlock_timeout(session: &Session) -> Result<Duration, SqlError> {
    let query = "SELECT setting::int8 FROM pg_settings WHERE name = 'deadlock_timeout'";
    let ms: i64 = session.query_one(query, &[]).await?.get(0);
    Ok(Duration::from_millis(ms.cast_unsigned()))
}

/// `LOCK TABLE` of tables in their order, of none of their children.
pub fn lock(tables: &[TableName], mode: &str) -> String {
    let only: Vec<String> = tables
        .iter()
        .map(|table| format!("ONLY {}", ident::table(table)))
        .collect();
    format!("LOCK TABLE {} IN {mode} MODE", only.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selects(pattern: &str, schema: &str, table: &str) -> bool {
        Pattern::parse(pattern).matches(&TableName::new(schema, table))
    }

    #[test]
    fn patterns_are_those_of_psql() {
        assert!(selects("shop.orders", "shop", "orders"));
        assert!(selects("Shop.ORDERS", "shop", "orders"));
        assert!(!selects("shop.orders", "shop", "Orders"));
        assert!(selects("\"Back Office\".\"A.b\"", "Back Office", "A.b"));
        assert!(selects("orders", "anywhere", "orders"));
        assert!(selects("shop.order*", "shop", "orders_2024"));
        assert!(selects("*.o?ders", "shop", "orders"));
        assert!(!selects("shop.order", "shop", "orders"));
        assert!(selects("\"*\"", "shop", "*"));
        assert!(!selects("\"*\"", "shop", "orders"));
        assert!(Pattern::of_schema("shop").matches(&TableName::new("shop", "any")));
        assert!(!Pattern::of_schema("shop").matches(&TableName::new("shop2", "any")));
    }
}
