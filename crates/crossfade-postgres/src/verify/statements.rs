//! The statements of the verification: where a slice ends, what each side of it adds up to, and which rows differ.
//!
//! A row's hash is taken over its text with all its columns, as the server writes a record: columns are separated and
//! quoted, and NULL is not the empty string. Sums of hashes have no order and a swapped pair of values, a moved row or
//! a duplicate does not cancel ([ADR 5](../../../../../docs/adr/0005-what-equal-rows-are.md)).
//!
//! Parameters: `$1` and `$2` the slice's bounds in this side's key, as `text[]`, `NULL` for an open end.

use crossfade_core::plan::{Source, Target};

use crate::derive;
use crate::ident::{self, Ident};

/// Rendered once for a source and one of its targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyStatements {
    /// Keeps what would empty or rewrite the target away from its reader (R4).
    pub lock_target: String,
    /// By bucket of keys: rows, two sums of hashes, and how many rows are outside of the target's range `$4`, `$5`.
    /// `$3` is the mask of the buckets, 0 for one.
    pub source_totals: String,
    /// By bucket of keys: rows and two sums of hashes.
    pub target_totals: String,
    /// Of the rows in the buckets `$4` by the mask `$3`: how they are named, hashes, and the target's key as `text[]`.
    pub source_rows: String,
    /// As `source_rows`; of a table without a key rows are named by their place, and the key is `NULL`.
    pub target_rows: String,
    /// The target's key and the source's key of rows whose target's key is one of those whose columns are `$3` and so on.
    /// `None` for a table without a key.
    pub counterparts: Option<String>,
}

impl VerifyStatements {
    /// Renders them.
    pub fn render(source: &Source, target: &Target) -> Self {
        let (of_source, of_target) = (of_source(source, target), of_target(target));
        VerifyStatements {
            lock_target: lock_target(target),
            source_totals: of_source.totals(),
            target_totals: of_target.totals(),
            source_rows: of_source.rows(),
            target_rows: of_target.rows(),
            counterparts: source.key.is_some().then(|| of_source.counterparts()),
        }
    }
}

/// All of them, for the plan: those that read the source, and those that read the targets.
pub fn templates(source: &Source, targets: &[Target]) -> (Vec<String>, Vec<String>) {
    let mut of_source: Vec<String> = bound(source, targets).into_iter().collect();
    let not_once = NotOnce::render(source, targets);
    of_source.extend(
        not_once
            .into_iter()
            .flat_map(|statements| [statements.count, statements.keys]),
    );
    let mut of_targets = Vec::new();
    for target in targets {
        let statements = VerifyStatements::render(source, target);
        of_source.extend([statements.source_totals, statements.source_rows]);
        of_source.extend(statements.counterparts);
        of_targets.extend([
            statements.lock_target,
            statements.target_totals,
            statements.target_rows,
        ]);
    }
    (of_source, of_targets)
}

/// The key that is `$2` rows after the bound `$1`, in its own form and in each target's. `None` for a table without a
/// key.
pub fn bound(source: &Source, targets: &[Target]) -> Option<String> {
    source.key.as_ref()?;
    let sides: Vec<Side> = targets.iter().map(|target| of_source(source, target)).collect();
    let side = sides.first()?;
    let images: Vec<String> = sides.iter().map(|side| texts(&side.image)).collect();
    let order: Vec<&str> = side.key.iter().map(|column| column.sql.as_str()).collect();
    Some(format!(
        "SELECT {}, {}\n  {}\n WHERE {}\n ORDER BY {}\nOFFSET $2::pg_catalog.int8 LIMIT 1",
        texts(&side.key),
        images.join(", "),
        side.table_named(),
        from_on(&side.key, 1),
        order.join(", "),
    ))
}

/// Rows between two bounds that are not in exactly one target, where they are to be: how many, and their keys up to the
/// number `$3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotOnce {
    pub(super) count: String,
    pub(super) keys: String,
}

impl NotOnce {
    /// `None` where it does not matter.
    pub fn render(source: &Source, targets: &[Target]) -> Option<Self> {
        let side = of_source(source, targets.first()?);
        let rows = format!(
            "{}\n WHERE {}\n   AND {} <> 1",
            side.table_named(),
            within(&side.key, 1, 2),
            tables_of_a_row(targets),
        );
        let key = match &side.key[..] {
            [] => format!("{}.ctid::pg_catalog.text", side.alias),
            [column] => text(column),
            columns => {
                let all: Vec<&str> = columns.iter().map(|column| column.sql.as_str()).collect();
                format!("ROW({})::pg_catalog.text", all.join(", "))
            }
        };
        source.each_row_once.then(|| NotOnce {
            count: format!("SELECT pg_catalog.count(*)\n  {rows}"),
            keys: format!("SELECT {key}\n  {rows}\n LIMIT $3::pg_catalog.int8"),
        })
    }
}

