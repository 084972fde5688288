//! Everything that is there before the first row is copied: the schema on the target, shut to writers and without what acts by
//! itself; on the source publication and slot.
//!
//! Repeated from its beginning after a crash; each part finds what is done.

use std::path::Path;

use crossfade_core::code::{FailureCode, RefusalCode};
use crossfade_core::name::TableName;
use crossfade_core::phase::Phase;
use crossfade_core::plan::{CopyStep, ReplicaIdentity, SchemaSource};
use crossfade_core::way_back::Direction;
use crossfade_postgres::ident::{self, Ident};
use crossfade_postgres::moves::{attachments, lockout, schema};
use crossfade_postgres::session::Session;
use crossfade_postgres::{copy, slot, state, wal};
use crossfade_replication::slot::{self as replication_slot, ExportingSlot};
use crossfade_replication::transport::Connection;

use super::enter;
use super::shared::Shared;
use crate::failure::Failure;
use crate::hands::{SLOT_RELEASE_MAX, create_exporting};

/// The statement of the whole move that restores the schema, among those that are written down as done.
pub(crate) const RESTORED: i32 = 0;
/// Those that are run once the rows are there.
pub(crate) const AFTER_ROWS: i32 = 1;

/// See the module.
pub(crate) async fn prepare(shared: &Shared, pg_dump: &Path) -> Result<(), Failure> {
    restore(shared, pg_dump).await?;
    shut_target(shared).await?;
    publish(shared, Direction::Forward).await?;
    let home = shared.target.session(shared.name()).await?;
    shared.target.begin(&home, shared.name()).await?;
    state::set_phase(&home, shared.name().as_str(), Phase::Copying).await?;
    shared.audit(&home, "phase copying", None).await?;
    Ok(home.batch_execute("COMMIT").await?)
}

/// The schema as the source has it, in one transaction.
async fn restore(shared: &Shared, pg_dump: &Path) -> Result<(), Failure> {
    let (destination, name) = (shared.destination()?, shared.name());
    let home = shared.target.session(name).await?;
    let done = state::done_statements(&home, name.as_str()).await?;
    if destination.schema == SchemaSource::Existing || done.contains(&RESTORED) {
        return Ok(());
    }
    let all = shared.plan.change.starts_with("move all");
    let tables = (!all).then_some(destination.relations.as_slice());
    let dumped = schema::dump(&shared.source.config, pg_dump, tables).await;
    // The program's own connections may have led to another server, whatever came of them.
    shared.source.session(name).await?.refuse_pooler().await?;
    let mut dump = dumped.map_err(|error| {
        Failure::stopped(
            FailureCode::SchemaNotDumped,
            error,
            "Give a `pg_dump` that is as new as the source with --pg-dump; or make the tables on the target by yourself \
             and say `--schema-from existing`.",
        )
    })?;
    if all {
        schema::add_views(&shared.source.session(name).await?, &mut dump).await?;
    }
    // What a dump sets stays set in its session.
    let session = shared.target.session(name).await?;
    shared.target.begin(&session, name).await?;
    session.batch_execute(&dump.before).await.map_err(|error| {
        Failure::stopped(
            FailureCode::SchemaNotRestored,
            error,
            "Mend what the target complains about (a role, an extension, a schema), then run the same command again.",
        )
    })?;
    state::record_statement(&session, name.as_str(), RESTORED).await?;
    state::keep_dump(&session, name.as_str(), &dump.after, &dump.refresh).await?;
    shared.audit(&session, "restored the schema", None).await?;
    Ok(session.batch_execute("COMMIT").await?)
}

/// Nobody but us writes to the target's tables, and nothing acts on them by itself.
async fn shut_target(shared: &Shared) -> Result<(), Failure> {
    let (destination, name) = (shared.destination()?, shared.name());
    let session = shared.target.session(name).await?;
    shared.target.begin(&session, name).await?;
    let shut = lockout::shut(&destination.relations, name, &shared.source.place);
    session.batch_execute(&shut).await?;
    for table in shared.tables() {
        let rows = format!("SELECT EXISTS (SELECT FROM ONLY {})", ident::table(&table));
        if session.query_one(&rows, &[]).await?.get(0) {
            return Err(Failure::Refused {
                code: RefusalCode::TableUnlike,
                object: table.to_string(),
                reason: "The target's has rows.".to_owned(),
                remedy: "Empty it there; the copy begins with an empty table.",
            });
        }
    }
    for (table, sql) in values(shared) {
        session.batch_execute(&sql).await.map_err(|error| Failure::Refused {
            code: RefusalCode::ExpressionNotAccepted,
            object: format!("values of {table}"),
            reason: format!("The target does not understand them: {error}."),
            remedy: "Make what they call (a function, an extension) on both servers, or do without it; then run the same \
                     command again.",
        })?;
    }
    for number in attachments::present(&session, &destination.attachments).await? {
        session
            .batch_execute(&destination.attachments[number].detach)
            .await?;
    }
    shared.audit(&session, "shut the target", None).await?;
    Ok(session.batch_execute("COMMIT").await?)
}

