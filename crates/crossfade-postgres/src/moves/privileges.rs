//! The privileges that a move takes on each of its servers, and which of them a role has: `crossfade grants` prints what is
//! missing, and a plan is refused for each of it.

use crossfade_core::code::RefusalCode;
use crossfade_core::name::TableName;
use crossfade_core::plan::SchemaSource;
use crossfade_core::refusal::Refusal;

use super::relations::{self, Relation, Selection};
use super::sequences;
use crate::planner::grants::{Grant, Grants, in_order, membership, of_role, or_ours, placed};
use crate::session::{Session, SqlError};

const TABLES: &str = include_str!("privileges/tables.sql");
const DUMPED: &str = include_str!("privileges/dumped.sql");
const GRANTEES: &str = include_str!("privileges/grantees.sql");
const RESTORED: &str = include_str!("privileges/restored.sql");

/// What moves.
pub(super) struct Moved<'a> {
    /// Of the source, the partitioned ones among them.
    pub(super) relations: &'a [Relation],
    /// All of the database does.
    pub(super) whole: bool,
    /// Where the target's tables come from.
    pub(super) schema: SchemaSource,
}

/// What a role needs to move these tables, on the source and on the target; without a role, our own on each. Changes nothing, and
/// takes no privilege but to look at the catalogs.
///
/// # Errors
/// As the server says.
pub async fn grants(
    source: &Session,
    target: &Session,
    (selection, schema): (&Selection, SchemaSource),
    role: Option<&str>,
) -> Result<[Grants; 2], SqlError> {
    let (relations, _) = relations::select(source, selection).await?;
    let moved = Moved {
        relations: &relations,
        whole: *selection == Selection::All,
        schema,
    };
    let roles = (or_ours(source, role).await?, or_ours(target, role).await?);
    let there = of_source(source, &roles.0, &moved).await?;
    let here = of_target(source, target, &roles.1, &moved).await?;
    let makes = "the schema of its state, and the publication.";
    let makes_here = "the schema of its state, those of the tables, and the publication of the way back.";
    Ok([
        all(source, roles.0, makes, there).await?,
        all(target, roles.1, makes_here, here).await?,
    ])
}

async fn all(
    session: &Session,
    role: String,
    makes: &str,
    of_tables: Vec<Needed>,
) -> Result<Grants, SqlError> {
    let mut grants = of_role(session, &role, makes).await?;
    grants.extend(of_tables.into_iter().map(|needed| needed.placed));
    Ok(Grants {
        role,
        grants: in_order(grants),
    })
}

/// What our roles lack there, beside what they need on any server.
pub(super) async fn refusals(
    source: &Session,
    target: &Session,
    moved: &Moved<'_>,
) -> Result<Vec<Refusal>, SqlError> {
    let roles = (or_ours(source, None).await?, or_ours(target, None).await?);
    let there = of_source(source, &roles.0, moved).await?;
    let here = of_target(source, target, &roles.1, moved).await?;
    let there = there
        .into_iter()
        .filter_map(|needed| needed.refused("the source"));
    let here = here.into_iter().filter_map(|needed| needed.refused("the target"));
    Ok(there.chain(here).collect())
}

/// A privilege, with its place, and what is refused without it.
struct Needed {
    placed: (i32, Grant),
    code: RefusalCode,
    object: String,
}

impl Needed {
    fn read(row: &tokio_postgres::Row) -> Self {
        Needed {
            placed: placed(row),
            code: row
                .get::<_, &str>(5)
                .parse()
                .unwrap_or(RefusalCode::PrivilegeMissing),
            object: row.get(6),
        }
    }

    fn refused(self, server: &str) -> Option<Refusal> {
        let (_, grant) = self.placed;
        let missing = !grant.held && !grant.optional;
        missing.then(|| Refusal {
            code: self.code,
            object: format!("{server}: {}", self.object),
            message: format!("Missing. {}", grant.why),
            remedy: format!("Run `{}` there.", grant.statement),
        })
    }
}

async fn of_source(session: &Session, role: &str, moved: &Moved<'_>) -> Result<Vec<Needed>, SqlError> {
    let tables: Vec<u32> = moved.relations.iter().map(|relation| relation.oid).collect();
    let sequences = sequences::of_tables(session, &tables, moved.whole).await?;
    of_tables(session, role, tables, &sequences).await
}

async fn of_target(
    source: &Session,
    target: &Session,
    role: &str,
    moved: &Moved<'_>,
) -> Result<Vec<Needed>, SqlError> {
    match moved.schema {
        SchemaSource::Dump => restored(source, target, role, moved).await,
        SchemaSource::Existing => {
            let names: Vec<TableName> = moved
                .relations
                .iter()
                .map(|relation| relation.name.clone())
                .collect();
            let tables = relations::oids(target, &names).await?;
            let sequences = sequences::of_tables(target, &tables, moved.whole).await?;
            of_tables(target, role, tables, &sequences).await
        }
    }
}

/// Of tables and sequences that are there.
async fn of_tables(
    session: &Session,
    role: &str,
    mut oids: Vec<u32>,
    sequences: &[TableName],
) -> Result<Vec<Needed>, SqlError> {
    oids.extend(relations::oids(session, sequences).await?);
    let rows = session
        .query(TABLES, &[&role, &oids, &membership(session)])
        .await?;
    Ok(rows.iter().map(Needed::read).collect())
}

/// Of tables, and for a whole database of everything else, that a dump makes.
async fn restored(
    source: &Session,
    target: &Session,
    role: &str,
    moved: &Moved<'_>,
) -> Result<Vec<Needed>, SqlError> {
    let tables: Vec<u32> = moved.relations.iter().map(|relation| relation.oid).collect();
    let dumped = source.query(DUMPED, &[&tables, &moved.whole]).await?;
    let text = |column: usize| -> Vec<Option<String>> { dumped.iter().map(|row| row.get(column)).collect() };
    let counts: Vec<i64> = dumped.iter().map(|row| row.get(4)).collect();
    let grantees = source.query(GRANTEES, &[&tables, &moved.whole]).await?;
    let grantees: Vec<String> = grantees.iter().map(|row| row.get(0)).collect();
    let filtered = "SELECT min(oid::regclass::text) FROM pg_class
                     WHERE oid = ANY ($1::oid[]) AND relrowsecurity AND relforcerowsecurity";
    let filtered: Option<String> = source.query_one(filtered, &[&tables]).await?.get(0);
    let (owners, schemas, of_schemas, names) = (text(0), text(1), text(2), text(3));
    let membership = membership(target);
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 10] = [
        &role,
        &membership,
        &moved.whole,
        &filtered,
        &owners,
        &schemas,
        &of_schemas,
        &names,
        &counts,
        &grantees,
    ];
    let rows = target.query(RESTORED, &parameters).await?;
    Ok(rows.iter().map(Needed::read).collect())
}
