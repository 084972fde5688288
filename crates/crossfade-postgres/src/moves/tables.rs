//! One table of a move as a step: its columns, its key, and the statements that give the other server's table its indexes.

use std::collections::BTreeSet;

use crossfade_core::limits::Limits;
use crossfade_core::name::TableName;
use crossfade_core::plan::{
    CopyMode, CopyStep, Estimate, Expression, Key, ReplicaIdentity, Source, Stage, Statement, Target,
    TargetColumn,
};
use crossfade_core::way_back::WayBack;

use super::indexes::{self, Index};
use crate::catalog::{self, Definition};
use crate::change::CopyRequest;
use crate::ident::{self, Ident};
use crate::planner::key::{self, KeyChoice};
use crate::planner::source::{self, TableColumn};
use crate::planner::{self, PlanError, copy_mode, estimate};
use crate::session::Session;

/// A table that was looked at.
pub struct Table {
    /// Its step.
    pub step: CopyStep,
    /// Why nothing tells its rows apart, if that is so.
    pub keyless: Option<String>,
    /// Its rows can travel in binary, to another cluster.
    pub portable: bool,
    /// Its indexes.
    pub indexes: Vec<Index>,
    definition: Definition,
}

impl Table {
    /// Leaves out what makes indexes that are there.
    pub fn leave_out(&mut self, there: &BTreeSet<TableName>) {
        let schema = &self.step.source.name.schema;
        let is_there = |index: &Index| there.contains(&TableName::new(schema, &index.name));
        let left_out: Vec<&String> = self
            .indexes
            .iter()
            .filter(|index| is_there(index))
            .flat_map(|index| std::iter::once(&index.create).chain(&index.marks))
            .collect();
        self.step
            .statements
            .retain(|statement| !left_out.contains(&&statement.sql));
    }
}

/// The steps of these tables from the server of that session on. Rows travel in binary if those of all can: there is one
/// stream.
///
/// # Errors
/// As the server says; a table that is not there.
pub async fn read_all(session: &Session, tables: &[TableName]) -> Result<Vec<Table>, PlanError> {
    let mut read = Vec::with_capacity(tables.len());
    for table in tables {
        read.push(read_one(session, table).await?);
    }
    let binary = read.iter().all(|table| table.portable);
    for table in &mut read {
        table.step.source.binary = binary;
        if !binary {
            let columns = &mut table.step.source.columns;
            columns
                .iter_mut()
                .for_each(|column| column.order = crossfade_core::plan::Order::Server);
        }
    }
    Ok(read)
}

/// Chooses how each table is copied. Those under one snapshot hold it together: of the smaller ones as many are as are copied
/// while it may be held. A table that cannot be cut is always one of them, and so is one with an index on the target that rows
/// of two moments could violate (R25): `unique_there`, each with its columns.
pub(super) fn choose_copy_modes(
    tables: &mut [Table],
    (asked, limits): (CopyRequest, &Limits),
    slot_keeps_bytes: Option<u64>,
    unique_there: &[(TableName, BTreeSet<String>)],
) {
    let mut order: Vec<usize> = (0..tables.len()).collect();
    order.sort_by_key(|number| tables[*number].step.estimate.bytes);
    // The copy writes no log on the server that has the slot.
    let mut together = Estimate::default();
    for number in order {
        let Table { step, definition, .. } = &mut tables[number];
        let source = &step.source;
        let key = source.key.iter().flat_map(|key| &key.columns);
        let key: Vec<&str> = key.map(|column| source.columns[*column].name.as_str()).collect();
        together.bytes += step.estimate.bytes;
        let beside_key = |(table, columns): &&(TableName, BTreeSet<String>)| {
            *table == source.name
                && !columns
                    .iter()
                    .map(String::as_str)
                    .eq(key.iter().copied().collect::<BTreeSet<_>>())
        };
        let obstacle = unique_there.iter().find(beside_key);
        let pieces = copy_mode::Pieces {
            asked,
            definition,
            key: &key,
            estimate: &step.estimate,
            together,
            limits,
            slot_keeps_bytes,
            beside: obstacle.map(|_| "the target's table has another unique index already"),
        };
        (step.copy_mode, step.copy_mode_reason) = pieces.choose_what_can_be();
    }
}

