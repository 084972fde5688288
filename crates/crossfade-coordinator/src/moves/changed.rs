//! What must not change on the server that leads while a move goes on.

use crossfade_core::code::FailureCode;
use crossfade_postgres::moves::relations::{self, Selection};
use crossfade_postgres::session::Session;

use super::shared::Shared;
use crate::failure::Failure;

/// Tables that were made since the plan are not in the stream: partitions, children, and of a whole database any.
pub(crate) async fn refuse_new_tables(shared: &Shared, leader: &Session) -> Result<(), Failure> {
    let known = &shared.destination()?.relations;
    let oids = relations::oids(leader, known).await?;
    let torn = relations::torn(leader, &oids).await?;
    let mut new: Vec<String> = torn
        .iter()
        .map(|(child, parent)| format!("{child} of {parent}"))
        .collect();
    if shared.plan.change.starts_with("move all") {
        let (all, _) = relations::select(leader, &Selection::All).await?;
        let unknown = all.iter().filter(|relation| !known.contains(&relation.name));
        new.extend(unknown.map(|relation| relation.name.to_string()));
    }
    match new.first() {
        None => Ok(()),
        Some(table) => Err(Failure::needs_operator(
            FailureCode::SourceChanged,
            format!(
                "the table {table} was made, attached or detached since the plan, and is not in the stream"
            ),
            "The server that leads is complete. Drop it (or put things back) and give the same command again; or \
             `crossfade abort`, and move again.",
        )),
    }
}
