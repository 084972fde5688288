//! May our role do all that the change takes? It needs no superuser, but ownership and a few privileges.

use crossfade_core::code::RefusalCode;
use crossfade_core::refusal::Refusal;

use super::facts::Related;
use super::{Context, ServerFacts, refusal};
use crate::ident::{self, Ident};

/// Replication, ownership, schemas, foreign keys' other ends.
pub(super) fn check(context: &Context<'_>) -> Vec<Refusal> {
    let facts = context.facts;
    let role = Ident(&facts.server.role);
    let table = ident::table(context.table);
    let missing = |code: RefusalCode, object: String, message: &str, remedy: String| {
        refusal(code, object, message.to_owned(), &remedy)
    };
    let mut refusals = of_server(&facts.server);
    if !facts.owns_table {
        refusals.push(missing(
            RefusalCode::NotOwner,
            context.table.to_string(),
            "Our role neither owns it nor is a member of the role that does.",
            format!("Run `GRANT {} TO {role}`.", Ident(&facts.owner)),
        ));
    } else if !facts.may_select {
        refusals.push(missing(
            RefusalCode::RoleCannotRead,
            context.table.to_string(),
            "Our role may not read it.",
            format!("Run `GRANT SELECT ON {table} TO {role}`."),
        ));
    }
    if !facts.may_create_in_schema {
        refusals.push(missing(
            RefusalCode::RoleCannotCreateInSchema,
            format!("schema {}", context.table.schema),
            "Our role may not put the new table into it.",
            format!(
                "Run `GRANT USAGE, CREATE ON SCHEMA {} TO {role}`.",
                Ident(&context.table.schema)
            ),
        ));
    }
    refusals.extend(
        facts
            .related
            .iter()
            .filter_map(|related| other_end(related, role)),
    );
    refusals
}

/// What of it no table is needed for.
pub(super) fn of_server(server: &ServerFacts) -> Vec<Refusal> {
    let role = Ident(&server.role);
    let mut refusals = Vec::new();
    if !server.may_replicate {
        let remedy = match &server.replicates_by {
            Some(hosted) => format!("Run `GRANT {} TO {role}`.", Ident(hosted)),
            None => format!("As a superuser run `ALTER ROLE {role} REPLICATION`."),
        };
        refusals.push(refusal(
            RefusalCode::RoleCannotReplicate,
            format!("role {}", server.role),
            "It may not create replication slots.".to_owned(),
            &remedy,
        ));
    }
    if !server.may_create_schemas {
        refusals.push(refusal(
            RefusalCode::RoleCannotCreate,
            format!("database {}", server.database),
            "Our role may not create schemas and publications in it.".to_owned(),
            &format!(
                "Run `GRANT CREATE ON DATABASE {} TO {role}`.",
                Ident(&server.database)
            ),
        ));
    }
    refusals
}

/// A referencing table is altered, a referenced one is locked and referred to.
fn other_end(related: &Related, role: Ident<'_>) -> Option<Refusal> {
    if related.owned {
        return None;
    }
    let table = ident::table(&related.table);
    if related.referencing {
        return Some(refusal(
            RefusalCode::NotOwnerOfReferencingTable,
            related.table.to_string(),
            "Its foreign key must be made anew, and our role is no member of its owner.".to_owned(),
            "Grant the owner's role to ours: `crossfade grants` prints it.",
        ));
    }
    (!related.lockable || !related.may_reference).then(|| {
        refusal(
            RefusalCode::RoleCannotReference,
            related.table.to_string(),
            "The new table must refer to it under a lock, and our role may not.".to_owned(),
            &format!("Run `GRANT REFERENCES, UPDATE ON {table} TO {role}`."),
        )
    })
}
