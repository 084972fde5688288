//! Every statement of applying to one target, rendered once.
//!
//! The user's expressions are evaluated where nothing but the staged source row is in scope, under the source's
//! bare name: a target has columns of the same names, and an unqualified reference would be ambiguous.

use crossfade_core::plan::{Source, Target, TargetColumn};

use super::retry;
use crate::ident::{self, Ident};

/// The statements, by what they do. Empty lists of a piece skip theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyStatements {
    /// Makes the staging tables, once per session, outside a transaction.
    pub create_staging: Vec<String>,
    /// Empties the staging tables between two pieces of one batch. (A commit empties them too.) Run outside the
    /// piece's savepoint: then only the first one of a transaction makes new files.
    pub clear_staging: String,
    /// `COPY` of the puts, in binary or text as the source travels.
    pub copy_puts: String,
    /// `COPY` of the deletes' keys; `None` without a key.
    pub copy_deletes: Option<String>,
    /// Empties the target.
    pub truncate: String,
    /// Removes the rows of the staged keys.
    pub delete: Option<String>,
    /// Removes rows that a put has moved out of a filtered target.
    pub delete_filtered: Option<String>,
    /// Writes the whole puts.
    pub upsert: String,
    /// Writes the puts that keep something; must touch as many rows as [`ApplyStatements::count_keeps`] says.
    pub update_keeping: Option<String>,
    /// How many keeping puts belong into this target; `None` when all do.
    pub count_keeps: Option<String>,
    /// Instead of `delete` to `update_keeping` after a unique or exclusion violation (R19): rows touched are taken
    /// out, all of them, before the first goes in.
    pub retry: Option<retry::RetryStatements>,
}

/// The statements that a plan shows, in the order in which a piece runs them.
pub fn apply_templates(source: &Source, target: &Target) -> Vec<String> {
    let all = ApplyStatements::render(source, target, 0, &[]);
    let optional = [
        all.copy_deletes,
        all.delete,
        all.delete_filtered,
        all.update_keeping,
    ];
    let [copy_deletes, delete, delete_filtered, update_keeping] = optional;
    let mut shown = all.create_staging;
    shown.push(all.copy_puts);
    shown.extend(
        [copy_deletes, Some(all.truncate), delete, delete_filtered]
            .into_iter()
            .flatten(),
    );
    shown.push(all.upsert);
    shown.extend(update_keeping);
    shown
}

/// Everything the renderers need to know about one target, with its names in SQL.
pub(super) struct Names<'a> {
    pub(super) source: &'a Source,
    pub(super) target: &'a Target,
    /// The staging tables, qualified.
    pub(super) put: String,
    pub(super) del: String,
    pub(super) old: String,
    /// The source's bare name: what staged rows are called.
    pub(super) alias: Ident<'a>,
    /// The extra column of `put`, unlike any of the source's.
    pub(super) kept: String,
    /// The target, qualified.
    pub(super) shadow: String,
}

impl<'a> Names<'a> {
    fn new(source: &'a Source, target: &'a Target, ordinal: usize) -> Self {
        let staging = |what: &str| ident::qualified("pg_temp", &format!("crossfade_{what}_{ordinal}"));
        let mut kept = "crossfade_kept".to_owned();
        while source.columns.iter().any(|column| column.name == kept) {
            kept.push('_');
        }
        Names {
            source,
            target,
            put: staging("put"),
            del: staging("del"),
            old: staging("old"),
            alias: Ident(&source.name.name),
            kept: Ident(&kept).to_string(),
            shadow: ident::table(&target.shadow),
        }
    }

    /// `(<filter>) IS TRUE`, or nothing.
    fn in_target(&self, keyword: &str) -> String {
        let filter = self.target.filter.as_ref();
        filter.map_or_else(String::new, |filter| {
            format!(" {keyword} (({}) IS TRUE)", filter.sql)
        })
    }

    /// Columns written, as a list.
    pub(super) fn columns(&self) -> String {
        ident::list(self.target.columns.iter().map(|column| column.name.as_str()))
    }

    /// The target's key columns.
    pub(super) fn key(&self) -> impl Iterator<Item = (usize, &'a TargetColumn)> {
        let positions = self.target.key.iter().flatten();
        positions.map(|position| (*position, &self.target.columns[*position]))
    }

    /// Which target columns a put may keep: all but the key, which always comes with the row.
    pub(super) fn may_keep(&self, position: usize) -> bool {
        let in_key = self
            .target
            .key
            .as_ref()
            .is_some_and(|key| key.contains(&position));
        !in_key && !self.target.columns[position].value.reads.is_empty()
    }

