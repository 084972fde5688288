//! What the server, or the image, has against the user's statements.

use crossfade_core::code::RefusalCode;
use crossfade_core::refusal::Refusal;
use tokio_postgres::error::{DbError, ErrorPosition};

use crate::catalog::Definition;
use crate::change::{AlterStatement, Using};
use crate::preflight::refusal;

/// A column, for messages.
pub(super) fn object(source: &Definition, column: &str) -> String {
    format!("column {column} of {}", source.name)
}

/// The server's own words about the user's statement, with the place in the text as typed.
pub(super) fn rejected(
    source: &Definition,
    statement: &AlterStatement,
    table: &str,
    told: &DbError,
) -> Refusal {
    let detail = told
        .detail()
        .map(|detail| format!(" {detail}"))
        .unwrap_or_default();
    let shown = match told.position() {
        Some(ErrorPosition::Original(position)) => {
            format!("\n{}", statement.show_position(table, *position as usize))
        }
        _ => format!("\n  {}", statement.as_typed()),
    };
    let names_foreign_key = source
        .foreign_keys
        .iter()
        .any(|key| told.message().contains(&format!("\"{}\"", key.name)));
    let remedy = match told.hint() {
        _ if names_foreign_key => {
            "Drop or rename a foreign key by itself, before planning: it rewrites nothing."
        }
        Some(hint) => hint,
        None => "Correct the statement; a plain ALTER TABLE would fail in the same way.",
    };
    refusal(
        if told.message().starts_with("cannot use subquery") {
            RefusalCode::ExpressionHasSubquery
        } else {
            RefusalCode::AlterRejected
        },
        source.name.to_string(),
        format!("The server says: {}.{detail}{shown}", told.message()),
        remedy,
    )
}

pub(super) fn not_over_the_source(
    source: &Definition,
    column: &str,
    told: &DbError,
    using: &Using,
) -> Refusal {
    refusal(
        if using.has_subquery {
            RefusalCode::ExpressionHasSubquery
        } else {
            RefusalCode::ExpressionNotOverSource
        },
        object(source, column),
        format!(
            "Its USING cannot be computed from a row of the table as it is today: {}.",
            told.message()
        ),
        "Read only columns that exist today, with the types that they have today.",
    )
}

pub(super) fn retypes_added(source: &Definition, column: &str) -> Refusal {
    refusal(
        RefusalCode::RetypesAddedColumn,
        object(source, column),
        "The same change adds it and then gives it another type.".to_owned(),
        "Add it with the type that it shall have.",
    )
}

pub(super) fn retyped_twice(source: &Definition, column: &str) -> Refusal {
    refusal(
        RefusalCode::RetypedTwice,
        object(source, column),
        "Two statements give it a type.".to_owned(),
        "Give it its final type in one statement.",
    )
}

pub(super) fn reads_retyped(source: &Definition, column: &str) -> Refusal {
    refusal(
        RefusalCode::ExpressionReadsRetyped,
        object(source, column),
        "Its USING reads a column that an earlier statement of the change retypes.".to_owned(),
        "Retype both in one ALTER TABLE, and write the USING over the types of today.",
    )
}

pub(super) fn reads_row(object: &str, what: &str) -> Refusal {
    refusal(
        RefusalCode::ExpressionReadsRow,
        object,
        format!("Its USING reads {what}."),
        "Name the columns that it needs.",
    )
}

pub(super) fn untyped(object: &str) -> Refusal {
    refusal(
        RefusalCode::ExpressionUntyped,
        object,
        "Its USING is a literal without a type.".to_owned(),
        "Write the type behind it, such as `''::text` or `NULL::integer`.",
    )
}
