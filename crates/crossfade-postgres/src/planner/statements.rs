//! The plan's list of statements, in the order in which they run.
//!
//! What the shadow takes is rendered by [`crate::ddl`], what copy and apply send by [`crate::copy`] and
//! [`crate::apply`]; here is the rest (publications and replica identity), and the order. The step backwards has a
//! list of its own.

use crossfade_core::limits::Limits;
use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{CopyMode, ReplicaIdentity, Source, Stage, Statement, Target};

use crate::apply;
use crate::apply::fetch::FetchStatements;
use crate::catalog::Definition;
use crate::change::Placed;
use crate::change::limits::show_milliseconds;
use crate::copy;
use crate::copy::chunk::{self, Bounds};
use crate::ddl::{self, DdlContext, Leaving, NewTable, Way};
use crate::ident::{self, Ident};
use crate::verify;

/// What the statements are made from.
pub(super) struct Pieces<'a> {
    pub(super) name: &'a MigrationName,
    pub(super) source: &'a Source,
    pub(super) today: &'a Definition,
    /// It stays where it is.
    pub(super) keeps_source: bool,
    /// Roles that may look at the new tables before the swap.
    pub(super) readers: &'a [Placed],
    pub(super) targets: &'a [Target],
    /// What each target shall be, in the same order.
    pub(super) desired: &'a [Definition],
    /// The target, by its place, that takes over what is attached to the source.
    pub(super) successor: Option<usize>,
    pub(super) role: &'a str,
    pub(super) limits: &'a Limits,
    /// The retired table shall follow the new ones.
    pub(super) way_back: bool,
    /// Through it the retired table follows, if there are several.
    pub(super) old_shape: Option<&'a OldShape>,
    pub(super) copy_mode: CopyMode,
}

/// The view of the table as it was: there from the swap on.
pub(super) struct OldShape {
    pub(super) view: TableName,
    /// In the swap.
    pub(super) create: Vec<String>,
    /// In the swap back.
    pub(super) drop: Vec<String>,
    /// It is the applications', and stays when the migration is complete.
    pub(super) stays: bool,
}

impl OldShape {
    fn drop(&self, stage: Stage) -> impl Iterator<Item = Statement> {
        self.drop.iter().map(move |sql| on_nothing(stage, sql.clone()))
    }
}

/// All statements.
pub(super) fn list(pieces: &Pieces<'_>) -> Vec<Statement> {
    let context = pieces.context();
    let today = pieces.today;
    let alone = [today];
    let (leaving, locks) = match pieces.keeps_source {
        true => (Leaving::none(), vec![ddl::lock_writers_out(&context, today)]),
        false => (Leaving::alone(&alone), Vec::new()),
    };
    let old_shape = pieces.old_shape.into_iter();
    let create_view = old_shape.clone().flat_map(|old| &old.create);
    let create_view = create_view.map(|sql| on_nothing(Stage::Swap, sql.clone()));
    let private_view = old_shape.filter(|old| !old.stays);
    let drop_view = private_view.flat_map(|old| old.drop(Stage::Complete));
    let new = new_tables(pieces.targets, pieces.desired, pieces.successor);
    let each = |statements: fn(&DdlContext, &NewTable<'_>) -> Vec<Statement>| -> Vec<Statement> {
        new.iter().flat_map(|table| statements(&context, table)).collect()
    };
    [
        pieces.prepare(),
        ddl::shadow(&context, &new),
        pieces.copy(),
        each(ddl::key_index),
        apply(pieces.source, pieces.targets),
        each(ddl::indexes),
        each(ddl::analyze),
        pieces.readers(),
        verify(pieces.source, pieces.targets, pieces.limits),
        ddl::locks(&context, leaving, &new),
        locks,
        ddl::swap(&context, leaving, &new),
        create_view.collect(),
        ddl::after_swap(&new),
        pieces.after_swap(),
        pieces.complete(),
        drop_view.collect(),
        ddl::complete(&context),
        ddl::drop(&context, leaving.tables),
        pieces.abort(),
        ddl::abort(&context),
    ]
    .concat()
}

/// Targets as the statements of their tables want them.
fn new_tables<'a>(
    targets: &'a [Target],
    desired: &'a [Definition],
    successor: Option<usize>,
) -> Vec<NewTable<'a>> {
    let new = |(number, (target, definition)): (usize, (&'a Target, &'a Definition))| {
        let names = |positions: &Vec<usize>| {
            let names = positions
                .iter()
                .map(|position| target.columns[*position].name.clone());
            names.collect::<Vec<_>>()
        };
        let source_key = target.derived.as_ref().and(target.key.as_ref());
        NewTable {
            definition,
            row_key: target.row_key().map(names).unwrap_or_default(),
            source_key: source_key.map(names),
            successor: successor == Some(number),
            number,
        }
    };
    targets.iter().zip(desired).enumerate().map(new).collect()
}

