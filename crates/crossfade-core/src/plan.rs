//! The plan: a list of steps, immutable, complete and printable, made before the first statement runs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::limits::Limits;
use crate::name::{MigrationName, TableName};
use crate::refusal::Notice;
use crate::way_back::{Direction, WayBack};

/// Everything that `run` will do. What is printed is what runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The format of this document.
    pub version: u32,
    /// The migration's name.
    pub name: MigrationName,
    /// The server it was made for.
    pub server: ServerIdentity,
    /// `search_path` under which the user's expressions were written; every session of the engine that
    /// evaluates one pins it.
    pub search_path: String,
    /// What was asked for, in one form: asked for again under the same name, it is gone on with. A text of the
    /// shell's, opaque here.
    pub change: String,
    /// In order. Of a move: one for each table.
    pub steps: Vec<Step>,
    /// Bounds of the run.
    pub limits: Limits,
    /// What the user should know.
    pub notices: Vec<Notice>,
    /// Of a move: what there is beside its tables. `None`: the new tables are on the same server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<Box<Destination>>,
}

/// [`Plan::version`] of plans made by this release.
pub const PLAN_VERSION: u32 = 1;

/// Which server, which history, which database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerIdentity {
    /// `pg_control_system().system_identifier`.
    pub system_identifier: u64,
    /// `server_version_num`.
    pub version_num: u32,
    /// `current_database()`.
    pub database: String,
}

/// Where a move goes, and what goes with its tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Destination {
    /// The server that the tables move to.
    pub server: ServerIdentity,
    /// The server that they come from, for people: `host:port/database`.
    pub from_place: String,
    /// The server that they move to, for people.
    pub to_place: String,
    /// The tables are there already, empty, or are made from a dump of the source's.
    pub schema: SchemaSource,
    /// What nobody may write to on a server that does not lead: the tables, and the partitioned ones above them.
    pub relations: Vec<TableName>,
    /// What a table has on the server that leads, and not on the one that follows (R21).
    pub attachments: Vec<Attachment>,
    /// Indexes of partitioned tables, made of those of their partitions.
    pub roots: Vec<String>,
    /// Moved ahead at each hand-over.
    pub sequences: Vec<TableName>,
    /// Nobody is handed over: in the end the target has a copy of one moment, which stands on its own.
    #[serde(default)]
    pub copy_only: bool,
}

/// Where the tables of a move come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaSource {
    /// From `pg_dump --section=pre-data` of the source.
    Dump,
    /// They are there.
    Existing,
}

/// What takes effect only while its table leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attachment {
    /// What it is, for people: `foreign key orders_customer_fkey`.
    pub what: String,
    /// Its table.
    pub table: TableName,
    /// A query that says whether it is there.
    pub present: String,
    /// What makes it.
    pub attach: String,
    /// What takes it away.
    pub detach: String,
    /// What makes sure of the rows that were there before it, once the server leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate: Option<String>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Step {
    /// Copy a table into new ones, follow its changes, swap.
    CopyIntoTables(Box<CopyStep>),
}

impl Plan {
    /// The plan of one table of a move, under the name that the state schema knows it by.
    pub fn of_table(&self, number: usize) -> Plan {
        Plan {
            name: self.name.of_table(number),
            steps: vec![self.steps[number].clone()],
            destination: None,
            notices: Vec::new(),
            ..self.clone()
        }
    }
}

/// Copy into new tables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CopyStep {
    /// What is copied.
    pub source: Source,
    /// It stays in its place as it is, and is none of the migration's any more behind the swap.
    #[serde(default)]
    pub keeps_source: bool,
    /// Where to: one for a retype, several for a split.
    pub targets: Vec<Target>,
    /// How the rows get there.
    pub copy_mode: CopyMode,
    /// Why that mode.
    pub copy_mode_reason: String,
    /// Sizes, by estimate.
    pub estimate: Estimate,
    /// Every statement that is not a template of copy or apply, in the order in which it runs.
    pub statements: Vec<Statement>,
    /// The view of the source's old shape over the targets, made in the swap: for the way back, or for whoever does not
    /// know the targets yet.
    #[serde(default)]
    pub view: Option<TableName>,
    /// What is known of the way back (R32).
    #[serde(default)]
    pub way_back: WayBack,
    /// The same step backwards, if there is a way back: its source is the new table in its place, its target the
    /// retired one. The new table's oid is not known before it is made: there it is 0.
    #[serde(default)]
    pub back: Option<Box<CopyStep>>,
}

impl CopyStep {
    /// The step in that direction; this one where there is no way back.
    pub fn towards(&self, direction: Direction) -> &CopyStep {
        match (direction, &self.back) {
            (Direction::Back, Some(back)) => back,
            (Direction::Back, None) | (Direction::Forward, _) => self,
        }
    }