/// In how many targets a row of the source is, as their filters say.
pub(crate) fn tables_of_a_row(targets: &[Target]) -> String {
    let one = |target: &Target| match &target.filter {
        Some(filter) => format!("CASE WHEN {} THEN 1 ELSE 0 END", filter.sql),
        None => "1".to_owned(),
    };
    let all: Vec<String> = targets.iter().map(one).collect();
    format!("({})", all.join(" + "))
}

fn lock_target(target: &Target) -> String {
    format!(
        "LOCK TABLE {}{} IN ACCESS SHARE MODE",
        derive::only(target),
        ident::table(&target.shadow)
    )
}

/// A value and its type.
struct Typed {
    sql: String,
    type_name: String,
}

/// One side of the comparison.
struct Side {
    table: String,
    alias: String,
    /// The key by which the slice is cut; empty for a table without one.
    key: Vec<Typed>,
    /// The key in the target's form, and where it is not the same as `key`.
    image: Vec<Typed>,
    /// What tells the target's rows apart.
    row_key: Vec<Typed>,
    /// What makes several rows of one, or nothing.
    beside: String,
    is_source: bool,
    /// What is compared, column by column.
    values: Vec<String>,
    filter: Option<String>,
}

fn of_source(source: &Source, target: &Target) -> Side {
    let alias = Ident(&source.name.name).to_string();
    let value = |position: usize| {
        let column = &target.columns[position];
        format!("CAST({} AS {})", column.value.sql, column.type_name)
    };
    let key = source.key.iter().flat_map(|key| &key.columns);
    let key = key.map(|position| Typed {
        sql: format!("{alias}.{}", Ident(&source.columns[*position].name)),
        type_name: source.columns[*position].type_name.clone(),
    });
    let typed = |position: &usize| Typed {
        sql: value(*position),
        type_name: target.columns[*position].type_name.clone(),
    };
    Side {
        table: format!("ONLY {}", ident::table(&source.name)),
        key: key.collect(),
        image: target.key.iter().flatten().map(typed).collect(),
        row_key: target.row_key().into_iter().flatten().map(typed).collect(),
        beside: derive::beside(target),
        is_source: true,
        values: (0..target.columns.len()).map(value).collect(),
        filter: target.filter.as_ref().map(|filter| filter.sql.clone()),
        alias,
    }
}

fn of_target(target: &Target) -> Side {
    let alias = Ident(&target.shadow.name).to_string();
    let column = |position: usize| format!("{alias}.{}", Ident(&target.columns[position].name));
    let typed = |position: &usize| Typed {
        sql: column(*position),
        type_name: target.columns[*position].type_name.clone(),
    };
    let key = || target.key.iter().flatten().map(typed).collect();
    Side {
        table: format!("{}{}", derive::only(target), ident::table(&target.shadow)),
        key: key(),
        image: key(),
        row_key: target.row_key().into_iter().flatten().map(typed).collect(),
        beside: String::new(),
        is_source: false,
        values: (0..target.columns.len()).map(column).collect(),
        filter: None,
        alias,
    }
}

impl Side {
    /// The rows that are compared.
    fn from(&self) -> String {
        format!("{}{}", self.table_named(), self.beside)
    }

    fn table_named(&self) -> String {
        format!("FROM {} AS {}", self.table, self.alias)
    }

    fn counterparts(&self) -> String {
        let named: Vec<String> = self.row_key.iter().map(text).collect();
        let arrays = (3..).zip(&self.row_key);
        let arrays: Vec<String> = arrays
            .map(|(parameter, _)| format!("${parameter}::pg_catalog.text[]"))
            .collect();
        format!(
            "SELECT {}, {}\n  {}\n WHERE {}\n   AND ({}) IN (SELECT * FROM unnest({}) AS named)",
            texts(&self.row_key),
            texts(&self.key),
            self.from(),
            self.slice(),
            named.join(", "),
            arrays.join(", "),
        )
    }

    fn totals(&self) -> String {
        let astray = if self.is_source {
            ",\n       pg_catalog.count(*) FILTER (WHERE NOT r.inside)"
        } else {
            ""
        };
        let inside = if self.is_source {
            format!(",\n               {} AS inside", within(&self.image, 4, 5))
        } else {
            String::new()
        };
        format!(
            "SELECT r.bucket, pg_catalog.count(*), {}::text, {}::text{astray}\n  \
             FROM (SELECT {} AS bucket,\n               {} AS line{inside}\n          {}\n         \
             WHERE {}\n        OFFSET 0) AS r\n GROUP BY r.bucket",
            sum_of(1),
            sum_of(2),
            self.bucket(),
            self.line(),
            self.from(),
            self.slice(),
        )
    }