/// Of each table a query that evaluates what fills its columns, over no row.
fn values(shared: &Shared) -> impl Iterator<Item = (&TableName, String)> {
    shared.steps().map(|step| {
        let values = step.targets[0]
            .columns
            .iter()
            .map(|column| column.value.sql.as_str());
        let sql = format!(
            "SELECT {} FROM ONLY {} AS {} LIMIT 0",
            values.collect::<Vec<_>>().join(", "),
            ident::table(&step.source.name),
            Ident(&step.source.name.name)
        );
        (&step.source.name, sql)
    })
}

/// Publication and slot of a direction, on the server that leads then; made anew (R3).
pub(crate) async fn publish(shared: &Shared, direction: Direction) -> Result<(), Failure> {
    let side = match direction {
        Direction::Forward => &shared.source,
        Direction::Back => &shared.target,
    };
    let (name, publication) = (shared.name(), Ident(&shared.publication(direction)).to_string());
    let session = side.session(name).await?;
    slot::drop(&session, &shared.slot(direction), SLOT_RELEASE_MAX).await?;
    for table in keyless(shared) {
        let full = format!("ALTER TABLE ONLY {table} REPLICA IDENTITY FULL");
        enter::run_patiently(shared, side, &session, &full).await?;
    }
    let tables: Vec<String> = shared
        .tables()
        .iter()
        .map(|table| format!("ONLY {}", ident::table(table)))
        .collect();
    let create = format!(
        "CREATE PUBLICATION {publication} FOR TABLE {} WITH (publish = 'insert, update, delete, truncate')",
        tables.join(", ")
    );
    let anew = format!("DROP PUBLICATION IF EXISTS {publication}; {create}");
    enter::run_patiently(shared, side, &session, &anew).await?;
    side.begin(&session, name).await?;
    if !state::record_publication(&session, name, direction, tables.len()).await? {
        return Err(changes_missing(&publication));
    }
    shared.audit(&session, "published", Some(&create)).await?;
    session.batch_execute("COMMIT").await?;
    let slot = shared.slot(direction);
    if shared.leg == 0 && direction == Direction::Forward {
        let exporting = create_exporting(&side.config, &slot, |line| tracing::info!("{line}")).await?;
        begin_stream(shared, &session, &exporting).await?;
    } else {
        let mut connection = Connection::open(&side.config).await?;
        replication_slot::create(&mut connection, &slot).await?;
    }
    shared
        .audit(&session, &format!("created the slot {slot}"), None)
        .await
}

/// Writes down of each table where its stream begins and what that will never send: no row is read without it.
async fn begin_stream(shared: &Shared, source: &Session, exporting: &ExportingSlot) -> Result<(), Failure> {
    let snapshot = wal::imported_snapshot(source, exporting.snapshot_name()).await?;
    let consistent_point = exporting.slot().consistent_point;
    let (side, name) = (&shared.target, shared.name());
    let home = side.session(name).await?;
    side.begin(&home, name).await?;
    for (number, step) in shared.steps().enumerate() {
        let table = name.of_table(number);
        let table = table.as_str();
        // Every chunk is read later, and so is whatever this file holds by then.
        let file = copy::file(source, &step.source).await?;
        state::forget_copy(&home, table).await?;
        state::start_position(&home, table, Direction::Forward, consistent_point).await?;
        state::record_slot_snapshot(&home, table, &snapshot).await?;
        state::trust_file(&home, table, Direction::Forward, file).await?;
    }
    Ok(home.batch_execute("COMMIT").await?)
}

/// Tables whose rows nothing tells apart: an update of one is only seen with the whole old row.
fn keyless(shared: &Shared) -> Vec<String> {
    let steps = shared
        .steps()
        .filter(|step| step.source.identity_to_restore.is_some());
    steps.map(|step| ident::table(&step.source.name)).collect()
}

/// What gives keyless tables their identity back.
pub(crate) fn restore_identities(shared: &Shared) -> Vec<(TableName, String)> {
    let restore = |step: &CopyStep| {
        let table = ident::table(&step.source.name);
        let identity = step.source.identity_to_restore.as_ref()?;
        let identity = match identity {
            ReplicaIdentity::Default => "DEFAULT".to_owned(),
            ReplicaIdentity::Index { name } => format!("USING INDEX {}", Ident(name)),
            ReplicaIdentity::Full => "FULL".to_owned(),
            ReplicaIdentity::Nothing => "NOTHING".to_owned(),
        };
        let restore = format!("ALTER TABLE ONLY {table} REPLICA IDENTITY {identity}");
        Some((step.source.name.clone(), restore))
    };
    shared.steps().filter_map(restore).collect()
}

/// The stream of such a publication may lack changes, and nobody knows which (R34).
pub(crate) fn changes_missing(publication: &str) -> Failure {
    Failure::needs_operator(
        FailureCode::PublicationChanged,
        format!(
            "the publication {publication} was altered, dropped or made anew: changes may be missing from the stream"
        ),
        "The server that leads is complete. `crossfade abort` (before the first hand-over) or `crossfade complete` ends \
         the move.",
    )
}