    /// The statements of one stage, in order.
    pub fn statements_of(&self, stage: Stage) -> impl Iterator<Item = &Statement> {
        self.statements
            .iter()
            .filter(move |statement| statement.stage == stage)
    }
}

/// The table that applications use today.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// Its name.
    pub name: TableName,
    /// Its `pg_class.oid`.
    pub oid: u32,
    /// The columns that the stream carries (generated ones are not), in `attnum` order.
    pub columns: Vec<SourceColumn>,
    /// The replica identity's columns; `None` for a table that is only inserted into.
    pub key: Option<Key>,
    /// `REPLICA IDENTITY` must be set to FULL while we follow, and set back to this afterwards.
    pub identity_to_restore: Option<ReplicaIdentity>,
    /// While we follow, the table is under REPLICA IDENTITY FULL, by us or before us.
    pub full_identity: bool,
    /// Rows travel in binary: every column's type has send and receive functions.
    pub binary: bool,
    /// Columns that a row has to come with, by position: what the stream leaves out is staged as `NULL`, and their type, or
    /// that of a target's column which reads them, is a domain that takes none.
    #[serde(default)]
    pub never_missing: Vec<usize>,
    /// Each of its rows is to be in exactly one of the targets, as their filters say.
    #[serde(default)]
    pub each_row_once: bool,
    /// It is no table but a view over these (R33): their changes say which of its rows are to be read again, and its
    /// `oid` and `definition` say nothing.
    #[serde(default)]
    pub parts: Vec<Part>,
    /// Everything known of the table when the plan was made, in canonical form; compared again under the
    /// cutover's lock. A document of the shell's, opaque here.
    pub definition: String,
}

/// A table from which a view reads that is followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Its name, in its place.
    pub name: TableName,
    /// Where it was before the swap.
    pub shadow: TableName,
    /// Its `pg_class.oid`. The plan is made before the table is: there it is 0.
    pub oid: u32,
    /// The columns that the stream carries, in `attnum` order.
    pub columns: Vec<SourceColumn>,
    /// Its replica identity's columns, as positions in `columns`.
    pub key: Vec<usize>,
    /// The key of the view's row that a row of it belongs to, as positions in `columns`, in the order of
    /// [`Source::key`]; all of them are in `key`.
    pub row_key: Vec<usize>,
    /// Its rows are in tables below it.
    pub partitioned: bool,
    /// Everything known of it, in the form of [`Source::definition`].
    pub definition: String,
}

/// `pg_class.relreplident`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ReplicaIdentity {
    /// The primary key.
    Default,
    /// An index's columns.
    Index {
        /// The index, unquoted, in the table's schema.
        name: String,
    },
    /// All columns.
    Full,
    /// None.
    Nothing,
}

/// A column of the source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceColumn {
    /// Its name, unquoted.
    pub name: String,
    /// `atttypid`.
    pub type_oid: u32,
    /// `format_type()` under an empty search path: ready for SQL.
    pub type_name: String,
    /// How two keys of this type are known to be equal without asking the server.
    pub equality: Equality,
    /// How two keys of this type are known to be in order without asking the server.
    pub order: Order,
}

/// How equality of a key column's values is decided (R12: it is the server's, not the bytes').
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Equality {
    /// Equal if and only if the transmitted bytes are equal.
    Bytes,
    /// Only the server knows (numeric, citext, nondeterministic collations, floats, records…).
    Server,
}

/// How the order of a key column's values is decided (R12: it is the server's), in the form in which they travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As the transmitted bytes.
    Bytes,
    /// As the transmitted bytes read as a signed number, the highest byte first: integers, dates, timestamps.
    Signed,
    /// Only the server knows (collations, numeric, floats, whatever travels as text…).
    Server,
}

/// The columns of a key, as positions in [`Source::columns`], in index order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Positions.
    pub columns: Vec<usize>,
}

/// A table that will replace the source, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Where it lives while it follows: its final name, in the migration's schema.
    pub shadow: TableName,
    /// Where it lives after the swap.
    pub name: TableName,
    /// The columns that copy and apply write, in table order. Others (generated, added with a default) are
    /// left to the server.
    pub columns: Vec<TargetColumn>,
    /// Positions in `columns` of the image of the source's key, which changes are applied by; `None` for an append-only
    /// source.
    pub key: Option<Vec<usize>>,
    /// SQL over the source row; rows for which it is not true are not in this target. Only where `derived`.
    pub filter: Option<Expression>,
    /// Not each source row has exactly one row here. `None`: it has, and `key` tells them apart.
    #[serde(default)]
    pub derived: Option<Derived>,
    /// It is partitioned: its rows are in tables below it.
    #[serde(default)]
    pub partitioned: bool,
    /// The target's definition after the swap, in the form of [`Source::definition`].
    pub definition: String,
}

