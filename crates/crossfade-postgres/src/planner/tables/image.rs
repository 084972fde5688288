//! The target: which columns are filled, and where in its key the source's key is (R20).

use std::collections::BTreeSet;

use crossfade_core::code::RefusalCode;
use crossfade_core::name::TableName;
use crossfade_core::plan::{Derived, Expression, Target, TargetColumn};

use super::Planning;
use super::columns::Filled;
use super::rows::Call;
use crate::catalog::Definition;
use crate::change::Placed;

impl Planning<'_> {
    pub(super) fn target(
        &mut self,
        rows: Option<Call>,
        filter: Option<Expression>,
        columns: Vec<Filled<'_>>,
        probe: &Definition,
    ) -> Option<Target> {
        let filled: Vec<TargetColumn> = columns
            .into_iter()
            .filter_map(|column| {
                let name = column.request.name.text.clone();
                // Every one is there: names that the server would cut have been refused.
                let described = probe.column(&name)?;
                Some(TargetColumn {
                    type_name: described.type_name.clone(),
                    name,
                    value: column.value?,
                })
            })
            .collect();
        self.filled_by_the_server(&filled, probe);
        let place = |name: &Placed| filled.iter().position(|column| column.name == name.text);
        let row_key: Vec<usize> = self.pieces.request.key.iter().filter_map(place).collect();
        let key = match &self.pieces.source.key {
            Some(_) => Some(self.image_of_key(&filled, &row_key, probe)?),
            None => None,
        };
        let same = key.as_ref().is_some_and(|key| {
            key.iter().collect::<BTreeSet<_>>() == row_key.iter().collect::<BTreeSet<_>>()
        });
        let derived = (filter.is_some() || rows.is_some() || !same).then(|| Derived {
            key: row_key,
            rows: rows.map(|call| call.rows),
        });
        Some(Target {
            shadow: TableName::new(self.pieces.name.schema(), self.place.name.as_str()),
            name: self.place.clone(),
            columns: filled,
            key,
            filter,
            derived,
            partitioned: probe.table.kind == "p",
            definition: String::new(),
        })
    }

    /// Where in the new table the source's key is: each of its columns, as it is or in another form that tells the same
    /// values apart, among the columns of the new key (R20).
    fn image_of_key(
        &mut self,
        filled: &[TargetColumn],
        row_key: &[usize],
        probe: &Definition,
    ) -> Option<Vec<usize>> {
        let source = self.pieces.source;
        let today = &self.pieces.surroundings.definition;
        let collation =
            |table: &Definition, name: &str| table.column(name).and_then(|column| column.collation.clone());
        let mut image = Vec::new();
        for column in source.key.iter().flat_map(|key| &key.columns) {
            let is_image = |place: &&usize| {
                let value = &filled[**place].value;
                let (old, new) = (&source.columns[*column], &filled[**place]);
                value.reads == [*column]
                    && self.column_itself(value).is_some()
                    && keeps_apart(&old.type_name, &new.type_name)
                    && collation(today, &old.name) == collation(probe, &new.name)
            };
            match row_key.iter().find(is_image) {
                Some(place) => image.push(*place),
                None => {
                    let name = &source.columns[*column].name;
                    let object = format!("key of {} ({})", self.place, self.pieces.request.place);
                    self.refuse(
                        RefusalCode::KeyWithoutSourceKey,
                        object,
                        format!(
                            "Changes are found by the source's key, and no column of this one is the source's {name} as \
                             it is, or as a wider type."
                        ),
                        "Add such a column, and name it in `key`.",
                    );
                    return None;
                }
            }
        }
        Some(image)
    }

    /// An identity that is filled from the source would begin anew after the swap.
    fn filled_by_the_server(&mut self, filled: &[TargetColumn], probe: &Definition) {
        let copied = |name: &str| filled.iter().any(|column| column.name == name);
        let identities = probe.columns.iter().filter(|column| column.identity.is_some());
        let misfits: Vec<String> = identities
            .filter(|column| copied(&column.name))
            .map(|column| column.name.clone())
            .collect();
        for name in misfits {
            let object = format!("column {name} of {} ({})", self.place, self.pieces.request.place);
            self.refuse(
                RefusalCode::IdentityFilled,
                object,
                "Its values come from the source, and its own sequence would begin anew.".to_owned(),
                "Draw from a sequence that no identity column owns instead: `default = \"nextval('…')\"`; it stays where it is.",
            );
        }
    }
}

/// Whether different values of the one type are different in the other.
pub(in crate::planner) fn keeps_apart(from: &str, to: &str) -> bool {
    const WIDER: [(&str, &[&str]); 5] = [
        ("smallint", &["integer", "bigint", "numeric", "text"]),
        ("integer", &["bigint", "numeric", "text"]),
        ("bigint", &["numeric", "text"]),
        ("uuid", &["text"]),
        ("date", &["text"]),
    ];
    let text = |name: &str| name == "text" || name.starts_with("character varying");
    let wider = WIDER
        .iter()
        .any(|(narrow, wide)| *narrow == from && wide.contains(&to));
    from == to || wider || (text(from) && to == "text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_keeps_keys_apart() {
        assert!(keeps_apart("integer", "bigint"));
        assert!(keeps_apart("character varying(10)", "text"));
        assert!(keeps_apart("public.citext", "public.citext"));
        assert!(!keeps_apart("bigint", "integer"));
        assert!(!keeps_apart("public.citext", "text"));
        assert!(!keeps_apart("text", "character varying(10)"));
        assert!(!keeps_apart("numeric", "text"));
    }
}
