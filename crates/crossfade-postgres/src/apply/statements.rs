//! Every statement of applying to one target, rendered once.
//!
//! Two rules shape them. The user's expressions are evaluated where nothing but the staged source row is in
//! scope, under the source's bare name: a target has columns of the same names, and an unqualified reference would
//! be ambiguous. And what is compared with the target is first *inserted* into a staging table of the target's own
//! types and collations: an insert converts exactly as the copy does, where an explicit cast to `varchar(10)`
//! would cut a longer key and hit another row.

use crossfade_core::plan::{Source, Target, TargetColumn};

use super::retry::{self, RetryStatements};
use crate::derive;
use crate::ident::{self, Ident};

/// The statements, by what they do. A piece skips those it has no rows for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplyStatements {
    /// Makes the staging tables, once per session, outside a transaction.
    pub create_staging: Vec<String>,
    /// Empties the staging tables between two pieces of one batch. (A commit empties them too.) Run outside the
    /// piece's savepoint: then only the first one of a transaction makes new files.
    pub clear_staging: String,
    /// `COPY` of the puts, in binary or text as the source travels.
    pub copy_puts: String,
    /// Empties the target.
    pub truncate: String,
    /// Writes the puts that are whole, of a target without a key or with a row for each.
    pub upsert: String,
    /// The key of the staged put, in words; `None` without a key.
    pub show_put_key: Option<String>,
    /// Everything that needs a key.
    pub keyed: Option<KeyedStatements>,
}

/// The statements for a target with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyedStatements {
    /// `COPY` of the deletes' keys.
    pub copy_deletes: String,
    /// Turns the deletes' keys into the target's.
    pub stage_deletes: String,
    /// Removes the rows of the staged keys; of a derived target, those that are not produced any more.
    pub delete: String,
    /// Removes one row that has no counterpart, by its key as `text[]` (a repair).
    pub remove: String,
    /// How the puts are written.
    pub writing: Writing,
    /// Instead of that, after a violation (R19).
    pub retry: RetryStatements,
}

/// How puts are written to a target with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Each put is one row: whole ones are upserted.
    Rows {
        /// Turns the puts that keep something into images of the target's rows.
        stage_keeping: String,
        /// Writes those images over the rows that are there; must touch as many rows as were staged.
        update_keeping: String,
    },
    /// Puts produce rows, or do not (R20). `delete` comes between the images and the upsert.
    Derived {
        /// Adds the puts' keys to the staged ones.
        stage_put_keys: String,
        /// Turns all puts into images.
        stage_images: String,
        /// Writes the images; must touch as many rows as were staged.
        upsert_images: String,
    },
}

/// The statements that a plan shows for the target of this ordinal, in the order in which a piece runs them.
pub fn apply_templates(source: &Source, target: &Target, ordinal: usize) -> Vec<String> {
    let all = ApplyStatements::render(source, target, ordinal, &[]);
    let mut shown = all.create_staging;
    shown.push(all.copy_puts);
    let Some(keyed) = all.keyed else {
        shown.extend([all.truncate, all.upsert]);
        return shown;
    };
    shown.extend([keyed.copy_deletes, all.truncate, keyed.stage_deletes]);
    match keyed.writing {
        Writing::Rows {
            stage_keeping,
            update_keeping,
        } => shown.extend([
            keyed.delete,
            keyed.remove,
            all.upsert,
            stage_keeping,
            update_keeping,
        ]),
        Writing::Derived {
            stage_put_keys,
            stage_images,
            upsert_images,
        } => shown.extend([
            stage_put_keys,
            stage_images,
            keyed.delete,
            keyed.remove,
            upsert_images,
        ]),
    }
    shown
}