    /// `CASE WHEN` condition under which a target column of a staged row (called `row`) is kept.
    pub(super) fn is_kept(&self, row: &str, column: &TargetColumn) -> String {
        let bits: Vec<String> = column
            .value
            .reads
            .iter()
            .map(|read| format!("pg_catalog.get_bit({row}.{}, {read}) = 1", self.kept))
            .collect();
        bits.join(" OR ")
    }

    /// `t.key = s.key`, for all key columns. Staged rows have their columns by number.
    pub(super) fn same_key(&self, target: &str, staged: &str) -> String {
        let pairs: Vec<String> = self
            .key()
            .map(|(position, column)| format!("{target}.{} = {staged}.c{position}", Ident(&column.name)))
            .collect();
        pairs.join(" AND ")
    }

    /// The key of each staged row of `table`, as `c0, c3…` in the target's types.
    pub(super) fn staged_keys(&self, table: &str, condition: &str) -> String {
        let keys: Vec<String> = self
            .key()
            .map(|(position, column)| format!("({})::{} AS c{position}", column.value.sql, column.type_name))
            .collect();
        format!(
            "SELECT {} FROM {table} AS {}{condition}",
            keys.join(", "),
            self.alias
        )
    }

    /// The images of staged puts, as `c0, c1…` in the target's types, with the kept bits. A kept column's
    /// expression is not evaluated: its input is not there.
    pub(super) fn staged_images(&self, condition: &str) -> String {
        let image = |(position, column): (usize, &TargetColumn)| {
            let value = format!("({})::{}", column.value.sql, column.type_name);
            if self.may_keep(position) {
                let kept = self.is_kept(&self.alias.to_string(), column);
                format!("CASE WHEN {kept} THEN NULL ELSE {value} END AS c{position}")
            } else {
                format!("{value} AS c{position}")
            }
        };
        let images: Vec<String> = self.target.columns.iter().enumerate().map(image).collect();
        format!(
            "SELECT {kept}, {images} FROM {put} AS {alias}{condition}",
            kept = self.kept,
            images = images.join(", "),
            put = self.put,
            alias = self.alias,
        )
    }
}

impl ApplyStatements {
    /// Renders for the target of this ordinal in its step. `others` are columns of the target that we never write
    /// (added ones with a default, not generated ones); only a retry needs them, to put them back.
    pub fn render(source: &Source, target: &Target, ordinal: usize, others: &[String]) -> Self {
        let names = Names::new(source, target, ordinal);
        let keyed = target.key.is_some();
        ApplyStatements {
            create_staging: create_staging(&names, others),
            clear_staging: clear_staging(&names),
            copy_puts: copy_puts(&names),
            copy_deletes: copy_deletes(&names),
            truncate: format!("TRUNCATE TABLE {}", names.shadow),
            delete: keyed.then(|| delete(&names, &names.del, "")),
            delete_filtered: target.filter.as_ref().filter(|_| keyed).map(|filter| {
                delete(
                    &names,
                    &names.put,
                    &format!(" WHERE (({}) IS NOT TRUE)", filter.sql),
                )
            }),
            upsert: upsert(&names),
            update_keeping: keyed.then(|| update_keeping(&names)).flatten(),
            count_keeps: target.filter.as_ref().map(|_| count_keeps(&names)),
            retry: keyed.then(|| retry::render(&names, others)),
        }
    }
}

/// Made from the source itself, which brings every type with its modifier and collation, and no constraint.
fn create_staging(names: &Names<'_>, others: &[String]) -> Vec<String> {
    let make = |table: &str, columns: &str, from: &str| {
        format!(
            "CREATE TEMPORARY TABLE {table} ON COMMIT DELETE ROWS AS\n\
             SELECT {columns} FROM {from} WITH NO DATA"
        )
    };
    let source = format!("ONLY {}", ident::table(&names.source.name));
    let all = ident::list(names.source.columns.iter().map(|column| column.name.as_str()));
    let with_kept = format!("{all}, NULL::pg_catalog.varbit AS {}", names.kept);
    let mut statements = vec![make(&names.put, &with_kept, &source)];
    if let Some(key) = source_key(names) {
        statements.push(make(&names.del, &key, &source));
        let written = names.target.columns.iter().map(|column| column.name.as_str());
        let every = ident::list(written.chain(others.iter().map(String::as_str)));
        statements.push(make(&names.old, &every, &names.shadow));
    }
    statements
}

fn source_key(names: &Names<'_>) -> Option<String> {
    let key = names.source.key.as_ref()?;
    let columns = &names.source.columns;
    Some(ident::list(
        key.columns
            .iter()
            .map(|position| columns[*position].name.as_str()),
    ))
}

