//! Rows of the world as SQL, and the server's rows as the world's.
//!
//! The world's `big` is a number; the table's is that number and so many letters that it is stored out of line.

use anyhow::{Context as _, Result};
use crossfade_core::change::{Cell, Change, Row};
use crossfade_sim::Write;
use tokio_postgres::SimpleQueryRow;

/// Columns of both, in order.
pub(super) const COLUMNS: [&str; 5] = ["key", "code", "small", "big", "own"];
/// Where `big` is among them.
const BIG: usize = 3;
const DIGITS: usize = 10;
/// Beyond what a row holds in line.
const LETTERS: usize = 2_500;

pub(super) fn create(table: &str, respelled: bool, unique: bool) -> String {
    let key = if respelled {
        "numeric"
    } else {
        "text COLLATE \"C\""
    };
    let unique = if unique { ", UNIQUE (code)" } else { "" };
    format!(
        "CREATE TABLE {table} (key {key} PRIMARY KEY, code integer NOT NULL, small integer, big text, own integer{unique});
         ALTER TABLE {table} ALTER COLUMN big SET STORAGE EXTERNAL"
    )
}

/// The statement that does it.
pub(super) fn statement(table: &str, write: &Write) -> String {
    match write {
        Write::Insert(new) => insert(table, new),
        Write::Update { old, new } => format!("UPDATE {table} SET {} WHERE {}", changed(old, new), is(old)),
        Write::Delete(old) => format!("DELETE FROM {table} WHERE {}", is(old)),
        Write::Truncate => format!("TRUNCATE {table}"),
    }
}

pub(super) fn insert(table: &str, row: &Row) -> String {
    let values: Vec<String> = (0..COLUMNS.len()).map(|column| value(row, column)).collect();
    format!("INSERT INTO {table} VALUES ({})", values.join(", "))
}

/// Merely the columns that differ: whether the stream carries the others is the server's affair.
fn changed(old: &Row, new: &Row) -> String {
    let differ = (0..COLUMNS.len()).filter(|column| old.0[*column] != new.0[*column]);
    let set = |column| format!("{} = {}", COLUMNS[column], value(new, column));
    let all: Vec<String> = differ.map(set).collect();
    if all.is_empty() {
        return "small = small".to_owned();
    }
    all.join(", ")
}

fn is(row: &Row) -> String {
    format!("key = {}", value(row, 0))
}

fn value(row: &Row, column: usize) -> String {
    match &row.0[column] {
        Cell::Text(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            match column {
                BIG => format!("lpad('{text}', {DIGITS}, '0') || repeat('x', {LETTERS})"),
                _ => format!("'{text}'"),
            }
        }
        _ => "NULL".to_owned(),
    }
}

/// As the world has it: see [`cell`].
pub(super) fn row(found: &SimpleQueryRow) -> Result<Row> {
    let cells = (0..COLUMNS.len()).map(|column| {
        found
            .get(column)
            .map_or(Ok(Cell::Null), |text| cell(column, text.as_bytes()))
    });
    Ok(Row(cells.collect::<Result<_>>()?))
}

pub(super) fn change(delivered: Change) -> Result<Change> {
    Ok(match delivered {
        Change::Insert { new } => Change::Insert { new: cells(new)? },
        Change::Update { old_key, new } => Change::Update {
            old_key: old_key.map(cells).transpose()?,
            new: cells(new)?,
        },
        Change::Delete { old_key } => Change::Delete {
            old_key: cells(old_key)?,
        },
        Change::Truncate { .. } => delivered,
    })
}

fn cells(row: Row) -> Result<Row> {
    let all = row.0.iter().enumerate().map(|(column, found)| match found {
        Cell::Text(bytes) => cell(column, bytes),
        other => Ok(other.clone()),
    });
    Ok(Row(all.collect::<Result<_>>()?))
}

/// Of a key the digits before the point are two, of a big value nothing but its number is kept.
fn cell(column: usize, text: &[u8]) -> Result<Cell> {
    let text = std::str::from_utf8(text)?;
    let number = |digits: &str| digits.parse::<u32>().with_context(|| format!("read {digits}"));
    let text = match column {
        0 => {
            let (whole, fraction) = text.split_at(text.find('.').unwrap_or(text.len()));
            format!("{:02}{fraction}", number(whole)?)
        }
        BIG => number(text.get(..DIGITS).context("read a big value")?)?.to_string(),
        _ => text.to_owned(),
    };
    Ok(Cell::Text(text.into()))
}
