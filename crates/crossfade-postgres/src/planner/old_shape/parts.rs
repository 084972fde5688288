//! The new tables as they are streamed: which row of the old table each row of theirs belongs to.

use std::collections::BTreeSet;

use crossfade_core::code::RefusalCode;
use crossfade_core::plan::{Key, Part, Target};

use super::Shape;
use crate::planner::key::{self, KeyChoice};
use crate::planner::source::{self, TableColumn};
use crate::planner::tables;
use crate::session::SqlError;

impl Shape<'_> {
    /// The new tables, as they will be streamed.
    pub(super) async fn parts(&mut self, source_key: &Key) -> Result<Option<Vec<Part>>, SqlError> {
        let pieces = self.pieces;
        let mut parts = Vec::new();
        let sides = pieces.step.targets.iter().zip(pieces.desired).zip(pieces.probes);
        for ((target, desired), probe) in sides {
            let columns = source::columns(pieces.session, probe.oid).await?;
            let columns: Vec<TableColumn> = columns.into_iter().filter(|column| !column.generated).collect();
            let position = |name: &str| columns.iter().position(|column| column.column.name == name);
            let key = match key::choose(desired) {
                KeyChoice::Columns(names) => names.iter().map(|name| position(name)).collect(),
                KeyChoice::Keyless(_) => None,
            };
            let image = target.key.iter().flatten();
            let image: Option<Vec<usize>> = image
                .map(|place| position(&target.columns[*place].name))
                .collect();
            let (Some(key), Some(image)): (Option<Vec<usize>>, _) = (key, image) else {
                let message = format!(
                    "{} has no primary key by which it could be followed.",
                    target.name
                );
                self.refuse(RefusalCode::OldShapeKeyMissing, message, "Give it one.");
                return Ok(None);
            };
            let inside: BTreeSet<usize> = key.iter().copied().collect();
            if !image.iter().all(|place| inside.contains(place)) {
                let message = format!(
                    "The replica identity of {} does not tell which row of the old table a row belongs to.",
                    target.name
                );
                self.refuse(
                    RefusalCode::OldShapeKeyMissing,
                    message,
                    "Make the old key part of it.",
                );
                return Ok(None);
            }
            for (place, image) in source_key.columns.iter().zip(&image) {
                self.same_form(&pieces.step.source.columns[*place].name, target, &columns[*image]);
            }
            parts.push(Part {
                name: target.name.clone(),
                shadow: target.shadow.clone(),
                oid: 0,
                row_key: image,
                key,
                partitioned: target.partitioned,
                definition: target.definition.clone(),
                columns: source::in_one_form(columns),
            });
        }
        Ok(Some(parts))
    }

    /// Rows of the view are looked up by what the stream of that table carries.
    fn same_form(&mut self, name: &str, target: &Target, image: &TableColumn) {
        let column = self.columns.iter().find(|column| column.column.name == *name);
        let Some(column) = column else { return };
        let (of_view, of_table) = (&column.column.type_name, &image.column.type_name);
        if of_view != of_table && !tables::keeps_apart(of_table, of_view) {
            let message = format!(
                "Its key column {name} is {of_view}, and {of_table} in {}: rows could not be looked up in it.",
                target.name
            );
            let remedy = "Take it from the new table as it is there, without a cast.";
            self.refuse(RefusalCode::OldShapeKeyForm, message, remedy);
        }
    }
}