impl Target {
    /// Positions in `columns` of the key that tells its rows apart.
    pub fn row_key(&self) -> Option<&Vec<usize>> {
        self.derived
            .as_ref()
            .map(|derived| &derived.key)
            .or(self.key.as_ref())
    }

    /// Positions in [`Source::columns`] of everything that decides over its rows.
    pub fn reads(&self) -> BTreeSet<usize> {
        let columns = self.columns.iter().map(|column| &column.value);
        let rows = self.derived.iter().flat_map(|derived| &derived.rows);
        columns
            .chain(&self.filter)
            .flat_map(|expression| &expression.reads)
            .chain(rows.flat_map(|rows| &rows.call.reads))
            .copied()
            .collect()
    }
}

/// Of a source row come as many rows of the target as a filter and a set-returning call say (R20): what is no longer
/// produced is deleted, and the rest written, whenever the source row changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// Positions in [`Target::columns`] of the key that tells the target's rows apart; all of [`Target::key`] are among
    /// them, so that no two source rows can produce the same one.
    pub key: Vec<usize>,
    /// What makes several rows of one.
    pub rows: Option<Rows>,
}

/// A set-returning call `WITH ORDINALITY`, beside the source row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// The call, as it stands within `ROWS FROM (…)`.
    pub call: Expression,
    /// What its columns and, at the end, the ordinal are called, unquoted; unlike any column of the source.
    pub columns: Vec<String>,
}

/// A column of a target and the expression that fills it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetColumn {
    /// Its name, unquoted.
    pub name: String,
    /// `format_type()` under an empty search path: ready for SQL.
    pub type_name: String,
    /// What it is filled with.
    pub value: Expression,
}

/// An SQL expression over one source row. Column references are unqualified or qualified with the source's
/// bare table name; whoever runs it gives the row that alias.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expression {
    /// The text, ready for SQL under the plan's search path.
    pub sql: String,
    /// The source columns that it reads, as positions in [`Source::columns`].
    pub reads: Vec<usize>,
}

/// How the rows get into the targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CopyMode {
    /// The whole table under the slot's exported snapshot, in ctid ranges, by several copiers.
    Snapshot,
    /// Chunk by chunk in key order, each under a short snapshot of its own, while changes are applied.
    Incremental,
}

/// Sizes before the run, from `pg_class` and relation sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    /// Rows of the source.
    pub rows: u64,
    /// Bytes of heap and TOAST of the source.
    pub bytes: u64,
    /// Bytes of WAL that copy and index builds will write.
    pub wal_bytes: u64,
    /// Bytes on disk that the new tables with their indexes will take beside the old.
    pub disk_bytes: u64,
}

/// A statement as it will be sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// When it runs.
    pub stage: Stage,
    /// The text. In templates (`Stage::Copy`, `Stage::Apply`, `Stage::Verify`) `$1`, `$2`… stand for values.
    pub sql: String,
    /// The locks it takes on the user's objects, such as `ACCESS EXCLUSIVE on public.orders`; empty if none.
    pub locks: Vec<String>,
    /// How long these are held, in words: `until the swap commits, at most hold_budget (5 s)`.
    pub held: String,
}

/// When a statement of a plan runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Schema, publication, replica identity, empty shadow. Each in autocommit, in order; each must be safe to
    /// find already done (`prepare` is repeated after a crash only from its beginning, on a cleaned place).
    Prepare,
    /// Template: one range of the copy.
    Copy,
    /// The index (or constraint) by which changes are applied.
    KeyIndex,
    /// Templates: how a batch is applied.
    Apply,
    /// All other indexes and constraints on the shadow; each may run in parallel with the others.
    Index,
    /// Constraints made of the built indexes and what is attached to these, then `ANALYZE` of the shadow; in order.
    Analyze,
    /// Templates: how source and target are compared, slice by slice.
    Verify,
    /// Inside the cutover transaction, before all else: the lock on the shadow, behind which nobody queues. It has time to
    /// get past an autovacuum, which a new table of that size draws.
    LockTarget,
    /// Inside the cutover transaction, before the fence: the locks on tables.
    Lock,
    /// As [`Stage::Lock`], on the source's sequences: behind the tables or, in every second attempt, before them.
    LockSequences,
    /// Inside the cutover transaction, after the drain.
    Swap,
    /// After the swap, each in autocommit, in order: validations, restoring the replica identity.
    AfterSwap,
    /// On `complete`: slot and publication are gone; schemas that are empty go too.
    Complete,
    /// On `complete --drop`: the retired table.
    Drop,
    /// On `abort`, at any moment before the swap; must succeed whatever of Prepare has been done.
    Abort,
}