impl Pieces<'_> {
    fn context(&self) -> DdlContext {
        DdlContext {
            shadow_schema: self.name.schema(),
            retired_schema: self.name.retired_schema(),
            way: match self.way_back {
                true => Way::ThereWithWayBack,
                false => Way::There,
            },
            role: self.role.to_owned(),
            hold_budget_ms: self.limits.hold_budget_ms,
        }
    }

    /// The publication before the slot (R3), the identity before anything is published under it.
    fn prepare(&self) -> Vec<Statement> {
        let table = ident::table(&self.source.name);
        let publication = format!(
            "CREATE PUBLICATION {} FOR TABLE ONLY {table} WITH (publish = 'insert, update, delete, truncate')",
            Ident(&self.name.publication()),
        );
        let identity = self.source.identity_to_restore.as_ref().map(|_| {
            let held = format!(
                "a moment, once it is granted; it waits no longer than lock_timeout ({})",
                show_milliseconds(self.limits.lock_timeout_ms)
            );
            let sql = set_identity(&self.source.name, &ReplicaIdentity::Full);
            self.on_source(Stage::Prepare, sql, "ACCESS EXCLUSIVE", &held)
        });
        identity
            .into_iter()
            .chain([self.on_source(Stage::Prepare, publication, "SHARE UPDATE EXCLUSIVE", "a moment")])
            .collect()
    }

    fn copy(&self) -> Vec<Statement> {
        let held = match self.copy_mode {
            CopyMode::Snapshot => "until the snapshot's copy is done".to_owned(),
            CopyMode::Incremental => format!(
                "until the chunk is copied (about chunk_time, {}; at most chunk_time_max, {})",
                show_milliseconds(self.limits.chunk_time_ms),
                show_milliseconds(self.limits.chunk_time_max_ms)
            ),
        };
        let reads = |sql| self.on_source(Stage::Copy, sql, "ACCESS SHARE", &held);
        let copies = self.targets.iter().flat_map(|target| match self.copy_mode {
            CopyMode::Snapshot => vec![copy::copy_template(self.source, target)],
            CopyMode::Incremental => self.chunk_copies(target),
        });
        let ends = match self.copy_mode {
            CopyMode::Snapshot => Vec::new(),
            CopyMode::Incremental => self.chunk_ends(),
        };
        let empty = self
            .targets
            .iter()
            .map(|target| on_nothing(Stage::Copy, copy::empty(target)));
        let lock = copy::lock_for_reading(self.source);
        let reading = std::iter::once(lock).chain(ends).chain(copies);
        empty.chain(reading.map(reads)).collect()
    }

    /// Where a chunk ends: the first one, the last one, and those between.
    fn chunk_ends(&self) -> Vec<String> {
        let bounds = |lower, upper| Bounds { lower, upper };
        let ends = [(false, false), (true, false), (false, true), (true, true)]
            .map(|(lower, upper)| chunk::chunk_end(self.source, bounds(lower, upper), "$1"));
        ends.into_iter().flatten().collect()
    }

    fn chunk_copies(&self, target: &Target) -> Vec<String> {
        let bounds = |lower, upper| Bounds { lower, upper };
        let copies = [(false, true), (true, true), (true, false), (false, false)]
            .map(|(lower, upper)| chunk::chunk_copy(self.source, target, bounds(lower, upper)));
        copies.into_iter().flatten().collect()
    }

    /// Not before the rows are there. What they may do with the tables is what they may do behind the swap.
    fn readers(&self) -> Vec<Statement> {
        let schema = self.name.schema();
        let grant = |role: &Placed| {
            let sql = format!(
                "GRANT USAGE ON SCHEMA {} TO {}",
                Ident(&schema),
                Ident(&role.text)
            );
            on_nothing(Stage::Analyze, sql)
        };
        self.readers.iter().map(grant).collect()
    }

    /// The table that was the source goes back to the identity that it had. Applications go on with one that is kept, and
    /// could not update it while its changes are published under an identity that does not tell its rows apart.
    fn after_swap(&self) -> Vec<Statement> {
        let (table, publications) = match self.keeps_source {
            true => (
                self.source.name.clone(),
                self.drop_publications(Stage::AfterSwap).collect(),
            ),
            false => (
                TableName::new(self.name.retired_schema(), self.source.name.name.as_str()),
                Vec::new(),
            ),
        };
        let identity = self.source.identity_to_restore.iter();
        let identity = identity.map(|identity| Statement {
            stage: Stage::AfterSwap,
            sql: set_identity(&table, identity),
            locks: vec![format!("ACCESS EXCLUSIVE on {table}")],
            held: "a moment".to_owned(),
        });
        publications.into_iter().chain(identity).collect()
    }

    fn complete(&self) -> Vec<Statement> {
        self.drop_publications(Stage::Complete).collect()
    }

    /// Without the publication an update needs no identity, so it goes first.
    fn abort(&self) -> Vec<Statement> {
        let identity = self.source.identity_to_restore.iter().map(|identity| {
            let sql = set_identity(&self.source.name, identity);
            self.on_source(Stage::Abort, sql, "ACCESS EXCLUSIVE", "a moment")
        });
        self.drop_publications(Stage::Abort).chain(identity).collect()
    }

    /// Ours of the source, and that of the new table if there is a way back.
    fn drop_publications(&self, stage: Stage) -> impl Iterator<Item = Statement> {
        let back = self.way_back.then(|| self.name.back_publication());
        let all = [Some(self.name.publication()), back];
        all.into_iter()
            .flatten()
            .map(move |name| drop_publication(stage, &name))
    }

    fn on_source(&self, stage: Stage, sql: String, lock: &str, held: &str) -> Statement {
        on_table(&self.source.name, stage, sql, lock, held)
    }
}

