//! What a table has where it leads and not where it follows (R21): foreign keys, triggers, rules, checks that are not
//! valid, and identities that take no value but their own.

use std::collections::BTreeSet;

use crossfade_core::name::TableName;
use crossfade_core::plan::Attachment;
use tokio_postgres::Row;

use crate::ident::{self, Ident, literal};
use crate::session::{Session, SqlError};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attached {
    /// In the order in which they are made.
    pub attachments: Vec<Attachment>,
    /// Foreign keys of which one end moves and the other does not: the key and both tables.
    pub torn: Vec<(String, TableName, TableName)>,
}

const FOREIGN_KEYS: &str = "\
SELECT k.conname::text, n.nspname::text, c.relname::text, c.relkind = 'p', m.nspname::text, r.relname::text,
       pg_get_constraintdef(k.oid), k.convalidated, k.conrelid = ANY ($1::oid[]), k.confrelid = ANY ($1::oid[])
  FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class r ON r.oid = k.confrelid JOIN pg_namespace m ON m.oid = r.relnamespace
 WHERE k.contype = 'f' AND k.conparentid = 0 AND (k.conrelid = ANY ($1::oid[]) OR k.confrelid = ANY ($1::oid[]))
 ORDER BY k.oid";

const CHECKS: &str = "\
SELECT k.conname::text, n.nspname::text, c.relname::text, pg_get_constraintdef(k.oid)
  FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE k.contype = 'c' AND NOT k.convalidated AND k.conislocal AND k.conrelid = ANY ($1::oid[]) ORDER BY k.oid";

const TRIGGERS: &str = "\
SELECT t.tgname::text, n.nspname::text, c.relname::text, pg_get_triggerdef(t.oid), t.tgenabled::text
  FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT t.tgisinternal AND t.tgname <> 'crossfade_lockout' AND t.tgrelid = ANY ($1::oid[])
   -- Those of partitions come with that of their table. (By JSON what an older server calls otherwise.)
   AND coalesce(to_jsonb(t) ->> 'tgparentid', '0') = '0'
 ORDER BY t.oid";

const RULES: &str = "\
SELECT r.rulename::text, n.nspname::text, c.relname::text, pg_get_ruledef(r.oid), r.ev_enabled::text
  FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE r.ev_class = ANY ($1::oid[]) ORDER BY r.oid";

const IDENTITIES: &str = "\
SELECT a.attname::text, n.nspname::text, c.relname::text
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE a.attidentity = 'a' AND NOT a.attisdropped AND a.attrelid = ANY ($1::oid[])
   AND NOT c.relispartition ORDER BY c.oid, a.attnum";

/// What is attached to the tables of these oids, as a server of that version takes it.
///
/// # Errors
/// As the server says.
pub async fn read(session: &Session, oids: &[u32], version: u32) -> Result<Attached, SqlError> {
    let mut attached = Attached::default();
    for row in session.query(IDENTITIES, &[&oids]).await? {
        attached.attachments.push(identity(&row));
    }
    for row in session.query(CHECKS, &[&oids]).await? {
        attached.attachments.push(check(&row));
    }
    for row in session.query(FOREIGN_KEYS, &[&oids]).await? {
        match (row.get(8), row.get(9)) {
            (true, true) => attached.attachments.push(foreign_key(&row, version)),
            _torn => {
                let referenced = TableName::new(row.get::<_, String>(4), row.get::<_, String>(5));
                attached.torn.push((row.get(0), table(&row), referenced));
            }
        }
    }
    for row in session.query(RULES, &[&oids]).await? {
        attached.attachments.push(rule(&row));
    }
    for row in session.query(TRIGGERS, &[&oids]).await? {
        attached.attachments.push(trigger(&row));
    }
    Ok(attached)
}

/// Those of these attachments that are there, by position.
///
/// # Errors
/// As the server says.
pub async fn present(session: &Session, attachments: &[Attachment]) -> Result<BTreeSet<usize>, SqlError> {
    let queries: Vec<String> = attachments
        .iter()
        .enumerate()
        .map(|(number, attachment)| format!("SELECT {number} WHERE ({})", attachment.present))
        .collect();
    if queries.is_empty() {
        return Ok(BTreeSet::new());
    }
    let rows = session.query(&queries.join("\nUNION ALL "), &[]).await?;
    Ok(rows
        .iter()
        .filter_map(|row| usize::try_from(row.get::<_, i32>(0)).ok())
        .collect())
}

