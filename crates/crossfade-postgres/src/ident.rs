//! Quoting: the only way for a name or a literal into SQL.
//!
//! Names are always quoted, so that reserved words, upper case, quotes and spaces need no thought. Literals are
//! safe whatever `standard_conforming_strings` is.

use std::fmt::{self, Write as _};

use crossfade_core::name::TableName;

/// An identifier, shown as SQL: `order` becomes `"order"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ident<'a>(pub &'a str);

impl fmt::Display for Ident<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_doubled(f, self.0, '"', false)
    }
}

/// `"schema"."name"`.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", Ident(schema), Ident(name))
}

/// A table's (or index's, or sequence's) qualified name.
pub fn table(name: &TableName) -> String {
    qualified(&name.schema, &name.name)
}

/// Names separated by commas: `"id", "status"`.
pub fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| Ident(name).to_string()).collect();
    quoted.join(", ")
}

/// A string literal: `'it''s'`, with the `E''` form where the text holds a backslash.
pub fn literal(text: &str) -> String {
    Literal(text).to_string()
}

struct Literal<'a>(&'a str);

impl fmt::Display for Literal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escaped = self.0.contains('\\');
        if escaped {
            f.write_char('E')?;
        }
        write_doubled(f, self.0, '\'', escaped)
    }
}

fn write_doubled(f: &mut fmt::Formatter<'_>, text: &str, quote: char, escaped: bool) -> fmt::Result {
    f.write_char(quote)?;
    for char in text.chars() {
        if char == quote || (escaped && char == '\\') {
            f.write_char(char)?;
        }
        f.write_char(char)?;
    }
    f.write_char(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_always_quoted() {
        assert_eq!(Ident("order").to_string(), r#""order""#);
        assert_eq!(Ident(r#"we"ird\ Ünï"#).to_string(), r#""we""ird\ Ünï""#);
        assert_eq!(table(&TableName::new("S", "a.b")), r#""S"."a.b""#);
        assert_eq!(list(["id", "from"]), r#""id", "from""#);
    }

    #[test]
    fn literals_survive_quotes_and_backslashes() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal(r"C:\it's"), r"E'C:\\it''s'");
        assert_eq!(literal(""), "''");
    }
}