/// What the statements of the step backwards are made from.
pub(super) struct BackPieces<'a> {
    pub(super) name: &'a MigrationName,
    /// The new table, or a view over several.
    pub(super) source: &'a Source,
    /// The new tables.
    pub(super) leaving: Leaving<'a>,
    /// The retired table.
    pub(super) target: &'a Target,
    pub(super) old: &'a Definition,
    /// Where the new tables are before the swap, in the same order.
    pub(super) shadows: &'a [&'a TableName],
    pub(super) old_shape: Option<&'a OldShape>,
    pub(super) role: &'a str,
    pub(super) limits: &'a Limits,
}

/// All statements of the step backwards.
pub(super) fn list_back(pieces: &BackPieces<'_>) -> Vec<Statement> {
    let context = DdlContext {
        shadow_schema: pieces.name.retired_schema(),
        retired_schema: pieces.name.schema(),
        way: Way::Back,
        role: pieces.role.to_owned(),
        hold_budget_ms: pieces.limits.hold_budget_ms,
    };
    let targets = std::slice::from_ref(pieces.target);
    let old = new_tables(targets, std::slice::from_ref(pieces.old), Some(0));
    let publications = || [pieces.name.publication(), pieces.name.back_publication()];
    let drop_publications = publications()
        .into_iter()
        .map(|name| drop_publication(Stage::AfterSwap, &name))
        .collect();
    let mut swap = ddl::swap(&context, pieces.leaving, &old);
    // The first ones lock the targets, and nothing else.
    let locked = targets.len();
    let drop_view = pieces.old_shape.into_iter();
    let drop_view = drop_view.flat_map(|old| old.drop(Stage::Swap));
    swap.splice(locked..locked, drop_view);
    [
        pieces.prepare(),
        apply(pieces.source, targets),
        verify(pieces.source, targets, pieces.limits),
        pieces.lock_view(&context),
        ddl::locks(&context, pieces.leaving, &old),
        swap,
        ddl::after_swap(&old),
        drop_publications,
        ddl::complete(&context),
        ddl::drop(&context, pieces.leaving.tables),
    ]
    .concat()
}