impl ApplyStatements {
    /// Renders for the target of this ordinal in its step. `others` are columns of the target that are never
    /// written by us (added ones with a default; not generated ones): a retry must put them back.
    pub fn render(source: &Source, target: &Target, ordinal: usize, others: &[String]) -> Self {
        let names = Names::new(source, target, ordinal, others);
        ApplyStatements {
            create_staging: create_staging(&names),
            clear_staging: clear_staging(&names),
            copy_puts: format!(
                "COPY {} ({}, {}) FROM STDIN (FORMAT {})",
                names.put,
                names.source_columns(),
                names.kept,
                format_of(source)
            ),
            truncate: format!("TRUNCATE TABLE {}", names.rows),
            upsert: upsert(&names),
            show_put_key: show_put_key(&names),
            keyed: names.source_key().map(|key| keyed(&names, &key)),
        }
    }
}

/// The word that `COPY` wants for how the source's rows travel.
pub(crate) fn format_of(source: &Source) -> &'static str {
    if source.binary { "binary" } else { "text" }
}

/// One target with its names in SQL.
pub(super) struct Names<'a> {
    source: &'a Source,
    pub(super) target: &'a Target,
    pub(super) others: &'a [String],
    /// Staged source rows, and the bits that say which columns are kept.
    put: String,
    /// Staged source keys.
    del: String,
    /// Keys in the target's types.
    key: String,
    /// Images in the target's types, with the kept bits.
    pub(super) image: String,
    /// Rows taken out of the target by a retry.
    pub(super) old: String,
    /// The source's bare name: what staged rows are called.
    alias: Ident<'a>,
    /// The column of the kept bits, unlike any of the source's or the target's.
    kept: String,
    /// The target, qualified.
    pub(super) shadow: String,
    /// The target where its rows are meant, and not those of a table that inherits from it.
    pub(super) rows: String,
}

impl<'a> Names<'a> {
    fn new(source: &'a Source, target: &'a Target, ordinal: usize, others: &'a [String]) -> Self {
        let staging = |what: &str| ident::qualified("pg_temp", &format!("crossfade_{what}_{ordinal}"));
        let mut kept = "crossfade_kept".to_owned();
        let taken = |kept: &String| {
            let of_source = source.columns.iter().any(|column| column.name == *kept);
            let rows = target.derived.iter().flat_map(|derived| &derived.rows);
            let mut of_rows = rows.flat_map(|rows| &rows.columns);
            of_source
                || target.columns.iter().any(|column| column.name == *kept)
                || of_rows.any(|name| name == kept)
        };
        while taken(&kept) {
            kept.push('_');
        }
        Names {
            source,
            target,
            others,
            put: staging("put"),
            del: staging("del"),
            key: staging("key"),
            image: staging("image"),
            old: staging("old"),
            alias: Ident(&source.name.name),
            kept: Ident(&kept).to_string(),
            shadow: ident::table(&target.shadow),
            rows: format!("{}{}", derive::only(target), ident::table(&target.shadow)),
        }
    }

    fn source_columns(&self) -> String {
        ident::list(self.source.columns.iter().map(|column| column.name.as_str()))
    }

    fn source_key(&self) -> Option<String> {
        let key = self.source.key.as_ref()?;
        let columns = &self.source.columns;
        Some(ident::list(
            key.columns
                .iter()
                .map(|position| columns[*position].name.as_str()),
        ))
    }

    /// The columns we write.
    pub(super) fn columns(&self) -> String {
        ident::list(self.target.columns.iter().map(|column| column.name.as_str()))
    }

    /// These and the ones we never write.
    pub(super) fn all_columns(&self) -> String {
        let written = self.target.columns.iter().map(|column| column.name.as_str());
        ident::list(written.chain(self.others.iter().map(String::as_str)))
    }