async fn read_one(session: &Session, table: &TableName) -> Result<Table, PlanError> {
    let oid = planner::table_oid(session, table).await?.unwrap_or_default();
    let definition = catalog::describe(session.client(), oid).await?;
    let columns = source::columns(session, oid).await?;
    let columns: Vec<TableColumn> = columns.into_iter().filter(|column| !column.generated).collect();
    let portable = columns.iter().all(|column| column.binary && column.portable);
    let position = |name: &String| columns.iter().position(|column| column.column.name == *name);
    let (key, keyless) = match key::choose(&definition) {
        KeyChoice::Columns(names) => {
            let columns = names.iter().filter_map(position).collect();
            (Some(Key { columns }), None)
        }
        KeyChoice::Keyless(why) => (None, Some(why.words())),
    };
    let today = &definition.table.replica_identity;
    let full = *today == ReplicaIdentity::Full;
    let source = Source {
        name: table.clone(),
        oid,
        identity_to_restore: (key.is_none() && !full).then(|| today.clone()),
        full_identity: full || key.is_none(),
        key,
        binary: portable,
        never_missing: Vec::new(),
        each_row_once: false,
        parts: Vec::new(),
        columns: source::in_one_form(columns),
        definition: String::new(),
    };
    let indexes = indexes::read(session, oid, table).await?;
    let target = target(&source);
    let step = CopyStep {
        statements: statements(&source, &indexes),
        keeps_source: true,
        targets: vec![target],
        copy_mode: CopyMode::Snapshot,
        copy_mode_reason: String::new(),
        estimate: estimate(session, oid, table).await?,
        view: None,
        way_back: WayBack::default(),
        back: None,
        source,
    };
    Ok(Table {
        step,
        keyless,
        portable,
        indexes,
        definition,
    })
}

async fn estimate(session: &Session, oid: u32, table: &TableName) -> Result<Estimate, PlanError> {
    Ok(estimate::read(session, oid, table).await?)
}

/// The same table, on the other server.
fn target(source: &Source) -> Target {
    let column = |(position, column): (usize, &crossfade_core::plan::SourceColumn)| TargetColumn {
        name: column.name.clone(),
        type_name: column.type_name.clone(),
        value: Expression {
            sql: Ident(&column.name).to_string(),
            reads: vec![position],
        },
    };
    Target {
        shadow: source.name.clone(),
        name: source.name.clone(),
        columns: source.columns.iter().enumerate().map(column).collect(),
        key: source.key.as_ref().map(|key| key.columns.clone()),
        filter: None,
        derived: None,
        partitioned: false,
        definition: String::new(),
    }
}

/// First the index by which changes are applied, then the others, then what is said of them.
fn statements(source: &Source, indexes: &[Index]) -> Vec<Statement> {
    let mut key: Vec<&str> = source
        .key
        .iter()
        .flat_map(|key| &key.columns)
        .map(|column| source.columns[*column].name.as_str())
        .collect();
    key.sort_unstable();
    let is_key = |index: &Index| {
        let mut columns: Vec<&str> = index.columns.iter().map(String::as_str).collect();
        columns.sort_unstable();
        index.tells_apart && !key.is_empty() && columns == key
    };
    let by_key = indexes.iter().position(is_key);
    let statement = |stage, sql: String| Statement {
        stage,
        locks: Vec::new(),
        held: "on the target, where nobody else is".to_owned(),
        sql,
    };
    let mut statements = Vec::new();
    for (number, index) in indexes.iter().enumerate() {
        let stage = if Some(number) == by_key {
            Stage::KeyIndex
        } else {
            Stage::Index
        };
        statements.push(statement(stage, index.create.clone()));
    }
    statements.sort_by_key(|statement| statement.stage);
    let marks = indexes.iter().flat_map(|index| &index.marks);
    statements.extend(marks.map(|mark| statement(Stage::Analyze, mark.clone())));
    let analyze = format!("ANALYZE {}", ident::table(&source.name));
    statements.push(statement(Stage::Analyze, analyze));
    statements
}