impl BackPieces<'_> {
    /// Before its tables, as whoever uses it locks them: who waits for a table would keep it from being dropped.
    fn lock_view(&self, context: &DdlContext) -> Vec<Statement> {
        let view = self.old_shape.filter(|old| old.stays).map(|old| &old.view);
        let lock = |view: &TableName| Statement {
            stage: Stage::Lock,
            sql: format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", ident::table(view)),
            locks: vec![format!("ACCESS EXCLUSIVE on {view} and on all that it reads")],
            held: format!(
                "until the swap commits, at most hold_budget ({} ms)",
                context.hold_budget_ms
            ),
        };
        view.into_iter().map(lock).collect()
    }

    /// The publication before the slot (R3). The new tables are not in their places yet, and are published by what they
    /// are; of a partitioned one every change is a change of the table.
    fn prepare(&self) -> Vec<Statement> {
        let partitioned = |table: &Definition| table.table.kind == "p";
        let tables = self.shadows.iter().zip(self.leaving.tables);
        let tables: Vec<String> = tables
            .map(|(shadow, table)| {
                let only = if partitioned(table) { "" } else { "ONLY " };
                format!("{only}{}", ident::table(shadow))
            })
            .collect();
        let by_root = match self.leaving.tables.iter().any(|table| partitioned(table)) {
            true => ", publish_via_partition_root = true",
            false => "",
        };
        let sql = format!(
            "CREATE PUBLICATION {} FOR TABLE {} WITH (publish = 'insert, update, delete, truncate'{by_root})",
            Ident(&self.name.back_publication()),
            tables.join(", ")
        );
        vec![
            drop_publication(Stage::Prepare, &self.name.back_publication()),
            on_nothing(Stage::Prepare, sql),
        ]
    }
}

/// A batch, target by target, and what it fetches.
fn apply(source: &Source, targets: &[Target]) -> Vec<Statement> {
    let templates = targets
        .iter()
        .enumerate()
        .flat_map(|(ordinal, target)| apply::apply_templates(source, target, ordinal));
    let templates = templates.map(|sql| on_nothing(Stage::Apply, sql));
    templates.chain(fetches(source)).collect()
}

/// Rows of the source whose change did not carry them whole.
fn fetches(source: &Source) -> Vec<Statement> {
    let Some(fetch) = FetchStatements::render(source) else {
        return Vec::new();
    };
    let of_source = |sql| on_table(&source.name, Stage::Apply, sql, "ACCESS SHARE", "a moment");
    vec![
        of_source(fetch.create_staging),
        on_nothing(Stage::Apply, fetch.copy_keys),
        of_source(fetch.copy_rows),
    ]
}

/// Comparing them, in whichever direction.
fn verify(source: &Source, targets: &[Target], limits: &Limits) -> Vec<Statement> {
    let held = format!(
        "until the pair of snapshots is let go, after verify_time ({}) and the slice that is compared then",
        show_milliseconds(limits.verify_time_ms)
    );
    let (of_source, of_targets) = verify::templates(source, targets);
    let on_source = |sql| on_table(&source.name, Stage::Verify, sql, "ACCESS SHARE", &held);
    std::iter::once(copy::lock_for_reading(source))
        .chain(of_source)
        .map(on_source)
        .chain(of_targets.into_iter().map(|sql| on_nothing(Stage::Verify, sql)))
        .collect()
}

fn drop_publication(stage: Stage, name: &str) -> Statement {
    on_nothing(stage, format!("DROP PUBLICATION IF EXISTS {}", Ident(name)))
}

fn on_table(table: &TableName, stage: Stage, sql: String, lock: &str, held: &str) -> Statement {
    Statement {
        stage,
        sql,
        locks: vec![format!("{lock} on {table}")],
        held: held.to_owned(),
    }
}

/// A statement that locks nothing of the user's.
fn on_nothing(stage: Stage, sql: String) -> Statement {
    Statement {
        stage,
        sql,
        locks: Vec::new(),
        held: String::new(),
    }
}

fn set_identity(table: &TableName, identity: &ReplicaIdentity) -> String {
    let identity = match identity {
        ReplicaIdentity::Default => "DEFAULT".to_owned(),
        ReplicaIdentity::Index { name } => format!("USING INDEX {}", Ident(name)),
        ReplicaIdentity::Full => "FULL".to_owned(),
        ReplicaIdentity::Nothing => "NOTHING".to_owned(),
    };
    format!(
        "ALTER TABLE ONLY {} REPLICA IDENTITY {identity}",
        ident::table(table)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_set_by_name() {
        let table = TableName::new("s", "T");
        let index = ReplicaIdentity::Index {
            name: "t\"i".to_owned(),
        };
        let all = [
            index,
            ReplicaIdentity::Default,
            ReplicaIdentity::Full,
            ReplicaIdentity::Nothing,
        ];
        let lines: Vec<String> = all
            .iter()
            .map(|identity| set_identity(&table, identity))
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r#"
        ALTER TABLE ONLY "s"."T" REPLICA IDENTITY USING INDEX "t""i"
        ALTER TABLE ONLY "s"."T" REPLICA IDENTITY DEFAULT
        ALTER TABLE ONLY "s"."T" REPLICA IDENTITY FULL
        ALTER TABLE ONLY "s"."T" REPLICA IDENTITY NOTHING
        "#);
    }
}