    fn rows(&self) -> String {
        format!(
            "SELECT r.place, {}, {}, r.key\n  \
             FROM (SELECT {} AS bucket,\n               {} AS place,\n               {} AS key,\n               \
             {} AS line\n          {}\n         \
             WHERE {}\n        OFFSET 0) AS r\n WHERE r.bucket = ANY ($4::pg_catalog.int8[])",
            hash_of(1),
            hash_of(2),
            self.bucket(),
            self.place(),
            self.key_texts(),
            self.line(),
            self.from(),
            self.slice(),
        )
    }

    fn key_texts(&self) -> String {
        match &self.row_key[..] {
            [] => "NULL::pg_catalog.text[]".to_owned(),
            columns => texts(columns),
        }
    }

    /// The whole row, so that different rows have different texts.
    fn line(&self) -> String {
        format!("ROW({})::pg_catalog.text", self.values.join(", "))
    }

    /// How a row is named.
    fn place(&self) -> String {
        match &self.row_key[..] {
            [] if self.is_source => "''".to_owned(),
            [] => format!("{}.ctid::pg_catalog.text", self.alias),
            [column] => text(column),
            columns => {
                let all: Vec<&str> = columns.iter().map(|column| column.sql.as_str()).collect();
                format!("ROW({})::pg_catalog.text", all.join(", "))
            }
        }
    }

    /// Equal on both sides for the same key, or without one for the same row.
    fn bucket(&self) -> String {
        let named = if self.row_key.is_empty() {
            self.line()
        } else {
            self.place()
        };
        format!(
            "CASE $3::pg_catalog.int8 WHEN 0 THEN 0 ELSE \
             pg_catalog.hashtextextended({named} COLLATE \"C\", 3) & $3::pg_catalog.int8 END"
        )
    }

    fn slice(&self) -> String {
        let slice = within(&self.key, 1, 2);
        match &self.filter {
            Some(filter) => format!("{slice}\n           AND ({filter})"),
            None => slice,
        }
    }
}

fn texts(columns: &[Typed]) -> String {
    let texts: Vec<String> = columns.iter().map(text).collect();
    format!("ARRAY[{}]", texts.join(", "))
}

fn text(column: &Typed) -> String {
    format!("{}::pg_catalog.text", column.sql)
}

fn hash_of(seed: u8) -> String {
    format!("pg_catalog.hashtextextended(r.line COLLATE \"C\", {seed})")
}

fn sum_of(seed: u8) -> String {
    format!("pg_catalog.sum({})", hash_of(seed))
}

/// From the bound of this parameter on.
fn from_on(key: &[Typed], parameter: u8) -> String {
    compared(key, parameter, ">=")
}

/// From the one bound up to the other.
fn within(key: &[Typed], lower: u8, upper: u8) -> String {
    format!("{} AND {}", from_on(key, lower), compared(key, upper, "<"))
}

/// An open end is known when the statement is planned, and then is no condition at all.
fn compared(key: &[Typed], parameter: u8, operator: &str) -> String {
    let open = format!("${parameter}::pg_catalog.text[] IS NULL");
    if key.is_empty() {
        return format!("({open})");
    }
    let values: Vec<&str> = key.iter().map(|column| column.sql.as_str()).collect();
    let bounds = (1..).zip(key);
    let bounds: Vec<String> = bounds
        .map(|(number, column)| {
            format!(
                "(${parameter}::pg_catalog.text[])[{number}]::{}",
                column.type_name
            )
        })
        .collect();
    format!(
        "({open} OR ({}) {operator} ({}))",
        values.join(", "),
        bounds.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apply::fixture;

    fn shown((source, target): (Source, Target)) -> String {
        let (mut all, of_target) = templates(&source, &[target]);
        all.extend(of_target);
        all.join(";\n\n")
    }

    #[test]
    fn statements() {
        insta::assert_snapshot!(shown(fixture::orders()));
    }

    #[test]
    fn statements_of_two_key_columns() {
        insta::assert_snapshot!(shown(fixture::orders_filtered()));
    }

    #[test]
    fn statements_of_several_rows_of_one() {
        insta::assert_snapshot!(shown(fixture::order_tags()));
    }

    #[test]
    fn statements_without_a_key() {
        insta::assert_snapshot!(shown(fixture::orders_without_key()));
    }
}