fn table(row: &Row) -> TableName {
    TableName::new(row.get::<_, String>(1), row.get::<_, String>(2))
}

fn regclass(table: &TableName) -> String {
    format!("pg_catalog.to_regclass({})", literal(&ident::table(table)))
}

fn foreign_key(row: &Row, version: u32) -> Attachment {
    let (name, table): (String, _) = (row.get(0), table(row));
    let (partitioned, validated): (bool, bool) = (row.get(3), row.get(7));
    // Up to 17 a partitioned table's foreign key is valid at once.
    let later = validated && !(partitioned && version < 180_000);
    let not_valid = if later { " NOT VALID" } else { "" };
    let (quoted, of) = (Ident(&name).to_string(), ident::table(&table));
    let only = if partitioned { "" } else { "ONLY " };
    Attachment {
        what: format!("foreign key {name}"),
        present: constraint_present(&table, &name),
        attach: format!(
            "ALTER TABLE {only}{of} ADD CONSTRAINT {quoted} {}{not_valid}",
            row.get::<_, &str>(6)
        ),
        detach: format!("ALTER TABLE {of} DROP CONSTRAINT IF EXISTS {quoted}"),
        validate: later.then(|| format!("ALTER TABLE {of} VALIDATE CONSTRAINT {quoted}")),
        table,
    }
}

fn constraint_present(table: &TableName, name: &str) -> String {
    format!(
        "EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE conrelid = {} AND conname = {})",
        regclass(table),
        literal(name)
    )
}

fn check(row: &Row) -> Attachment {
    let (name, table): (String, _) = (row.get(0), table(row));
    let (quoted, of) = (Ident(&name).to_string(), ident::table(&table));
    Attachment {
        what: format!("check {name}"),
        present: constraint_present(&table, &name),
        attach: format!(
            "ALTER TABLE {of} ADD CONSTRAINT {quoted} {}",
            row.get::<_, &str>(3)
        ),
        detach: format!("ALTER TABLE {of} DROP CONSTRAINT IF EXISTS {quoted}"),
        validate: None,
        table,
    }
}

/// `ENABLE REPLICA …` for what does not fire in the usual way.
fn fires(table: &TableName, what: &str, name: &str, enabled: &str) -> String {
    let how = match enabled {
        "D" => "DISABLE",
        "R" => "ENABLE REPLICA",
        "A" => "ENABLE ALWAYS",
        _usual => return String::new(),
    };
    format!(
        ";\nALTER TABLE {} {how} {what} {}",
        ident::table(table),
        Ident(name)
    )
}

fn trigger(row: &Row) -> Attachment {
    let (name, table): (String, _) = (row.get(0), table(row));
    Attachment {
        what: format!("trigger {name}"),
        present: format!(
            "EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = {} AND tgname = {})",
            regclass(&table),
            literal(&name)
        ),
        attach: format!(
            "{}{}",
            row.get::<_, &str>(3),
            fires(&table, "TRIGGER", &name, row.get(4))
        ),
        detach: format!(
            "DROP TRIGGER IF EXISTS {} ON {}",
            Ident(&name),
            ident::table(&table)
        ),
        validate: None,
        table,
    }
}

fn rule(row: &Row) -> Attachment {
    let (name, table): (String, _) = (row.get(0), table(row));
    let definition: &str = row.get(3);
    Attachment {
        what: format!("rule {name}"),
        present: format!(
            "EXISTS (SELECT FROM pg_catalog.pg_rewrite WHERE ev_class = {} AND rulename = {})",
            regclass(&table),
            literal(&name)
        ),
        attach: format!(
            "{}{}",
            definition.trim_end().trim_end_matches(';'),
            fires(&table, "RULE", &name, row.get(4))
        ),
        detach: format!("DROP RULE IF EXISTS {} ON {}", Ident(&name), ident::table(&table)),
        validate: None,
        table,
    }
}

fn identity(row: &Row) -> Attachment {
    let (column, table): (String, _) = (row.get(0), table(row));
    let (quoted, of) = (Ident(&column).to_string(), ident::table(&table));
    let alter = |how: &str| format!("ALTER TABLE {of} ALTER COLUMN {quoted} SET GENERATED {how}");
    Attachment {
        what: format!("identity of column {column}"),
        present: format!(
            "EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = {} AND attname = {} AND attidentity = 'a')",
            regclass(&table),
            literal(&column)
        ),
        attach: alter("ALWAYS"),
        detach: alter("BY DEFAULT"),
        validate: None,
        table,
    }
}