    fn key_columns(&self) -> impl Iterator<Item = &'a TargetColumn> {
        self.target
            .key
            .iter()
            .flatten()
            .map(|position| &self.target.columns[*position])
    }

    fn key_list(&self) -> String {
        ident::list(self.key_columns().map(|column| column.name.as_str()))
    }

    fn key_values(&self) -> String {
        values(self.key_columns())
    }

    /// The columns that tell the target's rows apart.
    fn row_key_columns(&self) -> impl Iterator<Item = &'a TargetColumn> {
        let key = self.target.row_key().into_iter().flatten();
        key.map(|position| &self.target.columns[*position])
    }

    /// `a."id" = b."id" AND …`, for the image of the source's key.
    fn same_source_key(&self, a: &str, b: &str) -> String {
        same(self.key_columns(), a, b)
    }

    /// The same for the target's own key.
    pub(super) fn same_row(&self, a: &str, b: &str) -> String {
        same(self.row_key_columns(), a, b)
    }

    /// Whether a put may keep this column: not the key, which always comes with the row.
    pub(super) fn may_keep(&self, position: usize) -> bool {
        if self.target.derived.is_some() {
            return false;
        }
        let in_key = self
            .target
            .key
            .as_ref()
            .is_some_and(|key| key.contains(&position));
        !in_key && !self.target.columns[position].value.reads.is_empty()
    }

    /// The condition under which a column of the row called `row` is kept.
    pub(super) fn is_kept(&self, row: &str, column: &TargetColumn) -> String {
        let bit = |read: &usize| format!("pg_catalog.get_bit({row}.{}, {read}) = 1", self.kept);
        column
            .value
            .reads
            .iter()
            .map(bit)
            .collect::<Vec<_>>()
            .join(" OR ")
    }

    /// The condition under which the row called `row` keeps nothing. What a derived target reads always comes with the
    /// row.
    pub(super) fn keeps_nothing(&self, row: &str) -> String {
        match self.target.derived {
            Some(_) => "true".to_owned(),
            None => format!("{row}.{} IS NULL", self.kept),
        }
    }

    /// The staged rows of `table`, under the source's name, with what stands beside them.
    fn staged(&self, table: &str) -> String {
        format!("{table} AS {}{}", self.alias, derive::beside(self.target))
    }

    /// Turns staged puts into images. A kept column's expression is not evaluated: what it reads is not there.
    pub(super) fn stage_images(&self, keeping_only: bool) -> String {
        let image = |(position, column): (usize, &TargetColumn)| {
            let value = &column.value.sql;
            if self.may_keep(position) {
                format!(
                    "CASE WHEN {} THEN NULL ELSE {value} END",
                    self.is_kept(&self.alias.to_string(), column)
                )
            } else {
                value.clone()
            }
        };
        let images: Vec<String> = self.target.columns.iter().enumerate().map(image).collect();
        format!(
            "INSERT INTO {image} ({kept}, {columns})\nSELECT {kept}, {images}\n  FROM {staged}{condition}",
            image = self.image,
            kept = self.kept,
            columns = self.columns(),
            images = images.join(", "),
            staged = self.staged(&self.put),
            condition = self.puts_where(keeping_only.then_some("IS NOT NULL")),
        )
    }

    /// Which puts: those whose kept bits are (or are not) null, and that the filter lets in.
    fn puts_where(&self, kept: Option<&str>) -> String {
        let kept = kept.map(|test| format!("{}.{} {test}", self.alias, self.kept));
        let filter = self
            .target
            .filter
            .as_ref()
            .map(|filter| format!("({}) IS TRUE", filter.sql));
        let conditions: Vec<String> = kept.into_iter().chain(filter).collect();
        if conditions.is_empty() {
            String::new()
        } else {
            format!("\n WHERE {}", conditions.join(" AND "))
        }
    }
}

fn same<'a>(columns: impl Iterator<Item = &'a TargetColumn>, a: &str, b: &str) -> String {
    let pair = |column: &TargetColumn| format!("{a}.{name} = {b}.{name}", name = Ident(&column.name));
    columns.map(pair).collect::<Vec<_>>().join(" AND ")
}

fn show_put_key(names: &Names<'_>) -> Option<String> {
    let key = names.source.key.as_ref()?;
    let shown = key.columns.iter().map(|position| {
        let name = &names.source.columns[*position].name;
        let label = ident::literal(&format!("{name} = "));
        format!("{label} || CAST({} AS pg_catalog.text)", Ident(name))
    });
    let shown: Vec<String> = shown.collect();
    Some(format!(
        "SELECT {} FROM {}",
        shown.join(" || ', ' || "),
        names.put
    ))
}

