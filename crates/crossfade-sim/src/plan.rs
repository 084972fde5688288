//! The plan of a scenario: a step there and, where it has a way back, the same step backwards.

use crossfade_core::name::{MigrationName, TableName};
use crossfade_core::plan::{
    CopyMode, CopyStep, Equality, Estimate, Expression, Key, Order, PLAN_VERSION, Plan, ServerIdentity,
    Source, SourceColumn, Step, Target, TargetColumn,
};
use crossfade_core::way_back::{WayBack, WayBackClass};

use crate::row::Table;
use crate::scenario::Scenario;

impl Scenario {
    /// The migration's.
    pub(crate) fn name(&self) -> MigrationName {
        "sim".parse().expect("a valid name")
    }

    /// The plan that the machine runs.
    pub(crate) fn plan(&self) -> Plan {
        let step = CopyStep {
            source: self.source(Table::Old),
            keeps_source: false,
            targets: vec![self.target(Table::New)],
            copy_mode: if self.incremental {
                CopyMode::Incremental
            } else {
                CopyMode::Snapshot
            },
            copy_mode_reason: String::new(),
            estimate: Estimate::default(),
            statements: Vec::new(),
            view: None,
            way_back: WayBack::default(),
            back: None,
        };
        let step = if self.way_back {
            with_way_back(step, self)
        } else {
            step
        };
        Plan {
            version: PLAN_VERSION,
            name: self.name(),
            server: ServerIdentity {
                system_identifier: 1,
                version_num: 150_000,
                database: "sim".into(),
            },
            search_path: String::new(),
            change: String::new(),
            steps: vec![Step::CopyIntoTables(Box::new(step))],
            limits: self.limits.clone(),
            notices: Vec::new(),
            destination: None,
        }
    }

    fn source(&self, table: Table) -> Source {
        let equality = if self.server_equality {
            Equality::Server
        } else {
            Equality::Bytes
        };
        let mut columns = vec![source_column("key", equality)];
        let others = columns_of(table).into_iter();
        columns.extend(others.map(|name| source_column(name, Equality::Bytes)));
        Source {
            name: TableName::new("public", "t"),
            oid: 16_384,
            columns,
            key: Some(Key { columns: vec![0] }),
            identity_to_restore: None,
            full_identity: false,
            binary: false,
            never_missing: Vec::new(),
            each_row_once: false,
            parts: Vec::new(),
            definition: String::new(),
        }
    }

    /// The columns that are written: not the one that only this table has.
    fn target(&self, table: Table) -> Target {
        let [code, small, big, _own] = columns_of(table);
        let third: &[usize] = match (table, self.mixed) {
            (Table::Old, true) => &[2, 3],
            (Table::Old, false) | (Table::New, _) => &[2],
        };
        let mut columns = vec![
            target_column("key", &[0]),
            target_column(code, &[1]),
            target_column(small, third),
            target_column(big, &[3]),
        ];
        if self.mixed && table == Table::New {
            columns.push(target_column("mixed", &[2, 3]));
        }
        let schema = match table {
            Table::Old => "crossfade_sim_retired",
            Table::New => "crossfade_sim",
        };
        Target {
            shadow: TableName::new(schema, "t"),
            name: TableName::new("public", "t"),
            columns,
            key: Some(vec![0]),
            filter: None,
            derived: None,
            partitioned: false,
            definition: String::new(),
        }
    }
}

/// Behind the key.
fn columns_of(table: Table) -> [&'static str; 4] {
    match table {
        Table::Old => ["code", "small", "big", "dropped"],
        Table::New => ["code", "label", "big", "added"],
    }
}

fn with_way_back(step: CopyStep, scenario: &Scenario) -> CopyStep {
    let back = CopyStep {
        source: scenario.source(Table::New),
        keeps_source: false,
        targets: vec![scenario.target(Table::Old)],
        ..step.clone()
    };
    CopyStep {
        way_back: WayBack {
            class: WayBackClass::Conditional,
            ..WayBack::default()
        },
        back: Some(Box::new(back)),
        ..step
    }
}

fn source_column(name: &str, equality: Equality) -> SourceColumn {
    SourceColumn {
        name: name.into(),
        type_oid: 25,
        type_name: "text".into(),
        equality,
        order: if equality == Equality::Bytes {
            Order::Bytes
        } else {
            Order::Server
        },
    }
}

fn target_column(name: &str, reads: &[usize]) -> TargetColumn {
    TargetColumn {
        name: name.into(),
        type_name: "text".into(),
        value: Expression {
            sql: name.into(),
            reads: reads.to_vec(),
        },
    }
}
