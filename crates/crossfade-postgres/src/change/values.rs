//! The change file of a move: what fills columns of the target in place of the source's own values.

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::file::{ChangeFileError, FileProblem, Misplaced, at, line_and_column};
use super::name::TypedName;
use super::table::Placed;

/// The file's own shape.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ValuesFile {
    search_path: Option<String>,
    table: Vec<TableOfFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TableOfFile {
    name: Spanned<String>,
    values: BTreeMap<Spanned<String>, Spanned<String>>,
}

/// What a move changes on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValuesRequest {
    /// Where the expressions look up unqualified names.
    pub search_path: String,
    /// By table.
    pub tables: Vec<TableValues>,
}

/// What fills columns of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableValues {
    /// Without a schema, of whichever.
    pub table: TypedName,
    /// Where it stands.
    pub place: String,
    /// The column, as the catalogs call it, and an expression over the source's row.
    pub columns: Vec<(Placed, Placed)>,
}

/// Where names are looked up if nothing else is said.
const SEARCH_PATH: &str = "public";

impl ValuesRequest {
    /// Reads the file; `file` is its name for messages.
    ///
    /// # Errors
    /// With line and column of the first mistake.
    pub fn from_toml(file: &str, text: &str) -> Result<ValuesRequest, ChangeFileError> {
        read(file, text).map_err(|misplaced| misplaced.in_file(file, text))
    }

    /// In one form, to be found again by.
    pub fn canonical(&self) -> String {
        let mut lines = Vec::new();
        for TableValues { table, columns, .. } in &self.tables {
            let table = table.quoted();
            lines.extend(
                columns
                    .iter()
                    .map(|(column, value)| format!("{table}.{} = {}", column.text, value.text)),
            );
        }
        lines.sort();
        format!("search_path {}; {}", self.search_path, lines.join("; "))
    }
}

fn read(name: &str, text: &str) -> Result<ValuesRequest, Misplaced> {
    let file: ValuesFile = toml::from_str(text).map_err(|error| {
        let message = error.message().to_owned();
        Misplaced(error.span().unwrap_or_default(), FileProblem::Toml { message })
    })?;
    let place = |spanned: &Spanned<String>| {
        let (line, column) = line_and_column(text, spanned.span().start);
        format!("{name}, line {line}, column {column}")
    };
    let placed = |spanned: &Spanned<String>| Placed {
        text: spanned.get_ref().clone(),
        place: place(spanned),
    };
    let table = |table: &TableOfFile| {
        Ok(TableValues {
            table: table.name.get_ref().parse().map_err(at(table.name.span()))?,
            place: place(&table.name),
            columns: table
                .values
                .iter()
                .map(|(column, value)| (placed(column), placed(value)))
                .collect(),
        })
    };
    Ok(ValuesRequest {
        tables: file.table.iter().map(table).collect::<Result<_, Misplaced>>()?,
        search_path: file.search_path.unwrap_or_else(|| SEARCH_PATH.to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_places() {
        let text = "[[table]]\nname = \"users\"\nvalues = { email = \"'x'\" }\n";
        let request = ValuesRequest::from_toml("mask.toml", text).unwrap();
        assert_eq!(request.search_path, "public");
        let [table] = &request.tables[..] else {
            panic!("{request:?}")
        };
        let (column, value) = &table.columns[0];
        assert_eq!((column.text.as_str(), value.text.as_str()), ("email", "'x'"));
        assert_eq!(value.place, "mask.toml, line 3, column 20");
        assert_eq!(request.canonical(), "search_path public; \"users\".email = 'x'");
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let bad = |text: &str| ValuesRequest::from_toml("m.toml", text).unwrap_err().to_string();
        let name = bad("[[table]]\nname = \"a b\"\nvalues = {}\n");
        assert!(name.starts_with("read m.toml, line 2, column 8: "), "{name}");
        let key = bad("[[table]]\nname = \"a\"\nvalue = {}\n");
        assert!(key.contains("line 3") && key.contains("values"), "{key}");
    }
}