fn values<'a>(columns: impl Iterator<Item = &'a TargetColumn>) -> String {
    columns
        .map(|column| column.value.sql.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Made from the tables themselves, which brings every type with its modifier and collation, and no constraint.
fn create_staging(names: &Names<'_>) -> Vec<String> {
    let make = |table: &str, columns: &str, from: &str| {
        format!(
            "CREATE TEMPORARY TABLE {table} ON COMMIT DELETE ROWS AS\nSELECT {columns} FROM {from} WITH NO DATA"
        )
    };
    let source = format!("ONLY {}", ident::table(&names.source.name));
    let kept = format!("NULL::pg_catalog.varbit AS {}", names.kept);
    let mut statements = vec![make(
        &names.put,
        &format!("{}, {kept}", names.source_columns()),
        &source,
    )];
    if let Some(key) = names.source_key() {
        statements.extend([
            make(&names.del, &key, &source),
            make(&names.key, &names.key_list(), &names.shadow),
            make(
                &names.image,
                &format!("{}, {kept}", names.columns()),
                &names.shadow,
            ),
            make(&names.old, &names.all_columns(), &names.shadow),
        ]);
        // Images are looked up for each row of a touched key.
        statements.extend(names.target.derived.as_ref().map(|_| {
            let key = names.row_key_columns().map(|column| column.name.as_str());
            format!("CREATE INDEX ON {} ({})", names.image, ident::list(key))
        }));
    }
    statements
}

fn clear_staging(names: &Names<'_>) -> String {
    let keyed = [&names.del, &names.key, &names.image, &names.old];
    let all: Vec<&str> = match names.source.key {
        Some(_) => std::iter::once(&names.put)
            .chain(keyed)
            .map(String::as_str)
            .collect(),
        None => vec![&names.put],
    };
    format!("TRUNCATE TABLE {}", all.join(", "))
}

fn upsert(names: &Names<'_>) -> String {
    let whole = names.target.derived.is_none().then_some("IS NULL");
    let insert = format!(
        "INSERT INTO {shadow} ({columns}) OVERRIDING SYSTEM VALUE\nSELECT {values}\n  FROM {staged}{condition}",
        shadow = names.shadow,
        columns = names.columns(),
        values = values(names.target.columns.iter()),
        staged = names.staged(&names.put),
        condition = names.puts_where(whole),
    );
    format!("{insert}{}", on_conflict(names))
}

/// Over the row that is there. Of a source without a key each row is a new one, and what is there already is an error.
fn on_conflict(names: &Names<'_>) -> String {
    if names.target.key.is_none() {
        return String::new();
    }
    let set = |column: &TargetColumn| format!("{name} = EXCLUDED.{name}", name = Ident(&column.name));
    let sets: Vec<String> = names.target.columns.iter().map(set).collect();
    format!(
        "\nON CONFLICT ({}) DO UPDATE SET {}",
        ident::list(names.row_key_columns().map(|column| column.name.as_str())),
        sets.join(", ")
    )
}

fn keyed(names: &Names<'_>, source_key: &str) -> KeyedStatements {
    KeyedStatements {
        copy_deletes: format!(
            "COPY {} ({source_key}) FROM STDIN (FORMAT {})",
            names.del,
            format_of(names.source)
        ),
        stage_deletes: stage_keys(names, &names.del),
        delete: delete(names),
        remove: remove(names),
        writing: match names.target.derived {
            None => Writing::Rows {
                stage_keeping: names.stage_images(true),
                update_keeping: update_keeping(names),
            },
            Some(_) => Writing::Derived {
                stage_put_keys: stage_keys(names, &names.put),
                stage_images: names.stage_images(false),
                upsert_images: upsert_images(names),
            },
        },
        retry: retry::render(names),
    }
}

/// The keys alone: nothing stands beside them, and no filter counts.
fn stage_keys(names: &Names<'_>, staging: &str) -> String {
    format!(
        "INSERT INTO {key} ({columns})\nSELECT {values}\n  FROM {staging} AS {alias}",
        key = names.key,
        columns = names.key_list(),
        values = names.key_values(),
        alias = names.alias,
    )
}

fn delete(names: &Names<'_>) -> String {
    match names.target.derived {
        None => format!(
            "DELETE FROM {rows} AS t\n USING {key} AS k\n WHERE {same_key}",
            rows = names.rows,
            key = names.key,
            same_key = names.same_source_key("t", "k"),
        ),
        Some(_) => delete_unproduced(names),
    }
}

/// Each `OFFSET 0` keeps the planner from turning the joins around: from the touched keys to their rows, from these to
/// the images, each by its index. What is staged is never analyzed, and the target is not until the end.
fn delete_unproduced(names: &Names<'_>) -> String {
    let row_key = ident::list(names.row_key_columns().map(|column| column.name.as_str()));
    format!(
        "DELETE FROM {rows} AS t\n USING (SELECT r.*\n          FROM {key} AS k\n         \
         CROSS JOIN LATERAL (SELECT {row_key} FROM {rows} AS t WHERE {same_key} OFFSET 0) AS r\n         \
         WHERE NOT EXISTS (SELECT FROM {image} AS i WHERE {produced}) OFFSET 0) AS gone\n WHERE {same_row}",
        rows = names.rows,
        key = names.key,
        image = names.image,
        same_key = names.same_source_key("t", "k"),
        produced = names.same_row("i", "r"),
        same_row = names.same_row("t", "gone"),
    )
}

fn upsert_images(names: &Names<'_>) -> String {
    format!(
        "INSERT INTO {shadow} ({columns}) OVERRIDING SYSTEM VALUE\nSELECT {columns}\n  FROM {image}{on_conflict}",
        shadow = names.shadow,
        columns = names.columns(),
        image = names.image,
        on_conflict = on_conflict(names),
    )
}

fn remove(names: &Names<'_>) -> String {
    let same = |(number, column): (usize, &TargetColumn)| {
        let (name, type_name) = (Ident(&column.name), &column.type_name);
        format!("t.{name} = CAST(($1::text[])[{number}] AS {type_name})")
    };
    let same: Vec<String> = (1..).zip(names.row_key_columns()).map(same).collect();
    format!("DELETE FROM {} AS t\n WHERE {}", names.rows, same.join(" AND "))
}

fn update_keeping(names: &Names<'_>) -> String {
    let set = |(position, column): (usize, &TargetColumn)| {
        let name = Ident(&column.name);
        if names.may_keep(position) {
            let kept = names.is_kept("i", column);
            format!("{name} = CASE WHEN {kept} THEN t.{name} ELSE i.{name} END")
        } else {
            format!("{name} = i.{name}")
        }
    };
    let sets: Vec<String> = names.target.columns.iter().enumerate().map(set).collect();
    format!(
        "UPDATE {rows} AS t\n   SET {sets}\n  FROM {image} AS i\n WHERE {same_key}",
        rows = names.rows,
        sets = sets.join(",\n       "),
        image = names.image,
        same_key = names.same_row("t", "i"),
    )
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn all(source: &Source, target: &Target, others: &[String]) -> String {
        let all = ApplyStatements::render(source, target, 1, others);
        let retry = all.keyed.clone().map(|keyed| keyed.retry);
        let retry =
            retry.map(|retry| [retry.remember, retry.take_out, retry.put_back, retry.put_new].join(";\n\n"));
        format!(
            "{};\n\n{};\n\n-- retry\n{}",
            apply_templates(source, target, 0).join(";\n\n"),
            all.clear_staging,
            retry.unwrap_or_default()
        )
    }

    #[test]
    fn one_key_column_and_a_column_never_written() {
        let (source, target) = fixture::orders();
        insta::assert_snapshot!(all(&source, &target, &["added".to_owned()]));
    }

    #[test]
    fn two_key_columns_and_a_filter() {
        let (source, target) = fixture::orders_filtered();
        insta::assert_snapshot!(all(&source, &target, &[]));
    }

    #[test]
    fn several_rows_of_one() {
        let (source, target) = fixture::order_tags();
        insta::assert_snapshot!(all(&source, &target, &["added".to_owned()]));
    }

    #[test]
    fn no_key() {
        let (source, target) = fixture::orders_without_key();
        insta::assert_snapshot!(all(&source, &target, &[]));
    }
}
