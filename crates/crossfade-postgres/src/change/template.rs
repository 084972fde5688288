//! `crossfade init`: a commented change file to start from. It parses as it stands.

use crossfade_core::limits::Limits;
use crossfade_core::name::TableName;

use super::limits::LIMITS;
use crate::catalog::Definition;
use crate::ident;

/// A change file for a table: its columns in comments, one harmless action, every limit with its default and
/// its meaning.
pub fn template(definition: &Definition) -> String {
    let columns = definition.columns.iter().map(|column| {
        let not_null = if column.not_null { " NOT NULL" } else { "" };
        (column.name.as_str(), format!("{}{not_null}", column.type_name))
    });
    let columns: Vec<(&str, String)> = columns.collect();
    [
        header(&definition.name),
        column_comments(&columns),
        alter(&columns),
        back(),
        limits(),
    ]
    .concat()
}

fn header(table: &TableName) -> String {
    format!(
        "# A change of {table}, for `crossfade plan --change FILE` and `crossfade run --change FILE`.\n\n\
         # The table; quote it as in SQL.\n\
         table = {}\n\n",
        toml_text(&ident::table(table))
    )
}

fn column_comments(columns: &[(&str, String)]) -> String {
    let width = columns
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    let line =
        |(name, kind): &(&str, String)| format!("#   {}\n", comment(&format!("{name:width$}  {kind}")));
    let lines: String = columns.iter().map(line).collect();
    format!("# Its columns today:\n{lines}")
}

/// Retyping the first column to the type it has changes nothing: a statement to edit that already parses.
fn alter(columns: &[(&str, String)]) -> String {
    let action = columns
        .first()
        .map_or("SET (fillfactor = 100)".to_owned(), |(name, kind)| {
            let kind = kind.trim_end_matches(" NOT NULL");
            format!("ALTER COLUMN {} TYPE {kind}", ident::Ident(name))
        });
    format!(
        "#\n\
         # What to change, in order. `ALTER TABLE name` may be left out. For example:\n\
         #   \"ALTER COLUMN id TYPE bigint\",\n\
         #   \"ALTER COLUMN status TYPE order_status USING status::order_status\",\n\
         #   \"ADD COLUMN note text NOT NULL DEFAULT ''\",\n\
         alter = [\n    {},\n]\n\n\
         # Where unqualified names in the texts above are looked up; the default is the role's own setting.\n\
         # search_path = \"public\"\n\n\
         # How the rows get into the new table: \"snapshot\" (fastest), \"incremental\" (chunk by chunk, for large\n\
         # and busy tables), or as fits its size and the limits.\n\
         copy = \"auto\"\n\n\
         # After the swap the old table follows the new one where it can, until `crossfade complete` or `crossfade\n\
         # rollback`. \"none\" ends the run with the swap.\n\
         # way_back = \"auto\"\n\n",
        toml_text(&action)
    )
}

fn back() -> String {
    "# What fills a column of the old table on the way back, over a row of the new one, where it does not follow from\n\
     # the change itself:\n\
     # [back]\n\
     # status = \"upper(status)\"\n\n"
        .to_owned()
}

fn limits() -> String {
    let defaults = Limits::default();
    let entry = |spec: &super::limits::LimitSpec| {
        format!(
            "# {}\n{} = {}\n",
            spec.meaning,
            spec.name,
            toml_text(&spec.show(&defaults))
        )
    };
    let entries: Vec<String> = LIMITS.iter().map(entry).collect();
    format!(
        "# The bounds of the run. What is left out has the value shown here.\n[limits]\n{}",
        entries.join("\n")
    )
}

/// A TOML basic string.
fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Control characters would end the comment or make the file unreadable.
fn comment(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect()
}