fn clear_staging(names: &Names<'_>) -> String {
    match names.source.key {
        Some(_) => format!("TRUNCATE TABLE {}, {}, {}", names.put, names.del, names.old),
        None => format!("TRUNCATE TABLE {}", names.put),
    }
}

fn copy_puts(names: &Names<'_>) -> String {
    let columns = ident::list(names.source.columns.iter().map(|column| column.name.as_str()));
    let format = format_of(names.source);
    format!(
        "COPY {} ({columns}, {}) FROM STDIN (FORMAT {format})",
        names.put, names.kept
    )
}

fn copy_deletes(names: &Names<'_>) -> Option<String> {
    let key = source_key(names)?;
    Some(format!(
        "COPY {} ({key}) FROM STDIN (FORMAT {})",
        names.del,
        format_of(names.source)
    ))
}

pub(super) fn format_of(source: &Source) -> &'static str {
    if source.binary { "binary" } else { "text" }
}

fn delete(names: &Names<'_>, staging: &str, condition: &str) -> String {
    format!(
        "DELETE FROM {shadow} AS t\n USING ({keys}) AS s\n WHERE {same_key}",
        shadow = names.shadow,
        keys = names.staged_keys(staging, condition),
        same_key = names.same_key("t", "s"),
    )
}

fn upsert(names: &Names<'_>) -> String {
    let values: Vec<&str> = names
        .target
        .columns
        .iter()
        .map(|column| column.value.sql.as_str())
        .collect();
    let mut sql = format!(
        "INSERT INTO {shadow} ({columns}) OVERRIDING SYSTEM VALUE\n\
         SELECT {values}\n  FROM {put} AS {alias}\n WHERE {alias}.{kept} IS NULL{filter}",
        shadow = names.shadow,
        columns = names.columns(),
        values = values.join(", "),
        put = names.put,
        alias = names.alias,
        kept = names.kept,
        filter = names.in_target("AND"),
    );
    if names.target.key.is_some() {
        let key = ident::list(names.key().map(|(_, column)| column.name.as_str()));
        let set: Vec<String> = names
            .target
            .columns
            .iter()
            .map(|column| format!("{name} = EXCLUDED.{name}", name = Ident(&column.name)))
            .collect();
        sql += &format!("\nON CONFLICT ({key}) DO UPDATE SET {}", set.join(", "));
    }
    sql
}

/// `None` when nothing but the key is written: then nothing can be kept.
fn update_keeping(names: &Names<'_>) -> Option<String> {
    let set = |(position, column): (usize, &TargetColumn)| {
        let name = Ident(&column.name);
        if names.may_keep(position) {
            let kept = names.is_kept("s", column);
            format!("{name} = CASE WHEN {kept} THEN t.{name} ELSE s.c{position} END")
        } else {
            format!("{name} = s.c{position}")
        }
    };
    let sets: Vec<String> = names.target.columns.iter().enumerate().map(set).collect();
    let condition = format!(
        " WHERE {}.{} IS NOT NULL{}",
        names.alias,
        names.kept,
        names.in_target("AND")
    );
    let any = (0..names.target.columns.len()).any(|position| names.may_keep(position));
    any.then(|| {
        format!(
            "UPDATE {shadow} AS t\n   SET {sets}\n  FROM ({images}) AS s\n WHERE {same_key}",
            shadow = names.shadow,
            sets = sets.join(",\n       "),
            images = names.staged_images(&condition),
            same_key = names.same_key("t", "s"),
        )
    })
}

fn count_keeps(names: &Names<'_>) -> String {
    format!(
        "SELECT pg_catalog.count(*) FROM {put} AS {alias} WHERE {alias}.{kept} IS NOT NULL{filter}",
        put = names.put,
        alias = names.alias,
        kept = names.kept,
        filter = names.in_target("AND"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    #[test]
    fn one_key_column() {
        let (source, target) = fixture::orders();
        insta::assert_debug_snapshot!(ApplyStatements::render(
            &source,
            &target,
            0,
            &["added".to_owned()]
        ));
    }

    #[test]
    fn two_key_columns_and_a_filter() {
        let (source, mut target) = fixture::orders_by_two();
        target.filter = Some(fixture::expression("amount > 0", &[2]));
        insta::assert_debug_snapshot!(ApplyStatements::render(&source, &target, 1, &[]));
    }

    #[test]
    fn no_key() {
        let (source, target) = fixture::orders_without_key();
        insta::assert_snapshot!(apply_templates(&source, &target).join(";\n\n"));
    }

    #[test]
    fn what_a_plan_shows() {
        let (source, target) = fixture::orders();
        insta::assert_snapshot!(apply_templates(&source, &target).join(";\n\n"));
    }
}
