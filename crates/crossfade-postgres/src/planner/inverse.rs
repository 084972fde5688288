//! What carries a retyped column back, where that follows from the two types alone (R32).
//!
//! A list, since a cast that exists may lose: `numeric` to `integer` rounds, `text` to `uuid` forgets how it was
//! written. Whatever is not on the list is for the user to say. A bare column is assigned, as in the copy: an
//! assignment to `varchar(10)` refuses a longer text, where an explicit cast would cut it.

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ColumnType<'a> {
    /// With its modifier, ready for SQL.
    pub(super) name: &'a str,
    pub(super) is_enum: bool,
}

/// What is known of the way from one type to another and back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Inverse {
    /// Every value comes back.
    Exact(String),
    /// Every value comes back but these.
    Conditional(String, String),
    /// Only the user can tell.
    Unknown,
}

/// From a column of type `new`, quoted as `column`, back to `old`, where the change is a plain cast.
pub(super) fn of(old: ColumnType<'_>, new: ColumnType<'_>, column: &str) -> Inverse {
    let exact = || Inverse::Exact(column.to_owned());
    if old.name == new.name {
        return exact();
    }
    match (Kind::of(old), Kind::of(new)) {
        (Kind::Integer(old_bytes), Kind::Integer(new_bytes)) if old_bytes >= new_bytes => exact(),
        (Kind::Integer(_), Kind::Integer(_)) => {
            Inverse::Conditional(column.to_owned(), format!("a value beyond {}", old.name))
        }
        (Kind::Integer(_), Kind::Numeric(_)) => {
            // By way of its text a fraction is refused, where the cast would round it.
            let sql = format!(
                "CAST(CAST(pg_catalog.trim_scale({column}) AS pg_catalog.text) AS {})",
                old.name
            );
            Inverse::Conditional(sql, format!("a fraction, or a value beyond {}", old.name))
        }
        // A scale rounds on the way there: what was cut off is in no new row.
        (Kind::Numeric(None), Kind::Numeric(_)) => Inverse::Unknown,
        (Kind::Numeric(Some(old_fits)), Kind::Numeric(Some(new_fits))) => {
            old_fits.back_from(new_fits, column, old.name)
        }
        (Kind::Text(None), Kind::Text(_)) => exact(),
        (Kind::Text(Some(old_length)), Kind::Text(Some(new_length))) if old_length >= new_length => exact(),
        (Kind::Text(Some(length)), Kind::Text(_)) => Inverse::Conditional(
            column.to_owned(),
            format!("a text longer than {length} characters"),
        ),
        (Kind::Enum, Kind::Text(_)) => {
            let sql = format!("CAST({column} AS {})", old.name);
            Inverse::Conditional(sql, format!("a text that is no label of {}", old.name))
        }
        (Kind::Text(None), Kind::Enum) => Inverse::Exact(format!("CAST({column} AS pg_catalog.text)")),
        (Kind::Text(Some(_)), Kind::Enum) => Inverse::Conditional(
            format!("CAST({column} AS pg_catalog.text)"),
            "a label that is too long for it".to_owned(),
        ),
        (Kind::Integer(_) | Kind::Numeric(_) | Kind::Text(_) | Kind::Enum | Kind::Other, _) => {
            Inverse::Unknown
        }
    }
}

/// Types whose values are known to come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// By size in bytes.
    Integer(u8),
    Numeric(Option<Fits>),
    /// `text`, or `varchar` with its length.
    Text(Option<u32>),
    Enum,
    Other,
}

impl Kind {
    fn of(column: ColumnType<'_>) -> Kind {
        if column.is_enum {
            return Kind::Enum;
        }
        let modifier = |prefix: &str| column.name.strip_prefix(prefix)?.strip_suffix(')');
        match column.name {
            "smallint" => Kind::Integer(2),
            "integer" => Kind::Integer(4),
            "bigint" => Kind::Integer(8),
            "numeric" => Kind::Numeric(None),
            "text" | "character varying" => Kind::Text(None),
            _ => {
                let length = modifier("character varying(").and_then(|length| length.parse().ok());
                let fits = modifier("numeric(").and_then(Fits::parse);
                match (length, fits) {
                    (Some(length), _) => Kind::Text(Some(length)),
                    (None, Some(fits)) => Kind::Numeric(Some(fits)),
                    (None, None) => Kind::Other,
                }
            }
        }
    }
}

/// What fits a `numeric(precision,scale)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fits {
    precision: i32,
    scale: i32,
}

impl Fits {
    fn parse(modifier: &str) -> Option<Fits> {
        let (precision, scale) = modifier.split_once(',')?;
        Some(Fits {
            precision: precision.parse().ok()?,
            scale: scale.parse().ok()?,
        })
    }

    /// An assignment to a smaller scale rounds without a word, there as well as back.
    fn back_from(self, new: Fits, column: &str, old_name: &str) -> Inverse {
        if new.scale != self.scale {
            return Inverse::Unknown;
        }
        if new.precision - new.scale > self.precision - self.scale {
            return Inverse::Conditional(column.to_owned(), format!("a value beyond {old_name}"));
        }
        Inverse::Exact(column.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inverse(old: &str, new: &str) -> String {
        let column = |name| ColumnType {
            name,
            is_enum: name == "s.mood",
        };
        match of(column(old), column(new), "\"c\"") {
            Inverse::Exact(sql) => format!("{old} <- {new}: {sql}"),
            Inverse::Conditional(sql, what) => format!("{old} <- {new}: {sql} but {what}"),
            Inverse::Unknown => format!("{old} <- {new}: unknown"),
        }
    }

    #[test]
    fn only_what_is_known_not_to_lose_is_inverted() {
        let pairs = [
            ("integer", "bigint"),
            ("bigint", "integer"),
            ("integer", "numeric(12,0)"),
            ("numeric", "integer"),
            ("numeric(10,2)", "numeric(12,2)"),
            ("numeric(10,2)", "numeric(8,1)"),
            ("numeric(10,2)", "numeric(12,4)"),
            ("numeric(10,2)", "numeric"),
            ("numeric", "numeric(10,2)"),
            ("numeric(12,2)", "numeric(12,0)"),
            ("numeric(12,2)", "numeric(10,2)"),
            ("character varying(10)", "text"),
            ("character varying(10)", "character varying(20)"),
            ("text", "character varying(20)"),
            ("text", "s.mood"),
            ("s.mood", "text"),
            ("text", "uuid"),
            ("real", "double precision"),
            ("timestamp without time zone", "timestamp with time zone"),
        ];
        let lines: Vec<String> = pairs.iter().map(|(old, new)| inverse(old, new)).collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
