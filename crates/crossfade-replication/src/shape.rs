//! What the plan says of the source, and whether the stream still agrees.
//!
//! Every Relation message is compared with the plan, so a change of the table's definition stops the reader at
//! exactly the transaction that made it, before a row is misread. Columns are matched by name.

use crossfade_core::name::TableName;
use crossfade_core::plan::{Part, Source, SourceColumn};
use pgoutput::message::{Relation, ReplicaIdentity};

/// The source as the plan knows it, as far as the stream can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Its `pg_class.oid`.
    pub oid: u32,
    /// Its name.
    pub table: TableName,
    /// Its name before the swap, if the stream begins before it: the server decodes every change with the name
    /// that the table had then.
    pub former_name: Option<TableName>,
    /// The columns that the stream carries, in the order of the rows that are handed out.
    pub columns: Vec<ShapeColumn>,
    /// Positions in `columns` of the key; empty for a table without one.
    pub key_columns: Vec<usize>,
    /// The table is under REPLICA IDENTITY FULL.
    pub full_identity: bool,
    /// It is published as a whole (`publish_via_partition_root`): its partitions are announced beside it, and no change
    /// is one of theirs.
    pub partitioned: bool,
    /// What is handed out of a change.
    pub hands_out: HandOut,
}

/// What is handed out of a change of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandOut {
    /// The rows.
    Rows,
    /// That there was one, whatever the table looks like now, and whatever its name: rows without cells.
    Whether,
    /// Which rows of a view are to be read again (R33): an update of each that carries nothing but its key.
    Keys {
        /// Cells of a row of the view.
        width: usize,
        /// For each column of its key, where it is in a row of the view and in a row of the table.
        columns: Vec<(usize, usize)>,
    },
}

/// A column of a [`Shape`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeColumn {
    /// Its name, unquoted.
    pub name: String,
    /// `atttypid`.
    pub type_oid: u32,
}

impl Shape {
    /// The shape of a plan's source. `full_identity` is what the table's replica identity is *while we follow*.
    pub fn of(source: &Source, full_identity: bool) -> Self {
        Shape {
            oid: source.oid,
            table: source.name.clone(),
            former_name: None,
            columns: columns(&source.columns),
            key_columns: source
                .key
                .as_ref()
                .map(|key| key.columns.clone())
                .unwrap_or_default(),
            full_identity,
            partitioned: false,
            hands_out: HandOut::Rows,
        }
    }

    /// The shapes of a plan's source: its own, or those of the tables that its view reads.
    pub fn all(source: &Source, full_identity: bool) -> Vec<Self> {
        if source.parts.is_empty() {
            return vec![Shape::of(source, full_identity)];
        }
        let key = source.key.iter().flat_map(|key| &key.columns).copied();
        let key: Vec<usize> = key.collect();
        let of_part = |part: &Part| Shape {
            oid: part.oid,
            table: part.name.clone(),
            former_name: Some(part.shadow.clone()),
            columns: columns(&part.columns),
            key_columns: part.key.clone(),
            full_identity: false,
            partitioned: part.partitioned,
            hands_out: HandOut::Keys {
                width: source.columns.len(),
                columns: key.iter().copied().zip(part.row_key.iter().copied()).collect(),
            },
        };
        source.parts.iter().map(of_part).collect()
    }

    /// For who only wants to know whether the table of that oid is changed, and in which transactions.
    pub fn only_whether(oid: u32, table: TableName) -> Self {
        Shape {
            oid,
            table,
            former_name: None,
            columns: Vec::new(),
            key_columns: Vec::new(),
            full_identity: false,
            partitioned: false,
            hands_out: HandOut::Whether,
        }
    }

    /// For each of our columns, its position in the stream's tuples.
    ///
    /// # Errors
    /// The first difference between plan and stream.
    pub(crate) fn match_relation(&self, relation: &Relation) -> Result<Box<[usize]>, SourceChange> {
        self.check_table(relation)?;
        if self.hands_out == HandOut::Whether {
            return Ok(Box::default());
        }
        self.check_nothing_added(relation)?;
        let order = self.columns.iter().map(|planned| planned.position_in(relation));
        let order = order.collect::<Result<Box<[usize]>, _>>()?;
        self.check_identity(relation, &order)?;
        Ok(order)
    }

    fn check_table(&self, relation: &Relation) -> Result<(), SourceChange> {
        if relation.oid != self.oid {
            return Err(SourceChange::other_table(relation));
        }
        if self.hands_out == HandOut::Whether {
            return Ok(());
        }
        let found = TableName::new(&relation.schema, &relation.name);
        if found != self.table && Some(&found) != self.former_name.as_ref() {
            return Err(SourceChange::Renamed { found });
        }
        Ok(())
    }

    fn check_nothing_added(&self, relation: &Relation) -> Result<(), SourceChange> {
        let planned = |name: &str| self.columns.iter().any(|column| column.name == name);
        match relation.columns.iter().find(|column| !planned(&column.name)) {
            Some(column) => Err(SourceChange::ColumnAdded {
                column: column.name.clone(),
            }),
            None => Ok(()),
        }
    }

    fn check_identity(&self, relation: &Relation, order: &[usize]) -> Result<(), SourceChange> {
        let agrees = match relation.replica_identity {
            ReplicaIdentity::Full => self.full_identity,
            ReplicaIdentity::Nothing => false,
            ReplicaIdentity::Default | ReplicaIdentity::Index => {
                let mut columns = order.iter().enumerate();
                !self.full_identity
                    && columns.all(|(ours, &theirs)| {
                        self.key_columns.contains(&ours) == relation.columns[theirs].in_identity
                    })
            }
        };
        if agrees {
            Ok(())
        } else {
            Err(SourceChange::Identity)
        }
    }
}

