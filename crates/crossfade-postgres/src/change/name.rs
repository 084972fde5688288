//! A table's name as a person types it: `orders`, `public.orders`, `"Order Lines"`, `s."T"`.
//!
//! Read like the server and psql read it: unquoted text folds to lower case (ASCII only, as the server does for
//! UTF-8), quoted text is kept. A reserved word needs no quotes here, because it is quoted wherever it meets SQL.

use std::fmt;
use std::str::FromStr;

use crossfade_core::name::TableName;

use crate::ident;

/// A table as named by the user; without a schema it is looked up along the `search_path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypedName {
    /// The schema, if one was given.
    pub schema: Option<String>,
    /// The table.
    pub name: String,
}

/// Text that names no table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read `{text}` as a table's name: {problem}")]
pub struct InvalidName {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub problem: NameProblem,
}

/// Why a text names no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// Nothing where a name belongs.
    #[error("a name is missing")]
    Empty,
    /// `"abc`
    #[error("a quote is not closed")]
    OpenQuote,
    /// `a b`, `1a`, `a-b`
    #[error("`{0}` needs double quotes around the name")]
    NeedsQuotes(char),
    /// `database.schema.table`
    #[error("give at most a schema and a name")]
    TooManyParts,
    /// The server would cut it silently.
    #[error("longer than 63 bytes")]
    TooLong,
    /// `U&"…"`
    #[error("write unicode characters as they are instead of U&\"…\"")]
    UnicodeEscape,
}

/// `NAMEDATALEN - 1`: the server cuts longer names, with a mere notice.
pub(crate) const NAME_BYTES_MAX: usize = 63;

impl TypedName {
    /// Whether a name in a statement can mean the same table as this one: a missing schema matches any here,
    /// and is settled when the table has been found.
    pub fn may_be(&self, other: &TypedName) -> bool {
        let schemas_agree = match (&self.schema, &other.schema) {
            (Some(one), Some(two)) => one == two,
            _ => true,
        };
        self.name == other.name && schemas_agree
    }

    /// The table, in `schema` if none was given.
    pub fn within(&self, schema: &str) -> TableName {
        TableName::new(self.schema.as_deref().unwrap_or(schema), self.name.as_str())
    }

    /// Ready for SQL.
    pub fn quoted(&self) -> String {
        match &self.schema {
            Some(schema) => ident::qualified(schema, &self.name),
            None => ident::Ident(&self.name).to_string(),
        }
    }
}

impl fmt::Display for TypedName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

impl FromStr for TypedName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|problem| InvalidName {
            text: text.to_owned(),
            problem,
        })
    }
}

fn parse(text: &str) -> Result<TypedName, NameProblem> {
    let (first, rest) = identifier(text.trim())?;
    let rest = rest.trim_start();
    if rest.is_empty() {
        return Ok(TypedName {
            schema: None,
            name: first,
        });
    }
    let (second, rest) = identifier(after_dot(rest)?)?;
    match rest.trim_start().chars().next() {
        None => Ok(TypedName {
            schema: Some(first),
            name: second,
        }),
        Some('.') => Err(NameProblem::TooManyParts),
        Some(other) => Err(NameProblem::NeedsQuotes(other)),
    }
}

fn after_dot(rest: &str) -> Result<&str, NameProblem> {
    match rest.strip_prefix('.') {
        Some(rest) => Ok(rest.trim_start()),
        None => Err(NameProblem::NeedsQuotes(rest.chars().next().unwrap_or_default())),
    }
}

/// One identifier from the front of `text`, as the catalogs hold it, and what follows it.
fn identifier(text: &str) -> Result<(String, &str), NameProblem> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(quoted) => quoted_identifier(quoted)?,
        None => plain_identifier(text)?,
    };
    match name.len() {
        0 => Err(NameProblem::Empty),
        1..=NAME_BYTES_MAX => Ok((name, rest)),
        _ => Err(NameProblem::TooLong),
    }
}

fn quoted_identifier(text: &str) -> Result<(String, &str), NameProblem> {
    let mut name = String::new();
    let mut rest = text;
    while let Some(end) = rest.find('"') {
        name.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                name.push('"');
                rest = after;
            }
            None => return Ok((name, rest)),
        }
    }
    Err(NameProblem::OpenQuote)
}

fn plain_identifier(text: &str) -> Result<(String, &str), NameProblem> {
    if text
        .get(..2)
        .is_some_and(|start| start.eq_ignore_ascii_case("u&"))
    {
        return Err(NameProblem::UnicodeEscape);
    }
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let continues = |c: char| starts(c) || c.is_ascii_digit() || c == '$';
    match text.chars().next() {
        None | Some('.') => return Err(NameProblem::Empty),
        Some(first) if !starts(first) => return Err(NameProblem::NeedsQuotes(first)),
        Some(_) => {}
    }
    let end = text.find(|c| !continues(c)).unwrap_or(text.len());
    Ok((text[..end].to_ascii_lowercase(), &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(schema: Option<&str>, name: &str) -> TypedName {
        TypedName {
            schema: schema.map(str::to_owned),
            name: name.to_owned(),
        }
    }

    #[test]
    fn names_are_read_as_the_server_reads_them() {
        let longest = format!("\"{}\"", "é".repeat(31));
        let cases = [
            ("orders", typed(None, "orders")),
            ("Orders", typed(None, "orders")),
            ("\"Orders\"", typed(None, "Orders")),
            ("public.orders", typed(Some("public"), "orders")),
            (" Public . \"Order Lines\" ", typed(Some("public"), "Order Lines")),
            ("\"a.b\".\"c\"\"d\"", typed(Some("a.b"), "c\"d")),
            ("order", typed(None, "order")),
            ("straße", typed(None, "straße")),
            ("ÄRGER", typed(None, "Ärger")),
            ("_t$1", typed(None, "_t$1")),
            (&longest, typed(None, &"é".repeat(31))),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<TypedName>().unwrap(), expected, "{text}");
            assert_eq!(
                expected.quoted().parse::<TypedName>().unwrap(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn what_names_no_table_is_explained() {
        let cases = [
            ("", NameProblem::Empty),
            ("a.", NameProblem::Empty),
            (".a", NameProblem::Empty),
            ("\"\"", NameProblem::Empty),
            ("\"a", NameProblem::OpenQuote),
            ("a b", NameProblem::NeedsQuotes('b')),
            ("a-b", NameProblem::NeedsQuotes('-')),
            ("a.b c", NameProblem::NeedsQuotes('c')),
            ("1a", NameProblem::NeedsQuotes('1')),
            ("a.b.c", NameProblem::TooManyParts),
            ("U&\"d\\0061\"", NameProblem::UnicodeEscape),
            (&"a".repeat(64), NameProblem::TooLong),
        ];
        for (text, problem) in cases {
            assert_eq!(text.parse::<TypedName>().unwrap_err().problem, problem, "{text}");
        }
    }
}