fn columns(of_plan: &[SourceColumn]) -> Vec<ShapeColumn> {
    let columns = of_plan.iter().map(|column| ShapeColumn {
        name: column.name.clone(),
        type_oid: column.type_oid,
    });
    columns.collect()
}

impl ShapeColumn {
    fn position_in(&self, relation: &Relation) -> Result<usize, SourceChange> {
        let mut columns = relation.columns.iter();
        let position = columns.position(|column| column.name == self.name);
        let position = position.ok_or_else(|| SourceChange::ColumnMissing {
            column: self.name.clone(),
        })?;
        let found = relation.columns[position].type_oid;
        if found != self.type_oid {
            return Err(SourceChange::Type {
                column: self.name.clone(),
                planned: self.type_oid,
                found,
            });
        }
        Ok(position)
    }
}

/// How the stream's table differs from the planned one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceChange {
    /// The publication has another table, or the source was dropped and made anew.
    #[error("the stream carries {found} (oid {oid}), which is not the planned table")]
    OtherTable {
        /// What came.
        found: TableName,
        /// Its oid.
        oid: u32,
    },
    /// The source has another name or schema now.
    #[error("the table is named {found} now")]
    Renamed {
        /// What came.
        found: TableName,
    },
    /// A planned column is gone, renamed, or not published.
    #[error("column {column} is not in the stream any more")]
    ColumnMissing {
        /// Its name.
        column: String,
    },
    /// There is a column that the plan does not know.
    #[error("column {column} is new")]
    ColumnAdded {
        /// Its name.
        column: String,
    },
    /// A column has another type.
    #[error("column {column} has type oid {found} instead of {planned}")]
    Type {
        /// Its name.
        column: String,
        /// The plan's.
        planned: u32,
        /// The stream's.
        found: u32,
    },
    /// A table of which rows of a view are made was emptied: which of them is not known.
    #[error("{table} was emptied with TRUNCATE, which cannot be carried into the rows that are made of it")]
    Truncated {
        /// Its name.
        table: TableName,
    },
    /// The replica identity is not the planned one.
    #[error("its replica identity is another one")]
    Identity,
}

impl SourceChange {
    pub(crate) fn other_table(relation: &Relation) -> Self {
        SourceChange::OtherTable {
            found: TableName::new(&relation.schema, &relation.name),
            oid: relation.oid,
        }
    }
}

#[cfg(test)]
mod tests {
    use pgoutput::message::Column;

    use super::*;

    fn shape() -> Shape {
        let columns = [("id", 23), ("note", 25)].map(|(name, type_oid)| ShapeColumn {
            name: name.to_owned(),
            type_oid,
        });
        Shape {
            oid: 7,
            table: TableName::new("s", "t"),
            former_name: None,
            columns: columns.into(),
            key_columns: vec![0],
            full_identity: false,
            partitioned: false,
            hands_out: HandOut::Rows,
        }
    }

    fn relation() -> Relation {
        let columns = [(false, "note", 25), (true, "id", 23)].map(|(in_identity, name, type_oid)| Column {
            in_identity,
            name: name.to_owned(),
            type_oid,
            type_modifier: -1,
        });
        Relation {
            xid: None,
            oid: 7,
            schema: "s".to_owned(),
            name: "t".to_owned(),
            replica_identity: ReplicaIdentity::Default,
            columns: columns.into(),
        }
    }

    #[test]
    fn columns_are_matched_by_name() {
        assert_eq!(shape().match_relation(&relation()).unwrap().as_ref(), [1, 0]);
    }

    #[test]
    fn who_only_wants_to_know_whether_takes_any_definition_of_the_table_and_no_other_table() {
        let shape = Shape::only_whether(7, TableName::new("s", "t"));
        let renamed = Relation {
            name: "u".to_owned(),
            replica_identity: ReplicaIdentity::Full,
            ..relation()
        };
        assert!(shape.match_relation(&renamed).unwrap().is_empty());
        let other = Relation { oid: 8, ..relation() };
        assert!(shape.match_relation(&other).is_err());
    }

    #[test]
    fn every_difference_is_named() {
        let change = |edit: fn(&mut Relation)| {
            let mut relation = relation();
            edit(&mut relation);
            shape().match_relation(&relation).unwrap_err()
        };
        assert!(matches!(
            change(|r| r.oid = 8),
            SourceChange::OtherTable { oid: 8, .. }
        ));
        assert!(matches!(
            change(|r| r.name = "u".into()),
            SourceChange::Renamed { .. }
        ));
        assert!(matches!(
            change(|r| drop(r.columns.pop())),
            SourceChange::ColumnMissing { .. }
        ));
        assert!(matches!(
            change(|r| r.columns.push(Column {
                name: "new".into(),
                ..r.columns[0].clone()
            })),
            SourceChange::ColumnAdded { .. }
        ));
        assert!(matches!(
            change(|r| r.columns[0].type_oid = 26),
            SourceChange::Type { found: 26, .. }
        ));
        assert_eq!(
            change(|r| r.columns[1].in_identity = false),
            SourceChange::Identity
        );
        assert_eq!(
            change(|r| r.replica_identity = ReplicaIdentity::Full),
            SourceChange::Identity
        );
        assert_eq!(
            change(|r| r.replica_identity = ReplicaIdentity::Nothing),
            SourceChange::Identity
        );
    }
}
